//! What admission has to tell beside its answer: the source of Kubernetes Events.
//!
//! Whoever reaches the port can ask about anything. So nothing is told but of what the watches have seen and its owner gave
//! into our care, and of each namespace only so much.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::injection;
use crate::plans::Plans;

/// Notices of one namespace that are passed on within [`WHILE`]; what was told in it is not told again.
const MOST: usize = 32;

/// How long notices are counted together.
const WHILE: Duration = Duration::from_secs(60);

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl Notice {
    /// Whether it is about something that the watches have seen, and that its owner has given into our care.
    pub(crate) fn is_of_ours(&self, plans: &dyn Plans) -> bool {
        let is_asked_for = injection::namespace_wish(plans, &self.namespace);
        match self.kind {
            "Deployment" => {
                let known = plans.deployment(&self.namespace, &self.name);
                known.is_some_and(|known| is_asked_for || is_marked(&known.metadata) || self.is_selected(plans, &known))
            }
            "Service" => {
                let mut known = plans.services(&self.namespace).into_iter();
                let is_it = |service: &Arc<Service>| service.metadata.name.as_ref() == Some(&self.name);
                is_asked_for || known.find(is_it).is_some_and(|known| is_marked(&known.metadata))
            }
            _ => is_asked_for,
        }
    }

    fn is_selected(&self, plans: &dyn Plans, deployment: &Deployment) -> bool {
        let labels = deployment.metadata.labels.clone().unwrap_or_default();
        !plans.objectives(&self.namespace, &labels).is_empty() || injection::is_due(plans, &self.namespace, deployment)
    }
}

/// Whether an object carries an annotation of ours.
fn is_marked(metadata: &ObjectMeta) -> bool {
    let mut annotations = metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key.starts_with("valence.io/"))
}

/// What becomes of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// It is passed on.
    New,
    /// It was, a moment ago.
    Told,
    /// Its namespace has had its share.
    TooMany,
}

/// What was told of each namespace lately.
#[derive(Debug, Default)]
pub(crate) struct Shares(Mutex<HashMap<String, (Instant, HashSet<u64>)>>);

impl Shares {
    /// Takes a notice into account.
    pub fn take(&self, notice: &Notice, now: Instant) -> Share {
        let mut hasher = DefaultHasher::new();
        notice.hash(&mut hasher);
        let mut shares = self.0.lock();
        if shares
            .get(&notice.namespace)
            .is_none_or(|(since, _)| now >= *since + WHILE)
        {
            shares.retain(|_, (since, _)| now < *since + WHILE);
            shares.insert(notice.namespace.clone(), (now, HashSet::new()));
        }
        let Some((_, told)) = shares.get_mut(&notice.namespace) else {
            return Share::TooMany;
        };
        let hash = hasher.finish();
        if told.contains(&hash) {
            return Share::Told;
        }
        if told.len() >= MOST {
            return Share::TooMany;
        }
        told.insert(hash);
        Share::New
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(namespace: &str, message: usize) -> Notice {
        Notice {
            kind: "Deployment",
            namespace: namespace.to_owned(),
            name: "web".to_owned(),
            reason: Reason::Capped,
            message: message.to_string(),
        }
    }

    #[test]
    fn a_namespace_has_a_share() {
        let (shares, start) = (Shares::default(), Instant::now());
        let told = |namespace: &str, now| {
            let taken = (0..2 * MOST).map(|message| shares.take(&notice(namespace, message), now));
            taken.filter(|share| *share == Share::New).count()
        };
        assert_eq!(told("greedy", start), MOST);
        assert_eq!(told("other", start), MOST, "the share of another is its own");
        assert_eq!(shares.take(&notice("greedy", 0), start), Share::Told);
        assert_eq!(shares.take(&notice("greedy", MOST), start), Share::TooMany);
        assert_eq!(told("greedy", start + WHILE), MOST, "after a while there is another");
        assert_eq!(shares.0.lock().len(), 1, "shares that are over are forgotten");
    }
}
