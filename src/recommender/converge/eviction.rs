//! When a pod may be evicted.

use std::time::Duration;

use crate::recommender::subjects::{Matched, desired_replicas};
use crate::scrape::PodSummary;

/// Reason of a pod that is to be evicted, when its turn comes.
pub const WAITS: &str = "EvictionWaits";

/// Why a pod is not evicted now: in a word, and in half a sentence.
pub type Objection = (&'static str, &'static str);

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
