//! A Deployment's status from the state of its replica sets.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use kube::ResourceExt;

use super::plan::{Bounds, available, existing};
use crate::controllers::objects::{now, since};

/// Puts together the status; `terminating` counts pods that are on their way out.
pub fn status(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    all: &[ReplicaSet],
    failure: Option<&str>,
) -> DeploymentStatus {
    let bounds = Bounds::of(deployment);
    let earlier = deployment.status.clone().unwrap_or_default();
    let sum = |of: fn(&ReplicaSet) -> i32| all.iter().map(of).sum::<i32>();
    let (total, ready, able) = (sum(existing), sum(ready), sum(available));
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(total),
        updated_replicas: new.map(existing).and_then(some),
        ready_replicas: some(ready),
        available_replicas: some(able),
        unavailable_replicas: some((bounds.replicas - able).max(total - able).max(0)),
        terminating_replicas: Some(sum(terminating)),
        collision_count: earlier.collision_count,
        conditions: earlier.conditions.clone(),
    };
    let conditions = status.conditions.get_or_insert_default();
    set(conditions, availability(bounds, able), true);
    let progress = progress(deployment, &earlier, new, bounds, [total, ready, able]);
    if let Some((condition, advanced)) = progress {
        set(conditions, condition, advanced);
    }
    conditions.retain(|condition| condition.type_.as_deref() != Some("ReplicaFailure"));
    if let Some(message) = failure {
        conditions.push(condition("ReplicaFailure", "True", "FailedCreate", message.to_owned()));
    }
    status
}

fn some(number: i32) -> Option<i32> {
    (number != 0).then_some(number)
}

fn ready(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0)
}

fn terminating(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.terminating_replicas)
        .unwrap_or(0)
}

fn condition(type_: &str, status: &str, reason: &str, message: String) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(type_.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(now()),
        last_update_time: Some(now()),
    }
}

fn availability(bounds: Bounds, able: i32) -> DeploymentCondition {
    if able >= bounds.least_available() {
        condition(
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.".into(),
        )
    } else {
        let message = "Deployment does not have minimum availability.".into();
        condition("Available", "False", "MinimumReplicasUnavailable", message)
    }
}

/// Whether the rollout has reached its end.
pub fn is_complete(bounds: Bounds, new: Option<&ReplicaSet>, total: i32, able: i32) -> bool {
    let updated = new.map_or(0, existing);
    updated == bounds.replicas && total == bounds.replicas && able == bounds.replicas
}

fn progress(
    deployment: &Deployment,
    earlier: &DeploymentStatus,
    new: Option<&ReplicaSet>,
    bounds: Bounds,
    [total, ready, able]: [i32; 3],
) -> Option<(DeploymentCondition, bool)> {
    let before = earlier.conditions.as_deref().unwrap_or_default();
    let before = before
        .iter()
        .find(|condition| condition.type_.as_deref() == Some("Progressing"));
    let set = new
        .map(|set| format!("ReplicaSet \"{}\"", set.name_any()))
        .unwrap_or_else(|| "Deployment".into());
    if is_complete(bounds, new, total, able) {
        let message = format!("{set} has successfully progressed.");
        return Some((
            condition("Progressing", "True", "NewReplicaSetAvailable", message),
            false,
        ));
    }
    let updated = new.map_or(0, existing);
    let old = total - updated;
    let old_before = earlier.replicas.unwrap_or(0) - earlier.updated_replicas.unwrap_or(0);
    let advanced = updated > earlier.updated_replicas.unwrap_or(0)
        || ready > earlier.ready_replicas.unwrap_or(0)
        || able > earlier.available_replicas.unwrap_or(0)
        || old < old_before
        || earlier.observed_generation != deployment.metadata.generation;
    let moving = || {
        condition(
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            format!("{set} is progressing."),
        )
    };
    let Some(before) = before else {
        return Some((moving(), true));
    };
    if advanced || before.reason.as_deref() == Some("NewReplicaSetAvailable") && updated < bounds.replicas {
        return Some((moving(), true));
    }
    let late = before
        .last_update_time
        .as_ref()
        .is_some_and(|time| since(time) > deadline(deployment));
    if late && before.reason.as_deref() != Some("NewReplicaSetAvailable") {
        let message = format!("{set} has timed out progressing.");
        return Some((
            condition("Progressing", "False", "ProgressDeadlineExceeded", message),
            false,
        ));
    }
    None
}

