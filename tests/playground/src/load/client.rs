//! Connections to a Service as a client behind kube-proxy has them: each new connection goes to a random endpoint, and
//! connections are used again until they are old.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::generator::Protocol;
use super::report::Outcome;

/// A connection is not used again after this long or this many requests.
const OLDEST: Duration = Duration::from_secs(20);
const MOST_REQUESTS: u32 = 100;

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

struct Connection {
    sender: Sender,
    opened: Instant,
    requests: u32,
}

impl Connection {
    fn is_usable(&self) -> bool {
        let open = match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        };
        open && self.opened.elapsed() < OLDEST && self.requests < MOST_REQUESTS
    }
}

/// What came of a request, and whether it had to be sent twice.
pub struct Answer {
    /// The outcome.
    pub outcome: Outcome,
    /// Sent again on a new connection because an idle one was closed under it.
    pub retried: bool,
}

/// A client of one Service.
pub struct Client {
    endpoints: watch::Receiver<Vec<SocketAddr>>,
    protocol: Protocol,
    uri: Uri,
    idle: Mutex<Vec<Connection>>,
    known: AtomicBool,
}

impl Client {
    /// A client that sends its requests to these endpoints.
    pub fn new(endpoints: watch::Receiver<Vec<SocketAddr>>, protocol: Protocol, uri: Uri) -> Arc<Self> {
        Arc::new(Self {
            endpoints,
            protocol,
            uri,
            idle: Mutex::default(),
            known: AtomicBool::new(false),
        })
    }

    /// Sends one request and waits for the whole answer.
    pub async fn request(&self, timeout: Duration) -> Answer {
        match tokio::time::timeout(timeout, self.attempt()).await {
            Ok(answer) => answer,
            Err(_) => Answer {
                outcome: Outcome::Failed("timeout".into()),
                retried: false,
            },
        }
    }

    /// As common clients do: a request that an idle connection closed under, before any answer, is sent once more.
    async fn attempt(&self) -> Answer {
        if let Some(connection) = self.take_idle() {
            let reused = self.exchange(connection).await;
            match reused {
                Ok(outcome) => {
                    return Answer {
                        outcome,
                        retried: false,
                    };
                }
                Err(_closed) => {
                    let outcome = self.on_new_connection().await;
                    return Answer { outcome, retried: true };
                }
            }
        }
        Answer {
            outcome: self.on_new_connection().await,
            retried: false,
        }
    }

    async fn on_new_connection(&self) -> Outcome {
        match self.connect().await {
            Ok(connection) => match self.exchange(connection).await {
                Ok(outcome) => outcome,
                Err(reason) => Outcome::Failed(reason),
            },
            Err(reason) => Outcome::Failed(reason),
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(Connection::is_usable);
        let newest = idle.len().checked_sub(1)?;
        Some(idle.swap_remove(rand::random_range(0..=newest)))
    }

    /// Waits until the endpoints are known for the first time: what is sent before says nothing about the Service.
    async fn until_known(&self) {
        if !self.known.load(Ordering::Relaxed) {
            let mut endpoints = self.endpoints.clone();
            let _ = endpoints.wait_for(|endpoints| !endpoints.is_empty()).await;
            self.known.store(true, Ordering::Relaxed);
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        self.until_known().await;
        let endpoint = self.endpoints.borrow().choose(&mut rand::rng()).copied();
        let endpoint = endpoint.ok_or("no endpoint is ready")?;
        let stream = TcpStream::connect(endpoint)
            .await
            .map_err(|error| format!("connect: {}", error.kind()))?;
        let _ = stream.set_nodelay(true);
        let stream = TokioIo::new(stream);
        let sender = if self.protocol == Protocol::Http1 {
            let (sender, connection) = http1::handshake(stream)
                .await
                .map_err(|error| reason("handshake", &error))?;
            tokio::spawn(connection);
            Sender::Http1(sender)
        } else {
            let builder = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .clone();
            let (sender, connection) = builder
                .handshake(stream)
                .await
                .map_err(|error| reason("handshake", &error))?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        };
        Ok(Connection {
            sender,
            opened: Instant::now(),
            requests: 0,
        })
    }

    async fn exchange(&self, mut connection: Connection) -> Result<Outcome, String> {
        let request = self.message()?;
        let sent = match &mut connection.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(|error| reason("send", &error))?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(|error| reason("send", &error))?;
                sender.send_request(request).await
            }
        };
        let response = sent.map_err(|error| reason("send", &error))?;
        let status = response.status();
        let headers = response.headers().clone();
        let closes = headers
            .get(header::CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let body = response.into_body().collect().await;
        let Ok(body) = body else {
            return Ok(Outcome::Failed("answer broken off".into()));
        };
        connection.requests += 1;
        if !closes && connection.is_usable() {
            self.idle.lock().push(connection);
        }
        if status.is_server_error() {
            return Ok(Outcome::Failed(broken(status, &body.to_bytes())));
        }
        let grpc_status = body
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"))
            .or(headers.get("grpc-status"));
        Ok(self.judge(grpc_status))
    }

    fn judge(&self, grpc_status: Option<&HeaderValue>) -> Outcome {
        match (self.protocol, grpc_status) {
            (Protocol::Grpc, Some(code)) if code == "0" => Outcome::Served,
            (Protocol::Grpc, Some(code)) => Outcome::Failed(format!("grpc-status {}", code.to_str().unwrap_or("?"))),
            (Protocol::Grpc, None) => Outcome::Failed("no grpc-status".into()),
            _ => Outcome::Served,
        }
    }

    fn message(&self) -> Result<Request<Full<Bytes>>, String> {
        let host = self
            .uri
            .authority()
            .map_or_else(|| "service".to_owned(), ToString::to_string);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = match self.protocol {
            Protocol::Http1 => Request::get(path).header(header::HOST, host).body(Full::default()),
            Protocol::Http2 => Request::get(format!("http://{host}{path}")).body(Full::default()),
            Protocol::Grpc => Request::post(format!("http://{host}{path}"))
                .header(header::CONTENT_TYPE, "application/grpc")
                .header(header::TE, "trailers")
                .body(Full::new(Bytes::from_static(&[0; 5]))),
        };
        request.map_err(|error| format!("request: {error}"))
    }
}

/// A status with the beginning of what the answer says about it: a proxy says there what became of the connection.
fn broken(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text: String = text.chars().take(200).collect();
    let colon = if text.trim().is_empty() { "" } else { ": " };
    format!("status {}{colon}{}", status.as_u16(), text.trim())
}

fn reason(step: &str, error: &hyper::Error) -> String {
    let kind = if error.is_incomplete_message() || error.is_closed() {
        "connection closed"
    } else if error.is_canceled() {
        "connection gone"
    } else {
        "connection error"
    };
    format!("{step}: {kind}")
}
