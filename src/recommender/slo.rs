//! The status of ServiceLevelObjectives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::managed::Managed;
use super::status::percent;
use super::subjects::{Key, Matched, Matches};
use crate::api::conditions::{self, Condition, ConditionStatus};
use crate::api::objective::{MatchedDeployment, ServiceLevelObjectiveStatus};
use crate::cache::keep::KnownObjective;
use crate::cache::objectives::{MOST_OF_A_DEPLOYMENT, MOST_OF_A_NAMESPACE, in_force};
use crate::core::evidence::{Counts, allowed};
use crate::core::readout::{Compliance, Verdict};
use crate::report::status::ObjectiveStatus;

/// Most Deployments that a status lists; the number of all is beside it.
const LISTED: usize = 100;

/// A ServiceLevelObjective with the Deployments that it selects.
pub struct Selected<'a> {
    /// The ServiceLevelObjective.
    pub known: Arc<KnownObjective>,
    /// Its namespace.
    pub namespace: String,
    /// What it selects.
    pub deployments: Vec<(&'a Matched, &'a Managed)>,
    /// Why it is not in force, or not for every Deployment that it selects, where there are too many.
    too_many: Option<String>,
}

/// Every ServiceLevelObjective with what it selects.
#[must_use]
pub fn selected<'a>(
    known: Vec<(String, Arc<KnownObjective>)>,
    matched: &'a Matches,
    managed: &'a BTreeMap<Key, Managed>,
) -> Vec<Selected<'a>> {
    let surplus = surplus(&known);
    known
        .into_iter()
        .map(|(namespace, known)| {
            let range = || {
                let from = matched.range((namespace.clone(), String::new())..);
                from.take_while(|((other, _), _)| *other == namespace)
            };
            let left_out = range().filter(|(_, one)| one.left_out.contains(&known.name)).count();
            let too_many = if surplus.contains(&(namespace.clone(), known.name.clone())) {
                Some(format!(
                    "the namespace has more than {MOST_OF_A_NAMESPACE} ServiceLevelObjectives, and only the oldest are in force"
                ))
            } else {
                (left_out > 0).then(|| {
                    format!("{left_out} Deployments are held to {MOST_OF_A_DEPLOYMENT} older objectives and not to these")
                })
            };
            let deployments = range()
                .filter(|(_, one)| one.objectives.iter().any(|objective| objective.slo == known.name))
                .filter_map(|(key, one)| Some((one, managed.get(key)?)))
                .collect();
            Selected {
                known,
                namespace,
                deployments,
                too_many,
            }
        })
        .collect()
}

/// Those that are not in force because their namespace has too many.
fn surplus(known: &[(String, Arc<KnownObjective>)]) -> BTreeSet<Key> {
    let mut surplus = BTreeSet::new();
    let crowded = known.chunk_by(|(one, _), (other, _)| one == other);
    for namespace in crowded.filter(|namespace| namespace.len() > MOST_OF_A_NAMESPACE) {
        let all: Vec<_> = namespace.iter().map(|(_, known)| Arc::clone(known)).collect();
        let kept: BTreeSet<String> = in_force(all).iter().map(|known| known.name.clone()).collect();
        let left_out = namespace
            .iter()
            .filter(|(_, known)| known.in_force.is_some() && !kept.contains(&known.name));
        surplus.extend(left_out.map(|(namespace, known)| (namespace.clone(), known.name.clone())));
    }
    surplus
}

/// Whether two statuses say the same, apart from measurements that move with every window.
#[must_use]
pub fn same_essence(a: &ServiceLevelObjectiveStatus, b: &ServiceLevelObjectiveStatus) -> bool {
    let ServiceLevelObjectiveStatus {
        observed_generation,
        matched,
        compliance,
        deployments,
        in_force,
        conditions,
    } = a;
    let same_deployment = |(a, b): (&MatchedDeployment, &MatchedDeployment)| {
        (&a.name, a.live, &a.state, a.compliance.is_some()) == (&b.name, b.live, &b.state, b.compliance.is_some())
    };
    *observed_generation == b.observed_generation
        && *matched == b.matched
        && compliance.is_some() == b.compliance.is_some()
        && *in_force == b.in_force
        && deployments.len() == b.deployments.len()
        && deployments.iter().zip(&b.deployments).all(same_deployment)
        && conditions::same_but_messages(conditions, &b.conditions)
}

