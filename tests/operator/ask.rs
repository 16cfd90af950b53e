//! Asks a webhook as the API server does: TLS, a trusted CA, one review a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "valence-webhook.valence-system.svc";

/// Longest time for one answer: what is asked here is whether it comes, on a machine of any speed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who trusts some CAs, with a certificate of their own or not.
#[derive(Clone)]
pub struct Caller {
    connector: TlsConnector,
}

impl Caller {
    pub fn trusting(authorities: &str) -> Self {
        Self::with(authorities, None)
    }

    /// With a certificate and key of its own, PEM.
    pub fn with(authorities: &str, identity: Option<(&str, &str)>) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(der.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Self {
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    /// A handshake, and nothing more.
    pub async fn connect(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(NAME).unwrap();
        self.connector
            .connect(name, stream)
            .await
            .map_err(|error| error.to_string())
    }

    /// The answer to a review of a pod, over a connection of its own.
    pub async fn ask(&self, address: SocketAddr, review: &Value) -> Result<Value, String> {
        let whole = async { Self::ask_over(self.connect(address).await?, review).await };
        let whole = tokio::time::timeout(PATIENCE, whole);
        whole.await.map_err(|_| "no answer in time".to_owned())?
    }

    /// The answer over a connection that stands already.
    pub async fn ask_over(stream: TlsStream<TcpStream>, review: &Value) -> Result<Value, String> {
        let text = |error: hyper::Error| error.to_string();
        let stream = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(text)?;
        tokio::spawn(connection);
        let request = http::Request::post("/mutate/pods?timeout=5s")
            .header("host", NAME)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(review.to_string())))
            .unwrap();
        let response = sender.send_request(request).await.map_err(text)?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(text)?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("{status}: {error}"))
    }
}
