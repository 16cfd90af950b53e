//! Makes a running workload take the values in force, by asking for admission once more.
//!
//! The values themselves are not in any request: an empty patch to `deployments/scale`, to `pods/resize`, or to a
//! HorizontalPodAutoscaler that the model steers, makes the API server run the mutating webhooks, and what they set takes
//! effect. Each request is tried as a dry run first. Where that does not answer with the values of the plan, admission is
//! not at work, and nothing is asked for.

#[cfg(test)]
mod asked;
mod compare;
mod eviction;
mod memory;
mod replicas;
pub mod requests;
pub mod services;
mod situation;
mod sizes;
#[cfg(test)]
mod tests;
mod trial;

use std::time::Duration;

use kube::Client;

use super::lease::Leadership;
use super::subjects::Matched;
use crate::core::decision::Decision;
use crate::report::metrics::CycleMetrics;
use crate::scrape::PodSummary;
pub use memory::{Convergence, Standing};
use requests::Requests;
use situation::Situation;
use sizes::{unpacked, unsettled_pod};

/// How long a pod waits for room on its node before it may go to another, in times between two evictions.
const ROOM_PATIENCE: u32 = 5;

/// Asks for admission once more.
#[derive(Clone)]
pub struct Converger {
    requests: Requests,
    evict: bool,
    between_evictions: Duration,
    /// How long a pod waits for room on its node before it may go to another.
    room_patience: Duration,
}

impl Converger {
    /// Evicts pods that only a new one can replace where `evict` is set, one of a Deployment in `between_evictions`.
    #[must_use]
    pub fn new(
        client: Client,
        leadership: Leadership,
        metrics: CycleMetrics,
        evict: bool,
        between_evictions: Duration,
    ) -> Self {
        Self {
            requests: Requests::new(client, leadership, metrics),
            evict,
            between_evictions,
            room_patience: between_evictions * ROOM_PATIENCE,
        }
    }

    /// What it asks with.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Brings one live Deployment nearer to its plan.
    pub async fn converge(
        &self,
        matched: &Matched,
        decision: &Decision,
        mut memory: Convergence,
        now_seconds: f64,
    ) -> Convergence {
        memory.forget(matched);
        memory.want(decision);
        let situation = Situation::of(matched, now_seconds);
        memory.standing = Some(match &situation {
            Situation::Held(reason, message) => Standing::behind(reason, message),
            _ => {
                self.advance(matched, decision, &situation, &mut memory, now_seconds)
                    .await
            }
        });
        memory
    }

    async fn advance(
        &self,
        matched: &Matched,
        decision: &Decision,
        situation: &Situation,
        memory: &mut Convergence,
        now_seconds: f64,
    ) -> Standing {
        let sizes = matched.vertical.is_none();
        let pods = unpacked(matched);
        let cure = if sizes {
            self.cure(&pods, matched, decision, memory).await
        } else {
            None
        };
        if let Situation::Stuck(reason, message) = situation {
            return cure.unwrap_or_else(|| Standing::behind(reason, message));
        }
        let replicas = match &matched.horizontal {
            Some(name) if matched.steers_horizontal => self.autoscaler(matched, name, memory).await,
            Some(_) => None,
            None => self.replicas(matched, decision, situation, memory).await,
        };
        let resources = if sizes {
            self.resources(&pods, matched, decision, memory, now_seconds).await
        } else {
            None
        };
        let mut told = replicas.or(cure).or(resources);
        if told.is_none() {
            told = self.slipped(matched, memory).await;
        }
        let complaint = || {
            let (reason, message) = situation.complaint().or_else(|| unsettled_pod(&pods, now_seconds))?;
            Some(Standing::behind(reason, message))
        };
        told.or_else(complaint).unwrap_or_else(Standing::converged)
    }
}

/// Pods of the template in force that stay; others are replaced by the rollout anyway.
fn current(matched: &Matched) -> impl Iterator<Item = &PodSummary> {
    let all = matched.subject.pods.iter().map(AsRef::as_ref);
    all.filter(|pod| pod.is_current(&matched.subject.template))
}
