//! What admission has to tell beside its answer: the source of Kubernetes Events.

use tokio::sync::mpsc;

/// Why something is worth telling; the reason of the Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A sidecar was due and was not injected.
    InjectionSkipped,
    /// Values of a user gave way to those of Valence.
    Overridden,
    /// A LimitRange or a ResourceQuota stood in the way of a value.
    Capped,
    /// Another autoscaler changes the same workload.
    Conflict,
    /// A value of a user was not understood and is ignored.
    Invalid,
    /// The user's own values are back.
    Released,
}

impl Reason {
    /// The name that Kubernetes shows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InjectionSkipped => "InjectionSkipped",
            Self::Overridden => "Overridden",
            Self::Capped => "Capped",
            Self::Conflict => "Conflict",
            Self::Invalid => "Invalid",
            Self::Released => "Released",
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub const fn is_warning(self) -> bool {
        !matches!(self, Self::Released | Self::Overridden)
    }
}

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Kind of the object that it is about: `Deployment` where the owner is known, else the object itself.
    pub kind: &'static str,
    /// Namespace of that object.
    pub namespace: String,
    /// Name of that object.
    pub name: String,
    /// Why.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
}

/// Where notices go. Never waits.
pub trait Notices: Send + Sync + 'static {
    /// Takes a notice, or drops it and returns false when there are too many.
    fn notice(&self, notice: Notice) -> bool;
}

/// Forgets every notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Notices for Silent {
    fn notice(&self, _: Notice) -> bool {
        true
    }
}

impl Notices for mpsc::Sender<Notice> {
    fn notice(&self, notice: Notice) -> bool {
        self.try_send(notice).is_ok()
    }
}

/// A bounded channel of notices.
#[must_use]
pub fn channel(capacity: usize) -> (mpsc::Sender<Notice>, mpsc::Receiver<Notice>) {
    mpsc::channel(capacity)
}
