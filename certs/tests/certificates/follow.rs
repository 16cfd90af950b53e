//! Certificates that somebody else looks after, and the check of callers.

use std::time::Duration;

use crate::support::handshake::{Caller, NAME};
use crate::support::{Api, Hand, NAMESPACE, SECRET};
use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use valence_certs::{Certificates, ClientAuthentication, Options, Source};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key in PEM.
    fn leaf(&self, dns_name: &str, common_name: &str) -> (String, String) {
        let mut parameters = CertificateParams::new([dns_name.to_owned()]).unwrap();
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, common_name);
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn scratch(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("valence-certs-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn start(api: &Api, source: Source, clients: Option<ClientAuthentication>) -> (Certificates, CancellationToken) {
    let token = CancellationToken::new();
    let options = Options {
        client_authentication: clients,
        ..Options::new(source)
    };
    (
        Certificates::start(api.client(), options, token.clone()).unwrap(),
        token,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_reloaded_and_half_written_ones_are_not() {
    let (authority, folder) = (Authority::new("somebody else"), scratch("files"));
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let put = |(chain, private): (String, String)| {
        std::fs::write(&certificate, chain).unwrap();
        std::fs::write(&key, private).unwrap();
    };
    put(authority.leaf(NAME, "first"));
    let source = Source::Files {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let (certificates, _token) = start(&Api::empty(), source, None);
    certificates.ready().await;
    let caller = Caller::new(&Hand::at("2027-03-01T00:00:00Z"));
    let first = caller
        .call(certificates.server_config(), &authority.pem())
        .await
        .unwrap();

    std::fs::write(&certificate, authority.leaf(NAME, "without its key").0).unwrap();
    certificates.look_again();
    certificates
        .status()
        .wait_for(|status| status.error.is_some())
        .await
        .unwrap();
    assert_eq!(
        caller
            .call(certificates.server_config(), &authority.pem())
            .await
            .unwrap(),
        first
    );

    put(authority.leaf(NAME, "second"));
    certificates.look_again();
    certificates
        .status()
        .wait_for(|status| status.reloads == 1 && status.error.is_none())
        .await
        .unwrap();
    assert_ne!(
        caller
            .call(certificates.server_config(), &authority.pem())
            .await
            .unwrap(),
        first
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_another_is_followed_and_never_written() {
    let (api, authority) = (Api::new(), Authority::new("cert-manager"));
    let put = |(chain, private): (String, String)| {
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        api.set_secret_data(json!({"tls.crt": encode(chain), "tls.key": encode(private)}));
    };
    let source = Source::Secret {
        namespace: NAMESPACE.to_owned(),
        name: SECRET.to_owned(),
    };
    let (certificates, _token) = start(&api, source, None);
    certificates
        .status()
        .wait_for(|status| status.error.is_some())
        .await
        .unwrap();
    put(authority.leaf(NAME, "first"));
    certificates.ready().await;
    put(authority.leaf(NAME, "second"));
    certificates
        .status()
        .wait_for(|status| status.reloads == 1)
        .await
        .unwrap();
    let caller = Caller::new(&Hand::at("2027-03-01T00:00:00Z"));
    caller
        .call(certificates.server_config(), &authority.pem())
        .await
        .unwrap();
    assert_eq!(api.writes.load(std::sync::atomic::Ordering::SeqCst), 0);
    assert!(
        api.bundles().iter().all(String::is_empty),
        "the bundle is theirs to set"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_show_a_certificate_of_the_named_ca_with_a_named_name() {
    let (authority, stranger, folder) = (
        Authority::new("cluster"),
        Authority::new("stranger"),
        scratch("clients"),
    );
    let (certificate, key, clients) = (
        folder.join("tls.crt"),
        folder.join("tls.key"),
        folder.join("clients.crt"),
    );
    let (chain, private) = authority.leaf(NAME, "webhook");
    std::fs::write(&certificate, chain).unwrap();
    std::fs::write(&key, private).unwrap();
    std::fs::write(&clients, authority.pem()).unwrap();
    let asked = ClientAuthentication {
        authorities: clients,
        names: vec!["kube-apiserver".to_owned()],
    };
    let source = Source::Files { certificate, key };
    let (certificates, _token) = start(&Api::empty(), source, Some(asked));
    certificates.ready().await;
    let call = async |identity| {
        let caller = Caller {
            identity,
            ..Caller::new(&Hand::at("2027-03-01T00:00:00Z"))
        };
        tokio::time::timeout(
            Duration::from_secs(5),
            caller.call(certificates.server_config(), &authority.pem()),
        )
        .await
        .expect("an answer, good or bad")
    };
    assert!(call(Some(authority.leaf("api", "kube-apiserver"))).await.is_ok());
    assert!(
        call(Some(authority.leaf("kube-apiserver", "by its DNS name")))
            .await
            .is_ok()
    );
    assert!(
        call(Some(authority.leaf("node", "kubelet"))).await.is_err(),
        "of the CA, but another"
    );
    assert!(
        call(Some(stranger.leaf("api", "kube-apiserver"))).await.is_err(),
        "of another CA"
    );
    assert!(call(None).await.is_err(), "without a certificate");
    std::fs::remove_dir_all(folder).unwrap();
}
