//! The HTTPS server.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::admission::Admission;
use crate::exchange;
use crate::places::{Bounds, Place, Places};

/// What callers may hold. An API server needs one or a few connections of HTTP/2, and one for each review under way of
/// HTTP/1.1; a connection takes some tens of kilobytes.
pub const BOUNDS: Bounds = Bounds {
    connections_each: 512,
    connections: 2048,
    bytes: 64 << 20,
};

/// Longest time that a TLS handshake may take, and the end of a connection that is told to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may be open before a review was answered on it: a handshake, and a review.
const PROOF: Duration = Duration::from_secs(15);

/// How long a connection may be kept after the last review that was answered on it: longer than the 90 s for which API
/// servers keep theirs, so that none is closed under a review that is just being sent, which nobody would repeat.
const IDLE: Duration = Duration::from_secs(180);

/// Reviews under way on one connection of HTTP/2.
pub const STREAMS: u32 = 64;

/// Most bytes that a connection of HTTP/2, and a review on it, may send ahead of what was read: nobody bounds those of all
/// connections together.
const WINDOW: u32 = 256 << 10;
const WINDOW_EACH: u32 = 128 << 10;

/// The same for HTTP/1.1.
const READ_AHEAD: usize = 64 << 10;

/// Longest time that requests in progress get when the server stops.
const DRAIN: Duration = Duration::from_secs(20);

/// How often a quiet HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Serves admission over TLS, HTTP/1.1 and HTTP/2, until `stop` is cancelled; requests in progress are then answered.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    admission: Arc<Admission>,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_within(listener, tls, admission, BOUNDS, stop).await
}

/// The same with other bounds on what callers may hold.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_within(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    admission: Arc<Admission>,
    bounds: Bounds,
    stop: CancellationToken,
) -> io::Result<()> {
    let answer = move |request, place| exchange::answer(Arc::clone(&admission), place, request);
    serve_with(listener, tls, answer, bounds, stop).await
}

/// Serves anything else as [`serve`] serves admission.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_with<A, F, B>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    answer: A,
    bounds: Bounds,
    stop: CancellationToken,
) -> io::Result<()>
where
    A: Fn(Request<Incoming>, Arc<Place>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Fault>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(with_protocols(tls));
    let (places, connections) = (Places::new(bounds), TaskTracker::new());
    loop {
        let (stream, caller) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let place = places.take(caller.ip());
        let (acceptor, answer, stop) = (acceptor.clone(), answer.clone(), stop.clone());
        connections.spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = connection(stream, &place, acceptor, answer, stop) => ended,
                () = place.lost() => Err("it made room for another".into()),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("some requests were still in progress when the server stopped");
    }
    Ok(())
}

/// HTTP/2 is offered where the caller has not chosen.
fn with_protocols(tls: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if !tls.alpn_protocols.is_empty() {
        return tls;
    }
    let mut offering = ServerConfig::clone(&tls);
    offering.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(offering)
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn connection<F, B>(
    stream: TcpStream,
    place: &Arc<Place>,
    acceptor: TlsAcceptor,
    answer: impl Fn(Request<Incoming>, Arc<Place>) -> F,
    stop: CancellationToken,
) -> Result<(), Fault>
where
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Fault>> + Send + 'static,
{
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // A head that does not come is no review that is answered.
    builder.http1().header_read_timeout(None).max_buf_size(READ_AHEAD);
    builder
        .http2()
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW_EACH)
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS);
    let service = service_fn(|request| {
        let answer = answer(request, Arc::clone(place));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let (telling, told) = oneshot::channel();
    let _watch = AbortOnDropHandle::new(tokio::spawn(watch(Arc::clone(place), stop, telling)));
    let patience = tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        told = told => told.unwrap_or(PATIENCE),
    };
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(patience, connection).await?
}

/// Tells a connection that it is to end, and how long it may take to. It stands apart, so that a connection that has
/// something to read does not look at what all connections share.
async fn watch(place: Arc<Place>, stop: CancellationToken, telling: oneshot::Sender<Duration>) {
    let patience = tokio::select! {
        () = stop.cancelled() => DRAIN,
        () = useless(&place) => PATIENCE,
    };
    // Where nobody hears it, the connection has ended.
    let _ = telling.send(patience);
}

/// Ends when no review was answered on a connection for too long, whatever else was said on it.
async fn useless(place: &Place) {
    while Instant::now() < kept_until(place) {
        tokio::time::sleep_until(kept_until(place).into()).await;
    }
}

fn kept_until(place: &Place) -> Instant {
    place.last_use().map_or(place.taken() + PROOF, |used| used + IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_while_reviews_are_answered_on_it() {
        let place = Places::new(BOUNDS).take([127, 0, 0, 1].into());
        let taken = place.taken();
        assert_eq!(kept_until(&place), taken + PROOF);
        for used in [Duration::from_secs(5), IDLE] {
            place.used_at(taken + used);
            assert_eq!(kept_until(&place), taken + used + IDLE);
        }
    }
}
