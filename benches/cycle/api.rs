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

/// A server that is running.
pub struct Server {
    address: SocketAddr,
}

impl Server {
    /// Starts it.
    pub fn start() -> Self {
        let usage: Arc<[Bytes]> = (0..cluster::NAMESPACES)
            .map(|number| cluster::usage(number).into())
            .collect();
        let address = process::on_its_own_thread(async move |ready| {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ready(listener.local_addr().expect("an address"));
            accept(listener, usage).await;
        });
        Self { address }
    }

    /// A client of it. To be called within a runtime.
    pub fn client(&self) -> kube::Client {
        let address = format!("http://{}", self.address).parse().expect("an address");
        kube::Client::try_from(kube::Config::new(address)).expect("a client")
    }
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
