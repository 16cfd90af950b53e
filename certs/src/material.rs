//! What the Secret holds: parsed, checked, and written back.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;

/// Data of a Secret, by key.
pub type Contents = BTreeMap<String, ByteString>;

/// Keys of the Secret.
pub mod keys {
    /// Certificate of the CA that signs new leaves.
    pub const AUTHORITY: &str = "ca.crt";
    /// Its private key.
    pub const AUTHORITY_KEY: &str = "ca.key";
    /// Certificates of the CAs before it, as long as leaves of theirs may be served.
    pub const PREVIOUS_AUTHORITIES: &str = "ca.previous.crt";
    /// The leaf that is served.
    pub const LEAF: &str = "tls.crt";
    /// Its private key.
    pub const LEAF_KEY: &str = "tls.key";
}

/// A certificate with what decisions need of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub der: CertificateDer<'static>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// DNS names and IP addresses of the leaf.
    pub names: Vec<String>,
}

impl Certificate {
    pub(crate) fn parse(der: CertificateDer<'static>, what: &str) -> Result<Self, Error> {
        let (_, x509) = X509Certificate::from_der(&der).map_err(|error| Error::malformed(what, error))?;
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| Error::malformed(what, error))
        };
        let (not_before, not_after) = (time(x509.validity().not_before)?, time(x509.validity().not_after)?);
        let names = subject_names(&x509);
        Ok(Self {
            not_before,
            not_after,
            names,
            der,
        })
    }

    pub(crate) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// When two thirds of its life are over. The life begins at its issue, `backdate` after `not_before`.
    pub(crate) fn renew_at(&self, backdate: Duration) -> Timestamp {
        let issued = self.issued_at(backdate);
        issued
            .saturating_add(self.not_after.duration_since(issued) * 2 / 3)
            .unwrap_or(issued)
    }

    pub(crate) fn issued_at(&self, backdate: Duration) -> Timestamp {
        let backdate = SignedDuration::try_from(backdate).unwrap_or(SignedDuration::ZERO);
        let issued = self.not_before.saturating_add(backdate).unwrap_or(self.not_before);
        issued.min(self.not_after)
    }

    pub(crate) fn is_signed_by(&self, authority: &Self) -> bool {
        let (Ok((_, own)), Ok((_, other))) = (
            X509Certificate::from_der(&self.der),
            X509Certificate::from_der(&authority.der),
        ) else {
            return false;
        };
        own.issuer().as_raw() == other.subject().as_raw() && own.verify_signature(Some(other.public_key())).is_ok()
    }

    pub(crate) fn pem(&self) -> String {
        pem_of_certificate(&self.der)
    }
}

/// CA, previous CAs and leaf as the Secret holds them, checked to fit together.
#[derive(Clone)]
pub(crate) struct Material {
    pub authority: Certificate,
    pub authority_key_pem: String,
    pub previous: Vec<Certificate>,
    pub leaf: Certificate,
    pub leaf_chain_pem: String,
    pub leaf_key_pem: String,
}

impl fmt::Debug for Material {
    /// Without the private keys, which are to stand in no log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authority, leaf) = (&self.authority, &self.leaf);
        formatter
            .debug_struct("Material")
            .field("authority", authority)
            .field("previous", &self.previous)
            .field("leaf", leaf)
            .finish_non_exhaustive()
    }
}

impl Material {
    /// Reads the data of a Secret.
    ///
    /// # Errors
    /// [`Error::Malformed`] names the key that is missing, unreadable or does not fit the others.
    pub(crate) fn parse(contents: &Contents) -> Result<Self, Error> {
        let authority = single_certificate(contents, keys::AUTHORITY)?;
        let authority_key_pem = text(contents, keys::AUTHORITY_KEY)?.to_owned();
        check_key(&authority.der, &authority_key_pem, keys::AUTHORITY_KEY)?;
        let previous = match contents.contains_key(keys::PREVIOUS_AUTHORITIES) {
            true => certificates(contents, keys::PREVIOUS_AUTHORITIES)?,
            false => Vec::new(),
        };
        let leaf = single_certificate(contents, keys::LEAF)?;
        let leaf_chain_pem = text(contents, keys::LEAF)?.to_owned();
        let leaf_key_pem = text(contents, keys::LEAF_KEY)?.to_owned();
        check_key(&leaf.der, &leaf_key_pem, keys::LEAF_KEY)?;
        let material = Self {
            authority,
            authority_key_pem,
            previous,
            leaf,
            leaf_chain_pem,
            leaf_key_pem,
        };
        if material.issuers_of_leaf().next().is_none() {
            return Err(Error::malformed(keys::LEAF, "signed by none of the CAs in the Secret"));
        }
        Ok(material)
    }

