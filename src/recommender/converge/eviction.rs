//! Replaces pods that only a new one can stand in for.

use std::time::{Duration, Instant};

use valence_webhook::Prospect;

use super::trial::{IN_VAIN, Trial, Verdict};
use super::{Convergence, Converger, Standing};
use crate::recommender::subjects::{Matched, desired_replicas};
use crate::scrape::PodSummary;

/// Reason of a pod that is to be evicted, when its turn comes.
pub const WAITS: &str = "EvictionWaits";

/// Reason of a pod that was evicted.
const EVICTED: &str = "Evicted";

/// Why a pod is not evicted now: in a word, and in half a sentence.
pub type Objection = (&'static str, &'static str);

impl Converger {
    /// Replaces a pod that was admitted without a sidecar when it should have got one: admission was away then. A second
    /// one goes only when the replacement of the first came with it.
    pub(super) async fn slipped(&self, matched: &Matched, memory: &mut Convergence) -> Option<Standing> {
        // Another wish is another trial.
        if matched
            .sidecars
            .prospect
            .as_ref()
            .is_some_and(|prospect| *prospect != Prospect::Sidecar)
        {
            (memory.trial, memory.lost) = (None, false);
        }
        let pod = matched.sidecars.slipped(memory.injected_since).next()?;
        if std::mem::take(&mut memory.lost) {
            memory.trial = Some(Trial::lost(matched));
        }
        let verdict = memory
            .trial
            .as_mut()
            .map(|trial| trial.judge(matched, self.between_evictions));
        match verdict.unwrap_or(Verdict::GoOn) {
            Verdict::GoOn => {}
            Verdict::Wait => return Some(Standing::behind(WAITS, "the pod in place of the last one is awaited")),
            Verdict::InVain => {
                let message = "a pod was evicted for its sidecar and the next one came without it, too: no other is evicted until the template changes";
                return Some(Standing::behind(IN_VAIN, message));
            }
        }
        memory.trial = None;
        let trial = Trial::begin(matched);
        let told = self
            .evict(pod, "was admitted without its sidecar", matched, memory)
            .await;
        if told.reason == EVICTED {
            memory.trial = Some(trial);
        }
        Some(told)
    }

    /// Evicts a pod, so that the one in its place is admitted with the values in force.
    pub(super) async fn evict(
        &self,
        pod: &PodSummary,
        why: &str,
        matched: &Matched,
        memory: &mut Convergence,
    ) -> Standing {
        let name = &pod.name;
        if !self.evict {
            return Standing::behind("EvictionOff", format!("{name} {why}, and evictions are turned off"));
        }
        let since_last = memory.evicted.map(|at| at.elapsed());
        if let Some((reason, against)) = objection(pod, matched, since_last, self.between_evictions) {
            return Standing::behind(reason, format!("{name} {why}; {against}"));
        }
        match self.requests.evict(&matched.subject.namespace, name, &pod.unique).await {
            Ok(()) => {
                memory.evicted = Some(Instant::now());
                Standing::behind(EVICTED, format!("{name} {why} and was evicted"))
            }
            Err(error) => Standing::behind("EvictionRefused", error),
        }
    }
}

/// Says what stands against the eviction of a pod, so that one goes at a time and nobody is left without service. A pod
/// that does not serve costs nothing. PodDisruptionBudgets are the API server's to hold.
pub fn objection(
    pod: &PodSummary,
    matched: &Matched,
    since_last: Option<Duration>,
    pace: Duration,
) -> Option<Objection> {
    if since_last.is_some_and(|since| since < pace) {
        return Some((WAITS, "it waits for its eviction"));
    }
    if !pod.is_ready() {
        return None;
    }
    let all = &matched.subject.pods;
    let others: Vec<_> = all.iter().filter(|other| other.unique != pod.unique).collect();
    if !others.iter().any(|other| other.is_ready()) {
        return Some((
            "OnlyReplica",
            "the only pod that serves is not evicted: restart it when it suits you",
        ));
    }
    let all_serve = others.iter().all(|other| other.is_ready());
    let all_there = all.len() >= desired_replicas(&matched.deployment) as usize;
    (!all_serve || !all_there).then_some((WAITS, "it waits for its eviction until every other pod serves"))
}
