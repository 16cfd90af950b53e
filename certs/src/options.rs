//! How certificates are obtained and how long they live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Where "now" comes from; tests put in their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The clock of the system.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// Everything that [`Certificates::start`](crate::Certificates::start) needs to know.
#[derive(Clone)]
pub struct Options {
    /// Who issues the certificate and where it is kept.
    pub source: Source,
    /// Asks callers for a certificate of their own; `None` (the usual case) accepts every caller.
    pub client_authentication: Option<ClientAuthentication>,
    /// Longest time between two looks at the Secret, the files and the clock, watches or not.
    pub recheck: Duration,
    /// Where "now" comes from.
    pub clock: Clock,
}

impl Options {
    /// Options for a source, everything else as usual.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            client_authentication: None,
            recheck: Duration::from_secs(60),
            clock: system_clock(),
        }
    }
}

/// Who issues the certificate.
#[derive(Clone, Debug)]
pub enum Source {
    /// Valence: CA and leaf in a Secret, `caBundle` kept up to date.
    Managed(Managed),
    /// Somebody else, in a Secret with the keys `tls.crt` and `tls.key`. Never written; the `caBundle` is theirs to set.
    Secret {
        /// Namespace of the Secret.
        namespace: String,
        /// Name of the Secret.
        name: String,
    },
    /// Somebody else, in files that may change at any time.
    Files {
        /// Certificate chain in PEM, leaf first.
        certificate: PathBuf,
        /// Private key in PEM.
        key: PathBuf,
    },
}

/// What a CA and a leaf of Valence's own need.
#[derive(Clone, Debug)]
pub struct Managed {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// The MutatingWebhookConfiguration whose webhooks get the `caBundle`; `None` where somebody else copies it there.
    pub webhook_configuration: Option<String>,
    /// Names (or IP addresses) that the leaf is good for, such as `valence-webhook.valence-system.svc`.
    pub dns_names: Vec<String>,
    /// How long things live.
    pub lifetimes: Lifetimes,
}

impl Managed {
    /// The usual names of a webhook's Service inside a cluster, with the usual lifetimes.
    pub fn for_service(namespace: &str, service: &str, secret: &str, webhook_configuration: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            webhook_configuration: Some(webhook_configuration.to_owned()),
            dns_names: vec![
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.cluster.local"),
                format!("{service}.{namespace}"),
            ],
            lifetimes: Lifetimes::default(),
        }
    }
}

/// How long a CA and a leaf live, and the pauses of a rotation.
///
/// Both are renewed when two thirds of their time are over, so that weeks of failed attempts do no harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Life of the CA from its issue.
    pub authority: Duration,
    /// Life of the leaf from its issue.
    pub leaf: Duration,
    /// How far before its issue a certificate is already valid: clocks this far behind still accept it.
    pub backdate: Duration,
    /// How long a new CA is in the `caBundle` before a leaf of it is served: API servers watch the configuration.
    pub settle: Duration,
    /// How long after a new leaf the previous CA stays trusted: a replica cut off from the API may still serve the old one.
    pub retire: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            authority: Duration::from_secs(365 * 24 * HOUR),
            leaf: Duration::from_secs(30 * 24 * HOUR),
            backdate: Duration::from_secs(24 * HOUR),
            settle: Duration::from_secs(15),
            retire: Duration::from_secs(24 * HOUR),
        }
    }
}

/// Asks callers for a certificate. An API server shows one when its admission configuration names a kubeconfig with it.
#[derive(Clone, Debug)]
pub struct ClientAuthentication {
    /// CA certificates in PEM, read anew whenever the file changes.
    pub authorities: PathBuf,
    /// Common names or DNS names of which the caller's certificate must carry one; empty accepts every certificate of
    /// the CA. Name them where the CA is the cluster's own, which signs kubelets and users too.
    pub names: Vec<String>,
}
