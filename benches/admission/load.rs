//! A closed loop of callers over kept connections, as API servers make them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use valence_webhook::Endpoint;

/// How reviews reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A connection for each caller, all from one thread.
    Http1,
    /// Callers share a connection. Several are two API servers, each with a thread and a connection of its own: reading
    /// and writing HTTP/2 takes the caller as long as the server, and one of them would be the bound.
    Http2,
}

/// A caller with its connection.
enum Caller {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// An API server: callers on one thread.
struct Client {
    runtime: Runtime,
    callers: Vec<Caller>,
}

/// Everybody who calls one server.
pub struct Callers {
    clients: Vec<Client>,
    reviews: Arc<[Bytes]>,
}

impl Callers {
    /// Callers that are connected and send these reviews.
    pub fn connect(
        protocol: Protocol,
        callers: usize,
        server: SocketAddr,
        tls: &ClientConfig,
        reviews: &Arc<[Bytes]>,
    ) -> Self {
        let threads = if protocol == Protocol::Http2 { callers.min(2) } else { 1 };
        let clients = (0..threads).map(|_| Client::connect(protocol, callers / threads, server, tls));
        Self {
            clients: clients.collect(),
            reviews: Arc::clone(reviews),
        }
    }

    /// Every caller sends the reviews, each from another one on, again and again; the time of each answer, sorted.
    pub fn run(&mut self, length: Duration) -> Vec<Duration> {
        let (reviews, threads) = (&self.reviews, self.clients.len());
        let until = Instant::now() + length;
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let running: Vec<_> = self
                .clients
                .iter_mut()
                .enumerate()
                .map(|(number, client)| {
                    scope.spawn(move || client.run(reviews, number * reviews.len() / threads, until))
                })
                .collect();
            running
                .into_iter()
                .flat_map(|one| one.join().expect("a client ends"))
                .collect()
        });
        times.sort_unstable();
        times
    }
}

impl Client {
    fn connect(protocol: Protocol, callers: usize, server: SocketAddr, tls: &ClientConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let callers = runtime.block_on(connect(protocol, callers, server, tls));
        Self { runtime, callers }
    }

    fn run(&mut self, reviews: &Arc<[Bytes]>, from: usize, until: Instant) -> Vec<Duration> {
        let apart = reviews.len().div_ceil(self.callers.len().max(1) * 2);
        let callers = &mut self.callers;
        self.runtime.block_on(async {
            let tasks: Vec<_> = callers
                .drain(..)
                .enumerate()
                .map(|(number, caller)| tokio::spawn(calls(caller, Arc::clone(reviews), from + number * apart, until)))
                .collect();
            let mut all = Vec::new();
            for task in tasks {
                let (caller, times) = task.await.expect("a caller ends");
                callers.push(caller);
                all.extend(times);
            }
            all
        })
    }
}

async fn connect(protocol: Protocol, callers: usize, server: SocketAddr, tls: &ClientConfig) -> Vec<Caller> {
    let mut connected = Vec::new();
    if protocol == Protocol::Http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream(server, tls, b"h2").await)
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        return (0..callers).map(|_| Caller::Http2(sender.clone())).collect();
    }
    for _ in 0..callers {
        let (sender, connection) = http1::handshake(stream(server, tls, b"http/1.1").await)
            .await
            .expect("HTTP/1.1");
        tokio::spawn(connection);
        connected.push(Caller::Http1(sender));
    }
    connected
}

async fn stream(
    server: SocketAddr,
    tls: &ClientConfig,
    protocol: &[u8],
) -> TokioIo<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(server).await.expect("the server listens");
    tcp.set_nodelay(true).expect("a socket option");
    let name = ServerName::try_from("localhost").expect("a name");
    TokioIo::new(
        TlsConnector::from(Arc::new(tls))
            .connect(name, tcp)
            .await
            .expect("a handshake"),
    )
}

async fn calls(mut caller: Caller, reviews: Arc<[Bytes]>, from: usize, until: Instant) -> (Caller, Vec<Duration>) {
    let mut times = Vec::new();
    for turn in from.. {
        if Instant::now() >= until {
            break;
        }
        let begun = Instant::now();
        call(&mut caller, reviews[turn % reviews.len()].clone()).await;
        times.push(begun.elapsed());
    }
    (caller, times)
}

async fn call(caller: &mut Caller, review: Bytes) {
    let request = Request::post(format!("https://localhost{}?timeout=10s", Endpoint::Pods.path()))
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, */*")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(review))
        .expect("a request");
    let response = match caller {
        Caller::Http1(sender) => {
            sender.ready().await.expect("a connection");
            sender.send_request(request).await
        }
        Caller::Http2(sender) => sender.send_request(request).await,
    };
    let response = response.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.expect("a body");
}