impl Selected<'_> {
    /// Namespace and name.
    #[must_use]
    pub fn key(&self) -> Key {
        (self.namespace.clone(), self.known.name.clone())
    }

    /// The status.
    #[must_use]
    pub fn status(&self, before: Option<&ServiceLevelObjectiveStatus>, now: Timestamp) -> ServiceLevelObjectiveStatus {
        let mut conditions = before.map(|status| status.conditions.clone()).unwrap_or_default();
        conditions::set(&mut conditions, self.ready(now).observed(self.known.generation));
        conditions::set(&mut conditions, self.met(now).observed(self.known.generation));
        let shares = self
            .deployments
            .iter()
            .filter_map(|(_, managed)| self.compliance(managed));
        ServiceLevelObjectiveStatus {
            observed_generation: self.known.generation,
            matched: i32::try_from(self.deployments.len()).unwrap_or(i32::MAX),
            compliance: shares.min_by(f64::total_cmp).map(percent),
            in_force: self.known.in_force.as_ref().map(|in_force| in_force.spec.clone()),
            deployments: self
                .deployments
                .iter()
                .take(LISTED)
                .map(|(matched, managed)| self.deployment(matched, managed))
                .collect(),
            conditions,
        }
    }

    /// The same for the board.
    #[must_use]
    pub fn for_board(&self) -> ObjectiveStatus {
        ObjectiveStatus {
            namespace: self.namespace.clone(),
            name: self.known.name.clone(),
            objectives: self
                .known
                .in_force
                .as_ref()
                .map(|in_force| in_force.objectives.clone())
                .unwrap_or_default(),
            error: self.known.error.as_ref().map(ToString::to_string),
            deployments: self
                .deployments
                .iter()
                .map(|(matched, _)| matched.deployment.name_any())
                .collect(),
        }
    }

    fn deployment(&self, matched: &Matched, managed: &Managed) -> MatchedDeployment {
        MatchedDeployment {
            name: matched.subject.name.clone(),
            live: matched.bounds.live,
            state: managed.advisor().state().name().to_owned(),
            compliance: self.compliance(managed).map(percent),
        }
    }

    fn ready(&self, now: Timestamp) -> Condition {
        if let (None, Some(message)) = (&self.known.error, &self.too_many) {
            return Condition::new("Ready", false, "TooMany", message.clone(), now);
        }
        match (&self.known.error, &self.known.in_force) {
            (Some(error), Some(_)) => Condition::new(
                "Ready",
                false,
                "InvalidSpec",
                format!("{error}; the last good objectives stay in force"),
                now,
            ),
            (Some(error), None) => Condition::new("Ready", false, "InvalidSpec", error.to_string(), now),
            (None, _) if self.deployments.is_empty() => Condition::new(
                "Ready",
                true,
                "NothingSelected",
                "the selector matches no Deployment of this namespace",
                now,
            ),
            (None, _) => Condition::new(
                "Ready",
                true,
                "InForce",
                match self.deployments.len() {
                    1 => "holds for 1 Deployment".to_owned(),
                    many => format!("holds for {many} Deployments"),
                },
                now,
            ),
        }
    }

    /// Whether every Deployment keeps every objective, as far as the requests can say.
    fn met(&self, now: Timestamp) -> Condition {
        let all: Vec<(&str, Compliance)> = self
            .deployments
            .iter()
            .flat_map(|(matched, managed)| {
                self.kept(managed)
                    .into_iter()
                    .map(|kept| (matched.subject.name.as_str(), kept))
            })
            .collect();
        let violated: Vec<String> = all
            .iter()
            .filter(|(_, kept)| kept.verdict == Verdict::Violated)
            .map(|(name, kept)| {
                format!(
                    "{name}: {} of {} requests took longer than {} s",
                    kept.recent_exceeding, kept.recent_requests, kept.objective.response_time_seconds
                )
            })
            .collect();
        if !violated.is_empty() {
            Condition::new("Met", false, "Violated", violated.join("; "), now)
        } else if let Some((name, kept)) = all.iter().find(|(_, kept)| undecided(kept)) {
            let message = format!(
                "{name}: {} of {} requests cannot be told to be within {} s or not: pods from before the objective count no \
                 edge there; replace them to know",
                kept.recent_undecided, kept.recent_requests, kept.objective.response_time_seconds
            );
            Condition::new("Met", ConditionStatus::Unknown, "Undecided", message, now)
        } else if all.is_empty() || all.iter().any(|(_, kept)| kept.verdict == Verdict::Unknown) {
            Condition::new(
                "Met",
                ConditionStatus::Unknown,
                "TooFewRequests",
                "too few requests were seen to say",
                now,
            )
        } else {
            Condition::new(
                "Met",
                true,
                "Kept",
                "every selected Deployment keeps it, at 95% confidence",
                now,
            )
        }
    }

    fn kept(&self, managed: &Managed) -> Vec<Compliance> {
        let mut kept = managed.advisor().compliance();
        kept.retain(|kept| kept.objective.slo == self.known.name);
        kept
    }

    fn compliance(&self, managed: &Managed) -> Option<f64> {
        self.kept(managed)
            .iter()
            .filter_map(|kept| kept.compliance)
            .min_by(f64::total_cmp)
    }
}

