//! The HTTPS server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Admission, Answer, Endpoint};
use crate::body::{self, Refusal};
use crate::places::{Bounds, Place, Places};
use crate::review::ReviewError;

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

/// Longest time that requests in progress get when the server stops.
const DRAIN: Duration = Duration::from_secs(20);

/// How often a quiet HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// How often a pod that waits for its owner looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Routes of admission, to be served over any transport.
pub fn router(admission: Arc<Admission>) -> Router {
    let mut router = Router::new();
    for endpoint in Endpoint::ALL {
        let handler = move |State(admission): State<Arc<Admission>>,
                            Extension(place): Extension<Arc<Place>>,
                            request: Request| answer(admission, endpoint, place, request);
        router = router.route(endpoint.path(), post(handler));
    }
    router.with_state(admission)
}

async fn answer(admission: Arc<Admission>, endpoint: Endpoint, place: Arc<Place>, request: Request) -> Response {
    let (started, mut load) = (Instant::now(), place.request());
    let body = match body::read(request.into_body(), &mut load).await {
        Ok(body) => body,
        Err(Refusal::NoRoom) => {
            admission.shed(endpoint, started);
            return (StatusCode::SERVICE_UNAVAILABLE, "too much is under way\n").into_response();
        }
        Err(Refusal::Unreadable) => {
            admission.refused(endpoint, started);
            let complaint = "the review is too large, too slow, or was cut off\n";
            return (StatusCode::PAYLOAD_TOO_LARGE, complaint).into_response();
        }
    };
    match settled(&admission, endpoint, &body).await {
        Ok(answer) => {
            place.used();
            json(admission.record(endpoint, answer, started))
        }
        Err(error) => {
            admission.refused(endpoint, started);
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
    }
}

fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

/// Answers; a pod whose Deployment was made a moment ago waits for the watch to see it, for a bounded time.
async fn settled(admission: &Admission, endpoint: Endpoint, body: &Bytes) -> Result<Answer, ReviewError> {
    let mut answer = admission.answer(endpoint, body)?;
    if !answer.owner_unknown {
        return Ok(answer);
    }
    let Some(_waiting) = admission.wait() else {
        return Ok(answer);
    };
    let patience = Duration::from_millis(admission.settings().owner_wait_milliseconds);
    let deadline = tokio::time::Instant::now() + patience;
    while answer.owner_unknown && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_AGAIN).await;
        answer = admission.answer(endpoint, body)?;
    }
    Ok(answer)
}

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
    serve_router(listener, tls, router(admission), BOUNDS, stop).await
}

/// Serves any router as [`serve`] serves admission.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_router(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    bounds: Bounds,
    stop: CancellationToken,
) -> io::Result<()> {
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
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            let ended = tokio::select! {
                ended = connection(stream, &place, acceptor, router, stop) => ended,
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

async fn connection(
    stream: TcpStream,
    place: &Arc<Place>,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS);
    let inner = TowerToHyperService::new(router);
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(place));
        inner.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let patience = tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.cancelled() => DRAIN,
        () = useless(place) => PATIENCE,
    };
    connection.as_mut().graceful_shutdown();
    tokio::time::timeout(patience, connection).await?
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
