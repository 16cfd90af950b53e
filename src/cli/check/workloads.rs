//! Whether objectives are in force, and the Deployments that they select are measured.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};

use super::{Context, Finding, Outcome};
use crate::api::conditions::find;
use crate::api::{Recommendation, ServiceLevelObjective};
use valence_webhook::names;

const OBJECTIVES: &str = "Objectives";
const WORKLOADS: &str = "Workloads";
/// Age in seconds from which a recommendation counts as stale.
const STALE_SECONDS: i64 = 180;

/// The findings.
pub async fn findings(context: &Context) -> Vec<Finding> {
    let mut all = objectives(context).await;
    all.extend(workloads(context).await);
    all
}

async fn objectives(context: &Context) -> Vec<Finding> {
    let api: Api<ServiceLevelObjective> = Api::all(context.client.clone());
    match api.list(&ListParams::default()).await {
        Ok(found) if found.items.is_empty() => vec![
            Finding::new(
                OBJECTIVES,
                Outcome::Warned,
                "ServiceLevelObjectives",
                "there are none yet",
            )
            .hint("Apply one and label a Deployment with what it selects: https://github.com/valencenet/valence/blob/main/docs/getting-started.md."),
        ],
        Ok(found) => found.items.iter().map(objective).collect(),
        Err(error) => vec![Finding::new(
            OBJECTIVES,
            Outcome::Failed,
            "ServiceLevelObjectives",
            error.to_string(),
        )],
    }
}

fn objective(slo: &ServiceLevelObjective) -> Finding {
    let subject = place(slo);
    let status = slo.status.clone().unwrap_or_default();
    let finding = |outcome, message: String| Finding::new(OBJECTIVES, outcome, subject.clone(), message);
    match find(&status.conditions, "Ready") {
        None => finding(Outcome::Failed, "nobody has looked at it yet".to_owned()),
        Some(ready) if !ready.is_true() => finding(Outcome::Failed, ready.message.clone()),
        Some(_) if status.matched == 0 => finding(Outcome::Warned, "selects no Deployment".to_owned())
            .hint("It selects Deployments of its own namespace by the Deployment's labels."),
        Some(_) => {
            let share = status
                .compliance
                .map_or_else(String::new, |share| format!(", {share} of requests in time"));
            finding(
                Outcome::Passed,
                format!("selects {}{share}", count(status.matched, "Deployment")),
            )
        }
    }
}

