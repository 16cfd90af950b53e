//! The HTTP server in front of the model: HTTP/1.1, HTTP/2 without TLS, and gRPC unary calls.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rand::RngExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Work;

type Body = BoxBody<Bytes, Infallible>;

/// Where to serve and how to stop.
pub struct Listen {
    /// Address to bind.
    pub address: IpAddr,
    /// Port to bind.
    pub port: u16,
    /// Share of requests that fail.
    pub error_share: f64,
    /// Stops accepting and lets requests in flight finish.
    pub drain: CancellationToken,
}

/// Serves from when the application is ready until it is drained.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(work: impl Into<Work>, listen: Listen) -> anyhow::Result<()> {
    let work = work.into();
    work.ready().await;
    let listener = TcpListener::bind((listen.address, listen.port)).await?;
    let connections = TaskTracker::new();
    let application = Arc::new(Application {
        work,
        error_share: listen.error_share,
    });
    loop {
        let stream = tokio::select! {
            () = listen.drain.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "connection not accepted");
                    continue;
                }
            },
        };
        connections.spawn(connection(stream, Arc::clone(&application), listen.drain.clone()));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(stream: TcpStream, application: Arc<Application>, drain: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let application = Arc::clone(&application);
        async move { Ok::<_, Infallible>(application.answer(request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

struct Application {
    work: Work,
    error_share: f64,
}

impl Application {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_grpc = content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if request.uri().path() == "/healthz" {
            return plain(StatusCode::OK, "ok\n");
        }
        let _ = request.into_body().collect().await;
        let served = self.work.request().await;
        let served = served && !(self.error_share > 0.0 && rand::rng().random::<f64>() < self.error_share);
        match (is_grpc, served) {
            (true, served) => grpc(served),
            (false, true) => plain(StatusCode::OK, "served\n"),
            (false, false) => plain(StatusCode::SERVICE_UNAVAILABLE, "busy\n"),
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// An empty message and the status in trailers: OK or UNAVAILABLE.
fn grpc(served: bool) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(if served { "0" } else { "14" }));
    let empty_message = Full::new(Bytes::from_static(&[0; 5]));
    let body = empty_message.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
