//! Whether pods of an older revision of a Deployment may still run, and how they are replaced.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::headroom::{Amount, Rollout};
use crate::view::{self, PortReference};

/// Whether a Deployment, as the watch last saw it, is paused or not through with its last change yet.
#[must_use]
pub fn is_rolling_out(deployment: &apps::Deployment) -> bool {
    let status = deployment.status.as_ref();
    Progress {
        paused: deployment.spec.paused.unwrap_or_default(),
        generation: deployment.metadata.generation,
        observed: status.and_then(|status| status.observed_generation),
        all: status.and_then(|status| status.replicas).unwrap_or_default().into(),
        updated: status
            .and_then(|status| status.updated_replicas)
            .unwrap_or_default()
            .into(),
    }
    .is_under_way()
}

/// The same of the old object of a review: the new one's status is what the client sent, nothing in most cases.
pub(crate) fn was_rolling_out(old: &view::Deployment<'_>) -> bool {
    let status = old.status.as_ref();
    Progress {
        paused: is_paused(old),
        generation: old.metadata.as_ref().and_then(|metadata| metadata.generation),
        observed: status.and_then(|status| status.observed_generation),
        all: status.and_then(|status| status.replicas).unwrap_or_default(),
        updated: status.and_then(|status| status.updated_replicas).unwrap_or_default(),
    }
    .is_under_way()
}

/// How a Deployment, as the watch last saw it, replaces its pods.
#[must_use]
pub fn rollout_of(deployment: &apps::Deployment) -> Rollout {
    let strategy = deployment.spec.strategy.as_ref();
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let amount = |value: &IntOrString| match value {
        IntOrString::Int(pods) => u32::try_from(*pods).ok().map(Amount::Pods),
        IntOrString::String(text) => Amount::parse(text),
    };
    rollout(
        strategy.and_then(|strategy| strategy.type_.as_deref()),
        rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .and_then(amount),
        rolling.and_then(|rolling| rolling.max_surge.as_ref()).and_then(amount),
    )
}

/// The same of a Deployment in a review.
pub(crate) fn rollout_asked(deployment: &view::Deployment<'_>) -> Rollout {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let amount = |value: &PortReference<'_>| match value {
        PortReference::Number(pods) => u32::try_from(*pods).ok().map(Amount::Pods),
        PortReference::Name(text) => Amount::parse(text),
    };
    rollout(
        strategy.and_then(|strategy| strategy.type_.as_deref()),
        rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .and_then(amount),
        rolling.and_then(|rolling| rolling.max_surge.as_ref()).and_then(amount),
    )
}

fn rollout(kind: Option<&str>, unavailable: Option<Amount>, surge: Option<Amount>) -> Rollout {
    if kind == Some("Recreate") {
        return Rollout::Recreate;
    }
    Rollout::Rolling {
        unavailable: unavailable.unwrap_or(Amount::DEFAULT),
        surge: surge.unwrap_or(Amount::DEFAULT),
    }
}

/// Whether a Deployment is paused.
pub(crate) fn is_paused(deployment: &view::Deployment<'_>) -> bool {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.paused).unwrap_or_default()
}

struct Progress {
    paused: bool,
    generation: Option<i64>,
    observed: Option<i64>,
    all: i64,
    updated: i64,
}

impl Progress {
    /// Numbers of an older generation say nothing about this one.
    fn is_under_way(&self) -> bool {
        let is_behind = self
            .observed
            .zip(self.generation)
            .is_some_and(|(observed, now)| observed < now);
        self.paused || is_behind || self.updated < self.all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn both(status: Value, paused: bool) -> bool {
        let object = json!({
            "metadata": {"name": "web", "generation": 3},
            "spec": {"paused": paused, "selector": {}, "template": {}},
            "status": status,
        });
        let text = object.to_string();
        let seen = was_rolling_out(&serde_json::from_str(&text).unwrap());
        assert_eq!(is_rolling_out(&serde_json::from_value(object).unwrap()), seen);
        seen
    }

    #[test]
    fn the_strategy_is_read_alike_from_the_watch_and_from_a_review() {
        let read = |strategy: Value| {
            let object = json!({"spec": {"selector": {}, "template": {}, "strategy": strategy}});
            let asked = rollout_asked(&serde_json::from_str(&object.to_string()).unwrap());
            assert_eq!(rollout_of(&serde_json::from_value(object).unwrap()), asked);
            asked
        };
        assert_eq!(read(Value::Null), Rollout::default());
        assert_eq!(read(json!({"type": "Recreate"})), Rollout::Recreate);
        let some = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "50%"}});
        let (unavailable, surge) = (Amount::Pods(1), Amount::Percent(50));
        assert_eq!(read(some), Rollout::Rolling { unavailable, surge });
    }

    #[test]
    fn the_numbers_count_only_for_their_own_generation() {
        assert!(!both(json!({}), false), "nothing is known to run");
        assert!(!both(
            json!({"replicas": 4, "updatedReplicas": 4, "observedGeneration": 3}),
            false
        ));
        assert!(both(
            json!({"replicas": 4, "updatedReplicas": 1, "observedGeneration": 3}),
            false
        ));
        assert!(both(
            json!({"replicas": 4, "updatedReplicas": 4, "observedGeneration": 2}),
            false
        ));
        assert!(both(
            json!({"replicas": 4, "updatedReplicas": 4, "observedGeneration": 3}),
            true
        ));
    }
}
