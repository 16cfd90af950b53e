//! What the API server tells the scraper of resource metrics, over HTTP, from a thread of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{cluster, process};

/// Starts it; where it listens.
pub fn start() -> SocketAddr {
    let usage: Arc<[Bytes]> = (0..cluster::NAMESPACES)
        .map(|number| cluster::usage(number).into())
        .collect();
    process::on_its_own_thread(async move |ready| {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        ready(listener.local_addr().expect("an address"));
        accept(listener, usage).await;
    })
}

async fn accept(listener: TcpListener, usage: Arc<[Bytes]>) {
    while let Ok((stream, _)) = listener.accept().await {
        let usage = usage.clone();
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            let found = usage_of(&usage, request.uri().path());
            let status = if found.is_some() {
                StatusCode::OK
            } else {
                StatusCode::NOT_FOUND
            };
            let mut response = Response::new(Full::new(found.unwrap_or_default()));
            *response.status_mut() = status;
            async { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

fn usage_of(usage: &[Bytes], path: &str) -> Option<Bytes> {
    let namespace = path.strip_prefix("/apis/metrics.k8s.io/v1beta1/namespaces/team-")?;
    let number: usize = namespace.strip_suffix("/pods")?.parse().ok()?;
    usage.get(number).cloned()
}