    /// The data to write into the Secret.
    pub(crate) fn contents(&self) -> Contents {
        let mut contents = Contents::new();
        let mut put = |key: &str, value: String| contents.insert(key.to_owned(), ByteString(value.into_bytes()));
        put(keys::AUTHORITY, self.authority.pem());
        put(keys::AUTHORITY_KEY, self.authority_key_pem.clone());
        put(keys::LEAF, self.leaf_chain_pem.clone());
        put(keys::LEAF_KEY, self.leaf_key_pem.clone());
        if !self.previous.is_empty() {
            put(
                keys::PREVIOUS_AUTHORITIES,
                self.previous.iter().map(Certificate::pem).collect(),
            );
        }
        contents
    }

    /// The `caBundle` that trusts every leaf which a replica may be serving.
    pub(crate) fn bundle(&self) -> String {
        std::iter::once(&self.authority)
            .chain(&self.previous)
            .map(Certificate::pem)
            .collect()
    }

    pub(crate) fn issuers_of_leaf(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.authority)
            .chain(&self.previous)
            .filter(|issuer| self.leaf.is_signed_by(issuer))
    }

    pub(crate) fn leaf_is_of_current_authority(&self) -> bool {
        self.leaf.is_signed_by(&self.authority)
    }
}

/// A certificate chain with its key, ready to be served.
///
/// # Errors
/// [`Error::Malformed`] when either cannot be read or they do not belong together.
pub(crate) fn certified_key(
    chain_pem: &[u8],
    key_pem: &[u8],
    what: &str,
) -> Result<(CertifiedKey, Certificate), Error> {
    let chain = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::malformed(what, error))?;
    let first = chain
        .first()
        .cloned()
        .ok_or_else(|| Error::malformed(what, "holds no certificate"))?;
    let leaf = Certificate::parse(first, what)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| Error::malformed(what, error))?;
    let certified = CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|error| Error::malformed(what, format!("certificate and key: {error}")))?;
    Ok((certified, leaf))
}

pub(crate) fn bytes<'a>(contents: &'a Contents, key: &str) -> Result<&'a [u8], Error> {
    contents
        .get(key)
        .map(|value| value.0.as_slice())
        .ok_or_else(|| Error::malformed(key, "missing from the Secret"))
}

pub(crate) fn pem_of_certificate(der: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), config)
}

fn text<'a>(contents: &'a Contents, key: &str) -> Result<&'a str, Error> {
    std::str::from_utf8(bytes(contents, key)?).map_err(|error| Error::malformed(key, error))
}

fn certificates(contents: &Contents, key: &str) -> Result<Vec<Certificate>, Error> {
    CertificateDer::pem_slice_iter(bytes(contents, key)?)
        .map(|der| Certificate::parse(der.map_err(|error| Error::malformed(key, error))?, key))
        .collect()
}

fn single_certificate(contents: &Contents, key: &str) -> Result<Certificate, Error> {
    let found = certificates(contents, key)?;
    found
        .into_iter()
        .next()
        .ok_or_else(|| Error::malformed(key, "holds no certificate"))
}

fn check_key(certificate: &CertificateDer<'static>, key_pem: &str, what: &str) -> Result<(), Error> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| Error::malformed(what, error))?;
    CertifiedKey::from_der(vec![certificate.clone()], key, &default_provider())
        .map(drop)
        .map_err(|error| Error::malformed(what, error))
}

pub(crate) fn subject_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(octets) => address(octets),
            _ => None,
        })
        .collect()
}

fn address(octets: &[u8]) -> Option<String> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::IpAddr::from(octets).to_string());
    }
    <[u8; 16]>::try_from(octets)
        .ok()
        .map(|octets| std::net::IpAddr::from(octets).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::options::Managed;

    #[test]
    fn no_log_tells_a_private_key() {
        let options = Managed::for_service("valence-system", "service", "secret", "configuration");
        let material = crate::issue::everything(&options, Timestamp::now()).unwrap();
        let told = format!("{material:?}");
        for key in [&material.authority_key_pem, &material.leaf_key_pem] {
            assert!(key.contains("PRIVATE KEY") && !told.contains(key.lines().nth(1).unwrap()));
        }
        assert!(told.contains("authority"), "{told}");
    }
}
