//! Handshakes as an API server makes them: trusting the bundle that the configuration carries at that moment.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::Hand;

pub const NAME: &str = "valence-webhook.valence-system.svc";

/// A caller.
#[derive(Clone)]
pub struct Caller {
    pub hand: Hand,
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Certificate and key of its own, in PEM.
    pub identity: Option<(String, String)>,
}

#[derive(Debug)]
struct HandTime(i64);

impl TimeProvider for HandTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0 as u64)))
    }
}

impl Caller {
    pub fn new(hand: &Hand) -> Self {
        Self {
            hand: hand.clone(),
            versions: rustls::ALL_VERSIONS,
            identity: None,
        }
    }

    /// A full handshake over an in-memory pipe, up to a byte sent and answered.
    pub async fn call(&self, server: Arc<ServerConfig>, bundle: &str) -> Result<Vec<u8>, std::io::Error> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (near, far) = tokio::io::duplex(16 * 1024);
        let serving = tokio::spawn(async move {
            let mut stream = TlsAcceptor::from(server).accept(far).await?;
            let byte = stream.read_u8().await?;
            stream.write_u8(byte).await?;
            stream.shutdown().await
        });
        let connector = TlsConnector::from(Arc::new(self.config(bundle)));
        let mut stream = connector.connect(ServerName::try_from(NAME).unwrap(), near).await?;
        stream.write_u8(7).await?;
        assert_eq!(stream.read_u8().await?, 7);
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        serving.await.unwrap()?;
        Ok(leaf)
    }

    fn config(&self, bundle: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for der in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(der.unwrap()).unwrap();
        }
        let provider = Arc::new(default_provider());
        let time = Arc::new(HandTime(self.hand.now().as_second()));
        let builder = ClientConfig::builder_with_details(provider.clone(), time)
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match roots.is_empty() {
            true => builder.with_root_certificates(roots),
            false => builder.with_webpki_verifier(
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            ),
        };
        match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        }
    }
}
