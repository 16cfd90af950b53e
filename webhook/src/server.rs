//! The HTTPS server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{StatusCode, header};
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
use crate::places::Places;
use crate::review::ReviewError;

/// Largest review that is read. The API server's own limit for an object is 1.5 MiB in etcd, and an update carries two.
pub const MOST_BODY_BYTES: usize = 4 << 20;

/// Connections of one caller. An API server needs one or a few of HTTP/2, and one for each review under way of HTTP/1.1.
const CONNECTIONS_EACH: usize = 512;

/// Connections in all: some tens of kilobytes each.
const CONNECTIONS: usize = 2048;

/// Longest time that a TLS handshake, the head of the first request, and a body may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a caller of HTTP/1.1 that has asked before may keep a connection without a word: longer than the 90 s for which
/// API servers keep theirs, so that none is closed under a review that is just being sent, which nobody would repeat.
const IDLE: Duration = Duration::from_secs(180);

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
        let handler =
            move |State(admission): State<Arc<Admission>>, request: Request| answer(admission, endpoint, request);
        router = router.route(endpoint.path(), post(handler));
    }
    router.with_state(admission)
}

async fn answer(admission: Arc<Admission>, endpoint: Endpoint, request: Request) -> Response {
    let started = Instant::now();
    let body = tokio::time::timeout(PATIENCE, to_bytes(request.into_body(), MOST_BODY_BYTES)).await;
    let Ok(Ok(body)) = body else {
        admission.refused(endpoint, started);
        return (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the review is too large, too slow, or was cut off\n",
        )
            .into_response();
    };
    match settled(&admission, endpoint, &body).await {
        Ok(answer) => json(admission.record(endpoint, answer, started)),
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
    serve_router(listener, tls, router(admission), stop).await
}

/// Serves any router as [`serve`] serves admission.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_router(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(with_protocols(tls));
    let (places, connections) = (Places::new(CONNECTIONS_EACH, CONNECTIONS), TaskTracker::new());
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
        let Some(place) = places.take(caller.ip()) else {
            tracing::debug!(%caller, "too many connections");
            continue;
        };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = connection(stream, acceptor, router, stop).await {
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
        .keep_alive_interval(Some(KEEP_ALIVE));
    let (asked, inner) = (AtomicBool::new(false), TowerToHyperService::new(router));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        inner.call(request)
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        () = silence(&asked) => return Err("nothing was asked".into()),
    }
    connection.await
}

/// Ends when nothing was asked in time; whoever asked once is bounded by the protocol.
async fn silence(asked: &AtomicBool) {
    tokio::time::sleep(PATIENCE).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
