//! The certificate in force, swapped under running handshakes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, server::NoClientAuth};

use crate::error::Error;

/// Answers every handshake with the certificate in force. One atomic load, no lock.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    current: ArcSwapOption<CertifiedKey>,
}

impl Resolver {
    /// Serves another certificate from the next handshake on. Handshakes under way keep theirs.
    pub(crate) fn serve(&self, certificate: CertifiedKey) {
        self.current.store(Some(Arc::new(certificate)));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }
}

/// TLS 1.2 and 1.3 with ring's suites (AEAD with forward secrecy only), offering HTTP/2 and HTTP/1.1.
pub(crate) fn server_config(
    resolver: Arc<Resolver>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, Error> {
    let checks_callers = clients.is_some();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(clients.unwrap_or_else(|| Arc::new(NoClientAuth)))
        .with_cert_resolver(resolver);
    if checks_callers {
        // A resumed session shows no certificate: its caller would stay welcome after its CA was taken out.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
