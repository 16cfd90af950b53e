//! The status of a Recommendation, out of a decision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use valence_webhook::names;

use super::managed::Managed;
use super::subjects::{Matched, desired_replicas};
use crate::api::GoDuration;
use crate::api::conditions::{self, Condition};
use crate::api::quantity::{self, cpu_text, memory_text};
use crate::api::recommendation::{
    ContainerRecommendation, ExplanationSummary, ObjectiveSummary, Observed, Original, RecommendationStatus,
    ResourceAmounts,
};
use crate::core::decision::{Bound, Decision, Explanation, ModelState};
use crate::core::objective::Objective;
use crate::core::observation::Resources;
use crate::core::readout::Compliance;
use crate::core::units::{Bytes, Cores};
use crate::scrape::pods;

/// Composes the status of a Deployment that has been decided about, without the checkpoint: only what is written carries
/// one.
#[must_use]
pub fn compose(managed: &Managed, matched: &Matched, decision: &Decision, now: Timestamp) -> RecommendationStatus {
    let replicas = |replicas: u32| i32::try_from(replicas).unwrap_or(i32::MAX);
    RecommendationStatus {
        observed_generation: matched.deployment.metadata.generation,
        replicas: decision.replicas.map(replicas),
        current_replicas: Some(replicas(desired_replicas(&matched.deployment))),
        containers: in_use(containers(&decision.containers, &matched.deployment), managed),
        original: Some(original(managed, &matched.deployment)),
        state: decision.state.name().to_owned(),
        live: managed.bounds().live,
        objectives: managed.objectives().iter().map(objective).collect(),
        observed: Some(observed(managed)),
        model: managed
            .advisor()
            .numbers()
            .iter()
            .map(|(name, value)| ((*name).to_owned(), rounded(*value)))
            .collect(),
        bound: decision.explanation.bound.name().to_owned(),
        reason: decision.explanation.summary.clone(),
        explanation: Some(ExplanationSummary {
            inputs: decision
                .explanation
                .inputs
                .iter()
                .map(|(name, value)| (name.clone(), rounded(*value)))
                .collect(),
            next_smaller: decision.explanation.next_smaller.clone(),
        }),
        target_utilisation: decision.target_utilisation.map(rounded),
        conditions: managed.conditions.clone(),
        decided_at: Some(Time(now)),
        checkpoint: String::new(),
    }
}

/// The status of a Deployment that no ServiceLevelObjective selects any more: nothing is recommended, what was learnt is kept.
#[must_use]
pub fn unselected(before: &RecommendationStatus, now: Timestamp) -> RecommendationStatus {
    let mut conditions = before.conditions.clone();
    conditions::set(
        &mut conditions,
        Condition::new(
            "Ready",
            false,
            "NotSelected",
            "no ServiceLevelObjective selects the Deployment",
            now,
        ),
    );
    RecommendationStatus {
        replicas: None,
        containers: Vec::new(),
        objectives: Vec::new(),
        observed: None,
        live: false,
        reason: "no ServiceLevelObjective selects the Deployment".to_owned(),
        explanation: None,
        target_utilisation: None,
        conditions,
        ..before.clone()
    }
}

/// Whether two statuses say the same, apart from measurements that move with every window.
#[must_use]
pub fn same_decision(a: &RecommendationStatus, b: &RecommendationStatus) -> bool {
    let RecommendationStatus {
        observed_generation,
        replicas,
        current_replicas,
        containers,
        original,
        state,
        live,
        objectives,
        observed: _,
        model: _,
        bound,
        reason: _,
        explanation: _,
        target_utilisation: _,
        conditions,
        decided_at: _,
        checkpoint: _,
    } = a;
    let same_container = |(a, b): (&ContainerRecommendation, &ContainerRecommendation)| {
        (&a.name, &a.requests, &a.limits) == (&b.name, &b.requests, &b.limits)
    };
    *observed_generation == b.observed_generation
        && (*replicas, *current_replicas, *live) == (b.replicas, b.current_replicas, b.live)
        && (original, state, objectives, bound) == (&b.original, &b.state, &b.objectives, &b.bound)
        && containers.len() == b.containers.len()
        && containers.iter().zip(&b.containers).all(same_container)
        && conditions::same_but_messages(conditions, &b.conditions)
}

