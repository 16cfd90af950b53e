//! An application behind Envoy and clients in front of it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Serves HTTP/1.1, HTTP/2 and gRPC on a port of its own.
pub async fn serve(address: &str) -> u16 {
    serve_until_aborted(address).await.0
}

/// The same, until it no longer listens; what it has begun to answer it goes on with.
pub async fn serve_until_aborted(address: &str) -> (u16, tokio::task::AbortHandle) {
    let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listening = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = hyper::service::service_fn(answer);
                let mut builder = auto::Builder::new(TokioExecutor::new());
                builder.http1().title_case_headers(true);
                let _ = builder
                    .serve_connection_with_upgrades(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (port, listening.abort_handle())
}

/// A request that is answered when the test says so.
pub struct Gate {
    path: &'static str,
    /// Says that the request has come.
    pub arrived: Notify,
    /// Lets it be answered.
    pub open: Notify,
}

impl Gate {
    const fn at(path: &'static str) -> Self {
        Self {
            path,
            arrived: Notify::const_new(),
            open: Notify::const_new(),
        }
    }
}

/// One for each test that needs one.
pub static GATES: [Gate; 2] = [Gate::at("/gate"), Gate::at("/slow")];

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if let Some(gate) = GATES.iter().find(|gate| gate.path == request.uri().path()) {
        gate.arrived.notify_one();
        gate.open.notified().await;
    }
    tokio::time::sleep(Duration::from_millis(request.uri().path().len() as u64 * 3)).await;
    if let Some(status) = request.headers().get("x-grpc-status") {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.clone());
        let body = Body::new(WithTrailers(
            Some(bytes::Bytes::from_static(&[0, 0, 0, 0, 0])),
            Some(trailers),
        ));
        let response = Response::builder().header("content-type", "application/grpc");
        return Ok(response.body(body).unwrap());
    }
    let status = match request.uri().path() {
        "/missing" => StatusCode::NOT_FOUND,
        "/broken" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    };
    if request.headers().contains_key("upgrade") {
        let switching = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let switching = switching.header("connection", "upgrade").header("upgrade", "websocket");
        return Ok(switching.body(Body::empty()).unwrap());
    }
    let seen = format!("{:?} {} {:?}", request.version(), request.uri(), request.headers());
    let response = Response::builder().status(status).header("x-from-application", "yes");
    Ok(response.body(Body::from(seen)).unwrap())
}

struct WithTrailers(Option<bytes::Bytes>, Option<HeaderMap>);

impl hyper::body::Body for WithTrailers {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let data = self.0.take().map(hyper::body::Frame::data);
        let frame = data.or_else(|| self.1.take().map(hyper::body::Frame::trailers));
        std::task::Poll::Ready(frame.map(Ok))
    }
}

fn client(http2: bool) -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

async fn text(response: Response<Incoming>) -> String {
    let body = axum::body::to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

/// What the application says it saw of an HTTP/1.1 request through Envoy.
pub async fn get(address: &'static str, path: &'static str) -> String {
    let request = Request::get(format!("http://{address}:8081{path}"))
        .body(Body::empty())
        .unwrap();
    text(client(false).request(request).await.unwrap()).await
}

/// Makes a gRPC call through Envoy that ends with a status.
pub async fn grpc(address: &str, status: u8) {
    let request = Request::post(format!("http://{address}:8081/demo.Fortune/Tell"))
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-grpc-status", status.to_string())
        .body(Body::from(&[0_u8, 0, 0, 0, 0][..]))
        .unwrap();
    let response = client(true).request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    text(response).await;
}

/// The exposition of the sidecar.
pub async fn scrape(address: &str) -> String {
    let request = Request::get(format!("http://{address}:8181/stats/prometheus"))
        .body(Body::empty())
        .unwrap();
    text(client(false).request(request).await.unwrap()).await
}

/// Sends bytes and reads until the other side closes.
pub async fn raw(address: &str, port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((address, port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes and reads until a text comes.
pub async fn raw_until(address: &str, port: u16, request: &str, end: &str) -> String {
    let mut stream = TcpStream::connect((address, port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    while !answer.contains(end) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "closed after: {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    answer
}
