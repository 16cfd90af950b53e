//! Whether evicting a pod for its sidecar does any good.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::current;
use crate::recommender::subjects::Matched;
use crate::recommender::subjects::desired_replicas;
use crate::scrape::PodSummary;

/// Reason of a workload whose pods came back without a sidecar.
pub const IN_VAIN: &str = "ReplacedInVain";

/// A pod was evicted so that its replacement comes with a sidecar; whether it did is still to be seen.
#[derive(Clone, Debug)]
pub struct Trial {
    template: String,
    /// Pods that were there then, by their unique identifiers.
    known: HashSet<Arc<str>>,
    at: Instant,
    in_vain: bool,
}

/// What the last trial says about the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The replacement came with a sidecar, or there was none yet.
    GoOn,
    /// The replacement is not there yet, and is still wanted.
    Wait,
    /// It came without one, and the next would too.
    InVain,
}

impl Trial {
    /// One that begins now.
    #[must_use]
    pub fn begin(matched: &Matched) -> Self {
        Self {
            template: matched.subject.template.clone(),
            known: current(matched).map(|pod| Arc::clone(&pod.unique)).collect(),
            at: Instant::now(),
            in_vain: false,
        }
    }

    /// One of a predecessor's that was in vain.
    #[must_use]
    pub fn lost(matched: &Matched) -> Self {
        Self {
            in_vain: true,
            ..Self::begin(matched)
        }
    }

    /// Looks at the pods that came since. Another template is another trial; so is one whose replacement nobody wanted.
    pub fn judge(&mut self, matched: &Matched, pace: Duration) -> Verdict {
        if self.template != matched.subject.template {
            return Verdict::GoOn;
        }
        let is_new = |pod: &&PodSummary| !self.known.contains(&pod.unique);
        let mut new = current(matched).filter(is_new).peekable();
        let has_come = new.peek().is_some();
        if new.any(|pod| pod.metrics_port.is_some()) {
            return Verdict::GoOn;
        }
        self.in_vain |= has_come;
        if self.in_vain {
            Verdict::InVain
        } else if self.at.elapsed() < pace || is_short(matched) {
            Verdict::Wait
        } else {
            Verdict::GoOn
        }
    }
}

/// Whether there are fewer pods than the Deployment asks for.
fn is_short(matched: &Matched) -> bool {
    current(matched).count() < desired_replicas(&matched.deployment) as usize
}
