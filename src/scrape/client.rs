//! Fetches the exposition of one sidecar: bounded in time and in size, whatever the other end does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::causes::causes;

/// Largest exposition that is read, in bytes. Envoy's own, filtered, has some tens of thousands.
pub const LARGEST_BODY: usize = 2 << 20;

/// Where the sidecar serves its metrics.
pub const PATH: &str = "/stats/prometheus";

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// The sidecar did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection, or it broke.
    #[error("connection: {0}")]
    Connection(String),
    /// The sidecar answered with an error.
    #[error("status {0}")]
    Status(StatusCode),
    /// The exposition is larger than anything honest.
    #[error("exposition is larger than {LARGEST_BODY} bytes")]
    TooLarge,
    /// The exposition does not hold what was looked for.
    #[error("exposition: {0}")]
    Exposition(String),
}

impl ScrapeError {
    /// A short name for metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Connection(_) => "connection",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Exposition(_) => "exposition",
        }
    }
}

/// Fetches expositions.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client<HttpConnector, Empty<Bytes>>,
    patience: Duration,
}

impl Fetcher {
    /// Waits at most `patience` for a whole answer.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(patience));
        connector.set_nodelay(true);
        // A connection for each scrape: ten thousand kept alive would cost more memory than they save time.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .http1_max_buf_size(64 << 10)
            .build(connector);
        Self { client, patience }
    }

    /// The exposition of the sidecar at an address.
    ///
    /// # Errors
    /// When it does not arrive whole, in time and in size.
    pub async fn fetch(&self, address: IpAddr, port: u16) -> Result<Bytes, ScrapeError> {
        timeout(self.patience, self.request(SocketAddr::new(address, port)))
            .await
            .unwrap_or(Err(ScrapeError::Timeout(self.patience)))
    }

    async fn request(&self, address: SocketAddr) -> Result<Bytes, ScrapeError> {
        let request = Request::get(format!("http://{address}{PATH}"))
            .header(header::CONNECTION, "close")
            .header(header::ACCEPT, "text/plain; version=0.0.4")
            .body(Empty::new())
            .map_err(|error| connection(&error))?;
        let response = self.client.request(request).await.map_err(|error| connection(&error))?;
        if response.status() != StatusCode::OK {
            return Err(ScrapeError::Status(response.status()));
        }
        match Limited::new(response.into_body(), LARGEST_BODY).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ScrapeError::TooLarge),
            Err(error) => Err(connection(&*error)),
        }
    }
}

fn connection(error: &(dyn std::error::Error + 'static)) -> ScrapeError {
    ScrapeError::Connection(causes(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `head`, then with `chunk` until the other end has enough or `times` is reached.
    async fn server(head: &'static str, chunk: Vec<u8>, times: usize) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(head.as_bytes()).await;
            for _ in 0..times {
                if socket.write_all(&chunk).await.is_err() {
                    return;
                }
            }
        });
        port
    }

    async fn fetch(port: u16, patience: Duration) -> Result<Bytes, ScrapeError> {
        Fetcher::new(patience).fetch("127.0.0.1".parse().unwrap(), port).await
    }

    #[tokio::test]
    async fn reads_a_whole_exposition() {
        let port = server("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"a 1\n".to_vec(), 3).await;
        assert_eq!(fetch(port, Duration::from_secs(5)).await.unwrap(), "a 1\na 1\na 1\n");
    }

    #[tokio::test]
    async fn an_endless_exposition_is_cut_off() {
        let port = server(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
            vec![b'x'; 1 << 16],
            usize::MAX,
        )
        .await;
        assert!(matches!(
            fetch(port, Duration::from_secs(30)).await,
            Err(ScrapeError::TooLarge)
        ));
    }

    #[tokio::test]
    async fn a_silent_sidecar_costs_no_more_than_the_patience() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let begun = Instant::now();
        let result = fetch(listener.local_addr().unwrap().port(), Duration::from_millis(50)).await;
        assert!(matches!(result, Err(ScrapeError::Timeout(_))), "{result:?}");
        assert!(begun.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn errors_are_told_apart() {
        let port = server("HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n", Vec::new(), 0).await;
        assert_eq!(
            fetch(port, Duration::from_secs(5)).await.unwrap_err().outcome(),
            "status"
        );
        let port = server("garbage\r\n\r\n", Vec::new(), 0).await;
        assert_eq!(
            fetch(port, Duration::from_secs(5)).await.unwrap_err().outcome(),
            "connection"
        );
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(
            fetch(free, Duration::from_secs(5)).await.unwrap_err().outcome(),
            "connection"
        );
    }
}