/// How long a rollout may stand still.
pub fn deadline(deployment: &Deployment) -> Duration {
    let seconds = deployment.spec.progress_deadline_seconds.unwrap_or(600);
    Duration::from_secs(seconds.max(1) as u64)
}

/// Replaces the condition of the same type. Times stay where nothing changed, except that an advance renews the
/// update time.
fn set(conditions: &mut Vec<DeploymentCondition>, mut next: DeploymentCondition, advanced: bool) {
    let Some(present) = conditions.iter_mut().find(|present| present.type_ == next.type_) else {
        conditions.push(next);
        return;
    };
    let same = present.status == next.status && present.reason == next.reason && present.message == next.message;
    if same && (!advanced || next.type_.as_deref() == Some("Available")) {
        return;
    }
    if present.status == next.status {
        next.last_transition_time = present.last_transition_time.take();
    }
    *present = next;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn deployment(replicas: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "generation": 3},
            "spec": {"replicas": replicas, "selector": {}, "template": {}, "progressDeadlineSeconds": 5},
        }))
        .unwrap()
    }

    fn set(name: &str, replicas: i32, able: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": replicas, "readyReplicas": able, "availableReplicas": able},
        }))
        .unwrap()
    }

    fn reason<'a>(status: &'a DeploymentStatus, type_: &str) -> &'a str {
        let mut conditions = status.conditions.as_ref().unwrap().iter();
        conditions
            .find(|condition| condition.type_.as_deref() == Some(type_))
            .unwrap()
            .reason
            .as_deref()
            .unwrap()
    }

    #[test]
    fn a_rollout_is_complete_when_only_new_pods_are_available() {
        let (new, old) = (set("new", 2, 2), set("old", 0, 0));
        let status = status(&deployment(2), Some(&new), &[new.clone(), old], None);
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.updated_replicas, Some(2));
        assert_eq!(reason(&status, "Progressing"), "NewReplicaSetAvailable");
        assert_eq!(reason(&status, "Available"), "MinimumReplicasAvailable");
    }

    #[test]
    fn a_rollout_that_stands_still_exceeds_its_deadline() {
        let new = set("new", 2, 0);
        let mut stuck = deployment(2);
        stuck.status = Some(status(&stuck, Some(&new), std::slice::from_ref(&new), None));
        assert_eq!(
            reason(stuck.status.as_ref().unwrap(), "Progressing"),
            "ReplicaSetUpdated"
        );
        let long_ago = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time("2020-01-01T00:00:00Z".parse().unwrap());
        for condition in stuck.status.as_mut().unwrap().conditions.as_mut().unwrap() {
            condition.last_update_time = Some(long_ago.clone());
        }
        let late = status(&stuck, Some(&new), std::slice::from_ref(&new), None);
        assert_eq!(reason(&late, "Progressing"), "ProgressDeadlineExceeded");
        assert_eq!(reason(&late, "Available"), "MinimumReplicasUnavailable");
    }

    #[test]
    fn an_unchanged_state_changes_no_times() {
        let new = set("new", 2, 2);
        let mut settled = deployment(2);
        settled.status = Some(status(&settled, Some(&new), std::slice::from_ref(&new), None));
        let again = status(&settled, Some(&new), std::slice::from_ref(&new), None);
        assert_eq!(settled.status.unwrap(), again);
    }
}