fn count(number: i32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

async fn workloads(context: &Context) -> Vec<Finding> {
    let api: Api<Recommendation> = Api::all(context.client.clone());
    let Ok(found) = api.list(&ListParams::default()).await else {
        return Vec::new();
    };
    let mut pods: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
    let mut all = Vec::new();
    for recommendation in &found.items {
        all.push(workload(recommendation, Timestamp::now()));
        let namespace = recommendation.namespace().unwrap_or_default();
        if !pods.contains_key(&namespace) {
            let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
            let found = api.list(&ListParams::default()).await;
            pods.insert(namespace.clone(), found.map(|found| found.items).unwrap_or_default());
        }
        all.extend(bare_pods(recommendation, &namespace, &pods[&namespace]));
    }
    all
}

fn place<K: Resource>(object: &K) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

fn workload(recommendation: &Recommendation, now: Timestamp) -> Finding {
    let status = recommendation.status.clone().unwrap_or_default();
    let finding = |outcome, message: String| Finding::new(WORKLOADS, outcome, place(recommendation), message);
    let age = status
        .decided_at
        .as_ref()
        .map(|time| now.as_second() - time.0.as_second());
    if let Some(age) = age.filter(|age| *age > STALE_SECONDS) {
        return finding(Outcome::Failed, format!("the recommendation is {age} s old"))
            .hint("https://github.com/valencenet/valence/blob/main/docs/runbooks/stale-recommendations.md");
    }
    match status.state.as_str() {
        "MetricsMissing" | "Unattainable" => finding(Outcome::Warned, format!("{}: {}", status.state, status.reason))
            .hint(format!(
                "valence explain deploy/{} -n {}",
                recommendation.name_any(),
                recommendation.namespace().unwrap_or_default()
            )),
        _ => finding(
            Outcome::Passed,
            format!(
                "{}{}",
                status.state,
                if status.live { ", live" } else { ", recommended only" }
            ),
        ),
    }
}

/// Running pods of the Deployment that nothing can be measured of, since they have no sidecar.
fn bare_pods(recommendation: &Recommendation, namespace: &str, pods: &[Pod]) -> Option<Finding> {
    let deployment = recommendation.spec.target_ref.name.as_str();
    let bare = pods
        .iter()
        .filter(|pod| belongs(pod, deployment) && !has_sidecar(pod))
        .count();
    (bare > 0).then(|| {
        Finding::new(
            WORKLOADS,
            Outcome::Warned,
            place(recommendation),
            format!("{bare} pods run without the sidecar"),
        )
        .hint(format!(
            "Label the namespace ({}=enabled) and restart: kubectl rollout restart deploy/{deployment} -n {namespace}",
            names::INJECTION
        ))
    })
}

/// Whether a pod was made from a ReplicaSet of the Deployment, whose name it carries.
fn belongs(pod: &Pod, deployment: &str) -> bool {
    let owner = pod.owner_references().iter().find(|owner| owner.kind == "ReplicaSet");
    let stem = owner
        .and_then(|owner| owner.name.rsplit_once('-'))
        .map(|(stem, _)| stem);
    stem == Some(deployment) && pod.metadata.deletion_timestamp.is_none()
}

pub(super) fn has_sidecar(pod: &Pod) -> bool {
    let spec = pod.spec.clone().unwrap_or_default();
    let initial = spec.init_containers.unwrap_or_default();
    spec.containers
        .iter()
        .chain(&initial)
        .any(|container| container.name == names::SIDECAR_CONTAINER)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn recommendation(status: Value) -> Recommendation {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "todo"});
        serde_json::from_value(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "Recommendation",
            "metadata": {"name": "todo", "namespace": "shop"}, "spec": {"targetRef": target}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_stale_recommendation_fails() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let at = |time: &str, state: &str| {
            workload(
                &recommendation(json!({"decidedAt": time, "state": state, "live": true})),
                now,
            )
        };
        assert_eq!(at("2026-01-01T00:09:50Z", "Confident").message, "Confident, live");
        assert_eq!(at("2026-01-01T00:01:00Z", "Confident").outcome, Outcome::Failed);
        assert_eq!(at("2026-01-01T00:09:50Z", "MetricsMissing").outcome, Outcome::Warned);
    }

    #[test]
    fn a_pod_belongs_by_its_replica_set() {
        let pod = |owner: &str, container: &str| {
            serde_json::from_value::<Pod>(json!({
                "metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "u"}]},
                "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": container}]},
            }))
            .unwrap()
        };
        assert!(belongs(&pod("todo-5f6c", "x"), "todo") && !belongs(&pod("todo-api-5f6c", "x"), "todo"));
        assert!(has_sidecar(&pod("a-b", "envoy")) && !has_sidecar(&pod("a-b", "init")));
    }

    #[test]
    fn an_objective_that_is_not_in_force_fails() {
        let slo = |status: Value| {
            serde_json::from_value::<ServiceLevelObjective>(json!({
                "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective", "metadata": {"name": "s", "namespace": "shop"},
                "spec": {"selector": {"slo": "s"}, "objectives": []}, "status": status,
            }))
            .unwrap()
        };
        let condition = |holds: &str| json!([{"type": "Ready", "status": holds, "reason": "R", "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        assert_eq!(
            objective(&slo(json!({"conditions": condition("False")}))).message,
            "why"
        );
        assert_eq!(
            objective(&slo(json!({"matched": 0, "conditions": condition("True")}))).outcome,
            Outcome::Warned
        );
        let kept = objective(&slo(
            json!({"matched": 2, "compliance": "99.9%", "conditions": condition("True")}),
        ));
        assert_eq!(kept.message, "selects 2 Deployments, 99.9% of requests in time");
    }
}
