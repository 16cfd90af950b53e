//! The disruption controller: how many pods of each budget may be evicted now.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::informer::Informers;
use super::objects::{controller_of, is_active, is_ready, now, selects, share_of, unless_gone};
use super::queue::{Key, key};
use super::{each, each_many, run};
use crate::tasks::Tasks;

/// Starts the controller.
pub fn start(informers: &Arc<Informers>, tasks: &Tasks, client: Client) {
    let known = Arc::clone(informers);
    let queue = run("disruption", tasks, move |key| {
        reconcile(client.clone(), Arc::clone(&known), key)
    });
    each(tasks, informers.budgets.subscribe(), &queue, |budget| Some(key(budget)));
    let known = Arc::clone(informers);
    each_many(tasks, informers.pods.subscribe(), &queue, move |pod| {
        let guards = |budget: &PodDisruptionBudget| budget.namespace() == pod.namespace() && guards(budget, pod);
        known
            .budgets
            .store()
            .state_filter(guards)
            .iter()
            .map(|budget| key(budget.as_ref()))
            .collect()
    });
}

fn guards(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| selects(selector, pod.labels()))
}

async fn reconcile(
    client: Client,
    informers: Arc<Informers>,
    (namespace, name): Key,
) -> anyhow::Result<Option<Duration>> {
    let api: Api<PodDisruptionBudget> = Api::namespaced(client, &namespace);
    let Some(budget) = api.get_opt(&name).await? else {
        return Ok(None);
    };
    let here = |pod: &Pod| pod.namespace().as_deref() == Some(namespace.as_str()) && guards(&budget, pod);
    let pods = informers.pods.store().state_filter(here);
    let expected = expected(&informers, &pods);
    let status = status(&budget, &pods, expected);
    if budget.status.as_ref() != Some(&status) {
        let patch = Patch::Merge(json!({"status": status}));
        unless_gone(api.patch_status(&name, &PatchParams::default(), &patch).await)?;
    }
    Ok(None)
}

/// How many pods the controllers of these pods want in all; a pod of its own counts as itself.
fn expected(informers: &Informers, pods: &[Arc<Pod>]) -> i32 {
    let mut counted = Vec::new();
    let mut total = 0;
    for pod in pods.iter().filter(|pod| is_active(pod)) {
        let Some(owner) = controller_of(pod.as_ref()) else {
            total += 1;
            continue;
        };
        let set = informers
            .replica_sets
            .store()
            .find(|set| set.uid().as_ref() == Some(&owner.uid));
        let Some(set) = set else {
            total += 1;
            continue;
        };
        let top = controller_of(set.as_ref());
        let deployment = top.and_then(|top| {
            informers
                .deployments
                .store()
                .find(|deployment| deployment.uid().as_ref() == Some(&top.uid))
        });
        let (uid, wanted) = match &deployment {
            Some(deployment) => (deployment.uid(), deployment.spec.replicas),
            None => (set.uid(), set.spec.replicas),
        };
        if !counted.contains(&uid) {
            counted.push(uid);
            total += wanted.unwrap_or(1);
        }
    }
    total
}

fn status(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], expected: i32) -> PodDisruptionBudgetStatus {
    let spec = budget.spec.clone().unwrap_or_default();
    let healthy = pods.iter().filter(|pod| is_active(pod) && is_ready(pod)).count() as i32;
    let desired = match (&spec.min_available, &spec.max_unavailable) {
        (Some(least), _) => share_of(least, expected, true),
        (None, Some(most)) => expected - share_of(most, expected, true),
        (None, None) => expected,
    }
    .max(0);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: budget.metadata.generation,
        disrupted_pods: budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()),
        conditions: Some(vec![allowance(budget, allowed)]),
    }
}

fn allowance(budget: &PodDisruptionBudget, allowed: i32) -> Condition {
    let (status, reason) = if allowed > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let before = budget
        .status
        .as_ref()
        .and_then(|earlier| earlier.conditions.as_ref()?.first().cloned());
    let since = before
        .filter(|before| before.status == status)
        .map(|before| before.last_transition_time);
    Condition {
        type_: "DisruptionAllowed".into(),
        status: status.into(),
        reason: reason.into(),
        message: String::new(),
        last_transition_time: since.unwrap_or_else(now),
        observed_generation: budget.metadata.generation,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn budget(spec: serde_json::Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
    }

    fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
        let pod = |status: &str| {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"name": "p"},
                    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]},
                }))
                .unwrap(),
            )
        };
        (0..ready)
            .map(|_| pod("True"))
            .chain((0..unready).map(|_| pod("False")))
            .collect()
    }

    #[test]
    fn as_many_may_go_as_are_above_the_least() {
        let status = status(&budget(json!({"minAvailable": 2})), &pods(3, 1), 4);
        assert_eq!((status.disruptions_allowed, status.desired_healthy), (Some(1), Some(2)));
    }

    #[test]
    fn percentages_round_towards_safety_as_kubernetes_does() {
        assert_eq!(
            status(&budget(json!({"minAvailable": "50%"})), &pods(3, 0), 3).desired_healthy,
            Some(2)
        );
        assert_eq!(
            status(&budget(json!({"maxUnavailable": "30%"})), &pods(3, 0), 3).desired_healthy,
            Some(2)
        );
    }

    #[test]
    fn nothing_may_go_while_pods_are_missing() {
        let status = status(&budget(json!({"maxUnavailable": 1})), &pods(2, 0), 4);
        assert_eq!(status.disruptions_allowed, Some(0));
        assert_eq!(status.conditions.unwrap()[0].reason, "InsufficientPods");
    }
}