/// In the order of the Deployment's own containers, the sidecar last.
fn containers(decided: &BTreeMap<String, Resources>, deployment: &Deployment) -> Vec<ContainerRecommendation> {
    let spec = deployment.spec.template.spec.as_ref();
    let order: Vec<&str> = spec
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| container.name.as_str())
        .collect();
    let mut named: Vec<_> = decided.iter().collect();
    named.sort_by_key(|(name, _)| {
        (
            name.as_str() == names::SIDECAR_CONTAINER,
            order.iter().position(|known| known == name),
        )
    });
    named
        .into_iter()
        .map(|(name, resources)| container(name, resources))
        .collect()
}

fn container(name: &str, resources: &Resources) -> ContainerRecommendation {
    ContainerRecommendation {
        name: name.to_owned(),
        requests: ResourceAmounts {
            cpu: resources.cpu_request.map(cpu_text),
            memory: resources.memory_request.map(memory_text),
        },
        limits: ResourceAmounts {
            cpu: resources.cpu_limit.map(cpu_text),
            memory: resources.memory_limit.map(memory_text),
        },
        memory_in_use: None,
    }
}

/// Requests and limits as the user wrote them: admission changes Pods, never the template of a Deployment.
#[must_use]
pub fn original_resources(deployment: &Deployment) -> BTreeMap<String, Resources> {
    let spec = deployment.spec.template.spec.as_ref();
    pods::asked_for(spec.into_iter().flat_map(|spec| &spec.containers))
}

/// Replicas as the user wrote them, where admission noted them when it put its own in their place.
#[must_use]
pub fn noted_replicas(deployment: &Deployment) -> Option<u32> {
    let record = deployment.metadata.annotations.as_ref()?.get(names::ORIGINAL)?;
    let record: serde_json::Value = serde_json::from_str(record).ok()?;
    u32::try_from(record.get("replicas")?.as_u64()?).ok()
}

fn original(managed: &Managed, deployment: &Deployment) -> Original {
    Original {
        replicas: i32::try_from(managed.original_replicas).ok(),
        containers: containers(&original_resources(deployment), deployment),
    }
}

/// Adds the most memory that any pod was last seen to use, in steps of 16 MiB so that it does not change all the time.
fn in_use(mut containers: Vec<ContainerRecommendation>, managed: &Managed) -> Vec<ContainerRecommendation> {
    for container in &mut containers {
        let pods = managed.last.iter().flat_map(|last| &last.pods);
        let used = pods.filter_map(|pod| pod.containers.get(&container.name)?.memory);
        let most = used.max().map(|most| Bytes(most.0.next_multiple_of(16 << 20)));
        container.memory_in_use = most.map(memory_text);
    }
    containers
}

fn objective(objective: &Objective) -> ObjectiveSummary {
    ObjectiveSummary {
        slo: objective.slo.clone(),
        percentile: (objective.percentile * 100.0).round() as i64,
        response_time: GoDuration::from_seconds(objective.response_time_seconds).0,
        throughput: objective
            .throughput_per_second
            .map(|throughput| (throughput * 60.0).round() as i64),
    }
}

fn observed(managed: &Managed) -> Observed {
    let compliance = managed.advisor().compliance();
    let strictest = strictest(&compliance);
    Observed {
        throughput_per_minute: managed.load_per_second().map(|load| rounded(load * 60.0)),
        latency: strictest
            .and_then(|kept| kept.recent_latency_seconds)
            .map(|seconds| GoDuration::from_seconds(seconds).0),
        percentile: strictest.map(|kept| (kept.objective.percentile * 100.0).round() as i64),
        compliance: strictest.and_then(|kept| kept.compliance).map(percent),
    }
}

