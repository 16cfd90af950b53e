//! Asks for the sizes of the plan, pod by pod.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;

use super::compare::{deferred_seconds, is_infeasible, may_be_cured, unsettled};
use super::requests::Outcome;
use super::{Convergence, Converger, Standing, current};
use crate::core::decision::Decision;
use crate::recommender::subjects::Matched;
use crate::scrape::PodSummary;

/// Share of a Deployment's pods that are resized in one cycle; at least one.
const RESIZED_AT_ONCE: f64 = 0.1;

/// No more than so many of a Deployment, nor for longer: all others wait for the end of the cycle.
const RESIZED_AT_MOST: usize = 20;
const RESIZING: Duration = Duration::from_secs(5);

/// A pod whose size is looked at.
pub struct Unpacked<'m> {
    pub summary: &'m PodSummary,
    pub pod: Pod,
}

pub fn unpacked(matched: &Matched) -> Vec<Unpacked<'_>> {
    let unpacked = current(matched).map(|summary| {
        Some(Unpacked {
            pod: summary.unpack()?,
            summary,
        })
    });
    unpacked.flatten().collect()
}

impl Converger {
    /// Sizes of pods that do not serve, and may with other ones. They have nothing to lose: all of them at once.
    pub(super) async fn cure(
        &self,
        pods: &[Unpacked<'_>],
        matched: &Matched,
        decision: &Decision,
        memory: &mut Convergence,
    ) -> Option<Standing> {
        let ill: Vec<_> = pods
            .iter()
            .filter(|one| !one.summary.is_ready() && may_be_cured(&one.pod))
            .filter(|one| memory.is_owed(one, decision))
            .collect();
        self.resize(&ill, ill.len(), matched, decision, memory).await
    }

    pub(super) async fn resources(
        &self,
        pods: &[Unpacked<'_>],
        matched: &Matched,
        decision: &Decision,
        memory: &mut Convergence,
        now_seconds: f64,
    ) -> Option<Standing> {
        if let Some((one, why)) = stranded(pods, decision, memory, self.room_patience, now_seconds) {
            return Some(self.evict(one.summary, why, matched, memory).await);
        }
        let differing: Vec<_> = pods
            .iter()
            .filter(|one| one.summary.is_ready() && memory.is_owed(one, decision))
            .collect();
        let most = ((matched.subject.pods.len() as f64 * RESIZED_AT_ONCE) as usize).max(1);
        self.resize(&differing, most, matched, decision, memory).await
    }

    async fn resize(
        &self,
        differing: &[&Unpacked<'_>],
        most: usize,
        matched: &Matched,
        decision: &Decision,
        memory: &mut Convergence,
    ) -> Option<Standing> {
        let (begun, mut told) = (Instant::now(), None);
        for one in differing.iter().take(most.min(RESIZED_AT_MOST)) {
            if begun.elapsed() > RESIZING {
                break;
            }
            let outcome = self.requests.resize(&one.pod).await;
            let is_answered = match outcome {
                Outcome::NotAdmitted | Outcome::Failed(_) => false,
                Outcome::Unchanged => !memory.wants_news(),
                Outcome::Done | Outcome::Refused(_) => true,
            };
            let refused = matches!(outcome, Outcome::Refused(_));
            told = match outcome {
                Outcome::Refused(_) => {
                    let told = self.evict(one.summary, "cannot be resized in place", matched, memory);
                    Some(told.await)
                }
                // Admission leaves it as it is: a limit of the namespace, or its quality of service, stands in the way.
                Outcome::Unchanged if is_answered => None,
                outcome => {
                    let name = &one.summary.name;
                    let done = format!("{name} re-admitted; {} pods differed", differing.len());
                    Some(outcome.standing("Resizing", done, &format!("for {name}")))
                }
            };
            if is_answered {
                memory.ask(one.summary, decision, refused);
            }
        }
        told
    }
}

/// A pod that can only get its size elsewhere, and why: it was refused, its node can never hold it, or had no room for it
/// for long.
pub fn stranded<'m, 'p>(
    pods: &'m [Unpacked<'p>],
    decision: &Decision,
    memory: &Convergence,
    patience: Duration,
    now_seconds: f64,
) -> Option<(&'m Unpacked<'p>, &'static str)> {
    let mut settled = pods.iter().filter(|one| !memory.is_owed(one, decision));
    settled.find_map(|one| {
        let never = is_infeasible(&one.pod, memory.has_just_asked(one.summary));
        if never || memory.was_refused(one, decision) {
            Some((one, "cannot be resized in place"))
        } else {
            let waits = deferred_seconds(&one.pod, now_seconds)? >= patience.as_secs_f64();
            waits.then_some((one, "found no room on its node for long"))
        }
    })
}

/// A pod whose size was set and is not in force.
pub fn unsettled_pod(pods: &[Unpacked<'_>], now_seconds: f64) -> Option<(&'static str, String)> {
    let serving = pods.iter().filter(|one| one.summary.is_ready());
    serving.filter_map(|one| unsettled(&one.pod, now_seconds)).next()
}
