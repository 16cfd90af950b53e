//! A closed loop of callers over kept connections, as an API server makes them.

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
use tokio_rustls::TlsConnector;
use valence_webhook::Endpoint;

/// How reviews reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A connection for each caller.
    Http1,
    /// One connection for all callers.
    Http2,
}

/// A caller with its connection.
pub enum Caller {
    /// HTTP/1.1.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2.
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Callers that are connected.
pub async fn connect(protocol: Protocol, callers: usize, server: SocketAddr, tls: &ClientConfig) -> Vec<Caller> {
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

/// Every caller sends the reviews, each from another one on, again and again; the time of each answer.
pub async fn run(callers: &mut Vec<Caller>, reviews: &Arc<[Bytes]>, length: Duration) -> Vec<Duration> {
    let until = Instant::now() + length;
    let apart = reviews.len().div_ceil(callers.len().max(1));
    let tasks: Vec<_> = callers
        .drain(..)
        .enumerate()
        .map(|(number, mut caller)| {
            let reviews = Arc::clone(reviews);
            tokio::spawn(async move {
                let mut times = Vec::new();
                for turn in number * apart.. {
                    if Instant::now() >= until {
                        break;
                    }
                    let begun = Instant::now();
                    call(&mut caller, reviews[turn % reviews.len()].clone()).await;
                    times.push(begun.elapsed());
                }
                (caller, times)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let (caller, times) = task.await.expect("a caller ends");
        callers.push(caller);
        all.extend(times);
    }
    all
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