/// The objective that is nearest to its limit, or furthest beyond it.
#[must_use]
pub fn strictest(compliance: &[Compliance]) -> Option<&Compliance> {
    let used =
        |kept: &Compliance| kept.recent_latency_seconds.unwrap_or_default() / kept.objective.response_time_seconds;
    compliance.iter().max_by(|a, b| {
        used(a)
            .total_cmp(&used(b))
            .then(a.objective.percentile.total_cmp(&b.objective.percentile))
    })
}

/// A share as `99.87%`, never rounded up to a whole that it is not.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.2}%", (share * 10_000.0).floor() / 100.0)
}

/// Four significant digits: enough to read, and steady enough not to change for nothing.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// The decision that a status records.
#[must_use]
pub fn recorded(status: &RecommendationStatus) -> Decision {
    let explanation = status.explanation.clone().unwrap_or_default();
    Decision {
        at_seconds: status.decided_at.as_ref().map_or(0.0, |time| time.0.as_second() as f64),
        state: ModelState::named(&status.state).unwrap_or(ModelState::Cold),
        flags: Vec::new(),
        replicas: status.replicas.and_then(|replicas| u32::try_from(replicas).ok()),
        containers: status
            .containers
            .iter()
            .map(|container| (container.name.clone(), resources(container)))
            .collect(),
        target_utilisation: status.target_utilisation,
        explanation: Explanation {
            bound: Bound::named(&status.bound).unwrap_or(Bound::State),
            summary: status.reason.clone(),
            inputs: explanation.inputs,
            next_smaller: explanation.next_smaller,
        },
    }
}

fn resources(container: &ContainerRecommendation) -> Resources {
    let cpu = |text: &Option<String>| text.as_deref().and_then(quantity::value).map(Cores);
    let memory = |text: &Option<String>| text.as_deref().and_then(quantity::bytes).map(Bytes);
    Resources {
        cpu_request: cpu(&container.requests.cpu),
        cpu_limit: cpu(&container.limits.cpu),
        memory_request: memory(&container.requests.memory),
        memory_limit: memory(&container.limits.memory),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn shares_are_never_rounded_up() {
        assert_eq!(percent(0.999_999), "99.99%");
        assert_eq!(percent(1.0), "100.00%");
        assert_eq!(percent(0.98765), "98.76%");
    }

    #[test]
    fn numbers_keep_four_digits() {
        assert!((rounded(0.123_456) - 0.1235).abs() < 1e-12);
        assert!((rounded(123_456.0) - 123_500.0).abs() < 1e-6);
        assert_eq!(rounded(f64::NAN), 0.0);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn the_original_is_what_the_user_wrote() {
        let mut deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": 7, "selector": {}, "template": {"spec": {"containers": [
                {"name": "web", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
                {"name": "log"},
            ]}}},
        }))
        .unwrap();
        assert_eq!(noted_replicas(&deployment), None);
        let record = (names::ORIGINAL.to_owned(), json!({"replicas": 3}).to_string());
        deployment.metadata.annotations = Some([record].into());
        assert_eq!(noted_replicas(&deployment), Some(3));
        let containers = containers(&original_resources(&deployment), &deployment);
        assert_eq!(containers[0].requests.cpu.as_deref(), Some("1"));
        assert_eq!(containers[0].requests.memory.as_deref(), Some("1Gi"));
        assert_eq!(containers[1].requests, ResourceAmounts::default());
    }

    #[test]
    fn measurements_alone_are_no_new_decision() {
        let before = RecommendationStatus {
            replicas: Some(3),
            reason: "at 100 per second".to_owned(),
            ..RecommendationStatus::default()
        };
        let measured = RecommendationStatus {
            reason: "at 101 per second".to_owned(),
            checkpoint: "other".to_owned(),
            ..before.clone()
        };
        let decided = RecommendationStatus {
            replicas: Some(4),
            ..before.clone()
        };
        assert!(same_decision(&before, &measured));
        assert!(!same_decision(&before, &decided));
        let released = unselected(&before, Timestamp::UNIX_EPOCH);
        assert_eq!(released.replicas, None);
        assert!(!conditions::find(&released.conditions, "Ready").unwrap().is_true());
    }
}
