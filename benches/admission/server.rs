//! Two HTTPS servers, each on a thread of its own: admission, and a handler that thinks nothing.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::routing::post;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use valence_webhook::{Admission, Endpoint};

/// A server that is running.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    schedstat: PathBuf,
}

impl Server {
    /// Serves admission from one thread until the process ends.
    pub fn admission(tls: Arc<ServerConfig>, admission: Arc<Admission>) -> Self {
        Self::start(|listener| valence_webhook::serve(listener, tls, admission, CancellationToken::new()))
    }

    /// Reads the body and answers with the same bytes every time.
    pub fn empty(tls: Arc<ServerConfig>, answer: Vec<u8>) -> Self {
        let service = TowerToHyperService::new(empty(answer));
        let answer = move |request, _| {
            let answer = service.call(request);
            async move { answer.await.unwrap_or_else(|never| match never {}) }
        };
        Self::start(|listener| {
            valence_webhook::serve_with(listener, tls, answer, valence_webhook::BOUNDS, CancellationToken::new())
        })
    }

    fn start<F: Future<Output = io::Result<()>>>(serve: impl FnOnce(TcpListener) -> F + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let thread = std::fs::read_link("/proc/thread-self").map(|thread| PathBuf::from("/proc").join(thread));
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                sender
                    .send((address, thread.unwrap_or_default().join("schedstat")))
                    .expect("whoever started this");
                serve(listener).await.expect("serving");
            });
        });
        let (address, schedstat) = receiver.recv().expect("the server starts");
        Self { address, schedstat }
    }

    /// CPU time that the server's thread has used; nothing else runs on it.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(&self.schedstat).unwrap_or_default();
        let nanoseconds = stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        Duration::from_nanos(nanoseconds)
    }
}

fn empty(answer: Vec<u8>) -> Router {
    let answer = Bytes::from(answer);
    let handler =
        async |State(answer): State<Bytes>, _body: Bytes| ([(header::CONTENT_TYPE, "application/json")], answer);
    Router::new()
        .route(Endpoint::Pods.path(), post(handler))
        .with_state(answer)
}
