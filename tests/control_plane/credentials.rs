//! Certificates and kubeconfig files.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// A certificate authority and a leaf of it, all in PEM.
pub struct Certificates {
    pub authority: String,
    pub authority_key: String,
    pub leaf: String,
    pub leaf_key: String,
}

impl Certificates {
    /// A leaf that is good for these DNS names and IP addresses.
    pub fn for_names(names: &[&str]) -> Self {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name = common_name("authority of a test");
        parameters.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::DigitalSignature,
        ];
        let key = rcgen::KeyPair::generate().unwrap();
        let authority_key = key.serialize_pem();
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap();
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        parameters.distinguished_name = common_name("server of a test");
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = parameters.signed_by(&key, &authority).unwrap();
        Self {
            authority: authority.pem(),
            authority_key,
            leaf: leaf.pem(),
            leaf_key: key.serialize_pem(),
        }
    }
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished_name = rcgen::DistinguishedName::new();
    distinguished_name.push(rcgen::DnType::CommonName, name);
    distinguished_name
}

/// A kubeconfig of one user with a bearer token. JSON is YAML.
pub fn kubeconfig(server: &str, authority: &str, token: &str) -> String {
    let document: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": BASE64.encode(authority)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    document.to_string()
}
