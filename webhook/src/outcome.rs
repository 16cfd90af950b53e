//! What became of one review.

use crate::notices::{Notice, Reason};
use crate::patch::Patch;

/// What became of one review.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What changes.
    pub patch: Patch,
    /// What the client is told.
    pub warnings: Vec<String>,
    /// What the object's owner is told.
    pub notices: Vec<Notice>,
    /// Whether a value that somebody asked for gave way to ours.
    pub overrides: bool,
    /// Whether a sidecar was added.
    pub injected: bool,
    /// The object's owner, where the watch has not seen it yet: once it has, the answer may be another.
    pub unseen: Option<Unseen>,
}

/// A Deployment that the watch has not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The object that notices are about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

impl Outcome {
    /// Tells the client alone.
    pub fn warn(&mut self, message: impl AsRef<str>) {
        self.warnings.push(format!("valence: {}", message.as_ref()));
    }

    /// Tells the owner alone.
    pub fn notice(&mut self, about: Subject<'_>, reason: Reason, message: impl Into<String>) {
        if about.name.is_empty() {
            return;
        }
        self.notices.push(Notice {
            kind: about.kind,
            namespace: about.namespace.to_owned(),
            name: about.name.to_owned(),
            reason,
            message: message.into(),
        });
    }

    /// Tells both.
    pub fn tell(&mut self, about: Subject<'_>, reason: Reason, message: impl Into<String>) {
        let message = message.into();
        self.warn(&message);
        self.notice(about, reason, message);
    }
}