/// Whether nothing can be said of an objective for want of an edge at its response time.
/// Whether the verdict lacks what the undecided requests would tell, and not just more requests.
fn undecided(kept: &Compliance) -> bool {
    let would_tell = |undecided: u64| {
        let counts = Counts {
            requests: kept.recent_requests as f64,
            exceeding: (kept.recent_exceeding + undecided) as f64,
        };
        counts.verdict(allowed(&kept.objective)) != Verdict::Unknown
    };
    kept.verdict == Verdict::Unknown
        && kept.recent_undecided > 0
        && (would_tell(0) || would_tell(kept.recent_undecided))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::objective::Objective;

    #[test]
    fn what_cannot_be_told_is_undecided_only_where_that_is_what_is_lacking() {
        let kept = |recent_requests, recent_undecided| Compliance {
            objective: Objective {
                slo: "fast".to_owned(),
                percentile: 0.9,
                response_time_seconds: 0.1,
                throughput_per_second: None,
            },
            verdict: Verdict::Unknown,
            recent_requests,
            recent_exceeding: 0,
            recent_undecided,
            recent_latency_seconds: None,
            compliance: None,
            error_budget_left: 1.0,
        };
        assert!(undecided(&kept(3000, 1500)));
        assert!(!undecided(&kept(3000, 0)));
        assert!(!undecided(&kept(10, 1)), "ten say nothing, whatever they are");
    }

    #[test]
    fn numbers_that_move_are_no_news() {
        let deployment = |compliance: &str, state: &str| MatchedDeployment {
            name: "web".to_owned(),
            live: true,
            state: state.to_owned(),
            compliance: Some(compliance.to_owned()),
        };
        let status = |compliance: &str, state: &str, requests: u64, holds: bool| ServiceLevelObjectiveStatus {
            matched: 1,
            compliance: Some(compliance.to_owned()),
            deployments: vec![deployment(compliance, state)],
            conditions: vec![Condition::new(
                "Met",
                holds,
                "Kept",
                format!("{requests} requests"),
                Timestamp::UNIX_EPOCH,
            )],
            ..ServiceLevelObjectiveStatus::default()
        };
        let before = status("99.10%", "Learning", 100, true);
        assert!(same_essence(&before, &status("99.20%", "Learning", 120, true)));
        assert!(!same_essence(&before, &status("99.10%", "Confident", 100, true)));
        assert!(!same_essence(&before, &status("99.10%", "Learning", 100, false)));
        let other = ServiceLevelObjectiveStatus {
            in_force: Some(serde_json::json!({})),
            ..before.clone()
        };
        assert!(!same_essence(&before, &other));
    }
}
