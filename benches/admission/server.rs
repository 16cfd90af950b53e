//! HTTPS servers, each on threads of its own: admission, and a handler that thinks nothing.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::routing::post;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use valence_webhook::{Admission, Endpoint};

/// What a server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One thread, so that its CPU time is told exactly and a review never changes threads.
    One,
    /// Two that steal work from each other, as the operator serves.
    AsTheOperator,
}

/// A server that is running.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    threads: Vec<PathBuf>,
    stop: CancellationToken,
}

impl Server {
    /// Serves admission.
    pub fn admission(threads: Threads, tls: Arc<ServerConfig>, admission: Arc<Admission>) -> Self {
        Self::start(threads, |listener, stop| {
            valence_webhook::serve(listener, tls, admission, stop)
        })
    }

    /// Reads the body and answers with the same bytes every time, as anybody would serve an axum router over TLS.
    pub fn plain(threads: Threads, tls: Arc<ServerConfig>, answer: Vec<u8>) -> Self {
        Self::start(threads, |listener, stop| async move {
            stop.run_until_cancelled(plain(listener, tls, empty(answer))).await;
            Ok(())
        })
    }

    /// The same handler, with the bounds on connections, time and memory that admission is served with.
    pub fn bounded(threads: Threads, tls: Arc<ServerConfig>, answer: Vec<u8>) -> Self {
        let service = TowerToHyperService::new(empty(answer));
        let answer = move |request, _| {
            let answer = service.call(request);
            async move { answer.await.unwrap_or_else(|never| match never {}) }
        };
        Self::start(threads, |listener, stop| {
            valence_webhook::serve_with(listener, tls, answer, valence_webhook::BOUNDS, stop)
        })
    }

    fn start<F>(threads: Threads, serve: impl FnOnce(TcpListener, CancellationToken) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("server-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let (stop, (sender, receiver)) = (CancellationToken::new(), mpsc::channel());
        let (stopped, called) = (stop.clone(), name.clone());
        let main = std::thread::Builder::new().name(name.clone());
        let spawned = main.spawn(move || {
            let mut builder = match threads {
                Threads::One => tokio::runtime::Builder::new_current_thread(),
                Threads::AsTheOperator => tokio::runtime::Builder::new_multi_thread(),
            };
            // See src/cli/serving.rs.
            let runtime = builder.worker_threads(2).thread_name(called).enable_all().build();
            let serving = async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                sender.send(address).expect("whoever started this");
                serve(listener, stopped).await.expect("serving");
            };
            runtime.expect("a runtime").block_on(async {
                tokio::spawn(serving).await.expect("it ends by itself");
            });
        });
        spawned.expect("a thread");
        let address = receiver.recv().expect("the server starts");
        Self {
            address,
            threads: threads_named(&name),
            stop,
        }
    }

    /// CPU time that the server's threads have used; nothing else runs on them.
    pub fn cpu_time(&self) -> Duration {
        self.threads.iter().map(|thread| cpu_time(thread)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The threads of this process that are called so.
fn threads_named(name: &str) -> Vec<PathBuf> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let threads = threads.map(|thread| thread.path());
    threads
        .filter(|thread| std::fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim() == name))
        .collect()
}

fn cpu_time(thread: &Path) -> Duration {
    let stat = std::fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0))
}

async fn plain(listener: TcpListener, tls: Arc<ServerConfig>, router: Router) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let server = auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
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
