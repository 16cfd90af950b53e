//! What a Deployment allows to be asked for now.

use k8s_openapi::api::apps::v1::Deployment;

use crate::core::observation::PodPhase;
use crate::recommender::subjects::{Matched, desired_replicas};

/// From this share of pods without a node on, more of them would find none either.
const CROWDED: f64 = 0.1;

/// From this share of pods that cannot start on, more of them would not either.
const BROKEN: f64 = 0.5;

/// What a Deployment allows to be asked for now, with a reason in a word and in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Situation {
    /// Nothing: somebody holds it.
    Held(&'static str, String),
    /// Only what may let its pods start.
    Stuck(&'static str, String),
    /// Everything but more replicas.
    Full(&'static str, String),
    /// Everything, though some of its pods do not start.
    Ailing(&'static str, String),
    /// Everything.
    Open,
}

impl Situation {
    /// Looks at a Deployment and its pods.
    #[must_use]
    pub fn of(matched: &Matched, now_seconds: f64) -> Self {
        held(&matched.deployment)
            .or_else(|| stuck(&matched.deployment))
            .or_else(|| failing(matched, now_seconds))
            .unwrap_or(Self::Open)
    }

    /// What is to be said where nothing else is.
    #[must_use]
    pub fn complaint(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Open => None,
            Self::Held(reason, message)
            | Self::Stuck(reason, message)
            | Self::Full(reason, message)
            | Self::Ailing(reason, message) => Some((reason, message.clone())),
        }
    }
}

fn held(deployment: &Deployment) -> Option<Situation> {
    if desired_replicas(deployment) == 0 {
        let message = "the Deployment was scaled to 0 and is left alone".to_owned();
        return Some(Situation::Held("ScaledToZero", message));
    }
    let paused = deployment.spec.paused == Some(true);
    paused.then(|| Situation::Held("Paused", "the Deployment is paused".to_owned()))
}

fn stuck(deployment: &Deployment) -> Option<Situation> {
    let status = deployment.status.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|condition| {
        condition.type_.as_deref() == Some("Progressing") && condition.status.as_deref() == Some("False")
    })?;
    let message = condition.message.clone().unwrap_or_default();
    Some(Situation::Stuck(
        "RolloutStuck",
        format!("the rollout does not progress: {message}"),
    ))
}

fn failing(matched: &Matched, now_seconds: f64) -> Option<Situation> {
    let all = &matched.subject.pods;
    let failing: Vec<_> = all
        .iter()
        .filter(|pod| pod.phase(now_seconds) == PodPhase::Failing)
        .collect();
    let first = &failing.first()?.name;
    let homeless = failing.iter().filter(|pod| !pod.has_node).count();
    let share = |pods: usize| pods as f64 / all.len() as f64;
    let count = (failing.len(), all.len());
    Some(if share(homeless) >= CROWDED {
        let message = format!(
            "{homeless} of {} pods find no node: more of them would not either",
            count.1
        );
        Situation::Full("PodsUnschedulable", message)
    } else if share(failing.len()) >= BROKEN {
        let message = format!("{} of {} pods cannot start, {first} among them", count.0, count.1);
        Situation::Full("PodsFailing", message)
    } else {
        let message = format!("{} of {} pods cannot start, {first} among them", count.0, count.1);
        Situation::Ailing("PodFailing", message)
    })
}
