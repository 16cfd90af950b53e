//! The optional check of the caller: a certificate of a named CA, carrying a named name.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;
use crate::options::ClientAuthentication;

/// Checks callers against CAs that may change while it is in use.
#[derive(Debug)]
pub(crate) struct ReloadingClientVerifier {
    inner: ArcSwap<Pinned>,
    names: Vec<String>,
}

/// `ArcSwap` wants a sized type.
#[derive(Debug)]
struct Pinned(Arc<dyn ClientCertVerifier>);

impl ReloadingClientVerifier {
    pub(crate) fn load(options: &ClientAuthentication) -> Result<Self, Error> {
        Ok(Self {
            inner: ArcSwap::from_pointee(verifier(options)?),
            names: options.names.clone(),
        })
    }

    /// Reads the CAs again; on an error those in force stay.
    pub(crate) fn reload(&self, options: &ClientAuthentication) -> Result<(), Error> {
        self.inner.store(Arc::new(verifier(options)?));
        Ok(())
    }

    fn has_allowed_name(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let common = parsed
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok());
        let alternative = crate::material::subject_names(&parsed);
        self.names.is_empty()
            || common
                .chain(alternative.iter().map(String::as_str))
                .any(|name| self.names.iter().any(|own| own == name))
    }
}

fn verifier(options: &ClientAuthentication) -> Result<Pinned, Error> {
    let path = &options.authorities;
    let what = || path.display().to_string();
    let pem = std::fs::read(path).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(&pem) {
        roots.add(der.map_err(|error| Error::malformed(what(), error))?)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()))
        .build()
        .map(Pinned)
        .map_err(|error| Error::malformed(what(), error))
}

impl ClientCertVerifier for ReloadingClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Hints may not change with the CAs while they are borrowed; callers here have one certificate to offer.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.load().0.verify_client_cert(end_entity, intermediates, now)?;
        match self.has_allowed_name(end_entity) {
            true => Ok(verified),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .load()
            .0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .load()
            .0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.load().0.supported_verify_schemes()
    }
}
