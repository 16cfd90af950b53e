//! What can go wrong with certificates.

use std::path::PathBuf;

/// An error of this crate. None of them ends the process: the certificate in force goes on being served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// A certificate or a key could not be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// A key of the Secret, or a file, is missing or holds something else than it should.
    #[error("{what}: {reason}")]
    Malformed {
        /// The key of the Secret or the path of the file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls would not take a certificate, a key or a configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The options contradict themselves.
    #[error("options: {0}")]
    Options(&'static str),
}

impl Error {
    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
