//! Resizes in place: what is asked for against what is in force.

use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, ResourceRequirements};

use super::node::Resizes;
use super::quantity::{Resources, parse, pod_requests};
use crate::controllers::objects::now;

/// What is to be done about the resources that a pod's specification asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// They are in force already.
    Nothing,
    /// These containers change; those marked do so by a restart.
    Change(Vec<(String, bool)>),
    /// They cannot be given now or ever; the condition says why.
    Refuse(Box<PodCondition>),
}

/// Judges what a pod asks for. `in_force` tells the resources of a container now, `others` what all other pods of the
/// node have been given, `memory_held` the memory that a container holds.
pub fn judge(
    pod: &Pod,
    in_force: impl Fn(&str) -> Option<ResourceRequirements>,
    capacity: Resources,
    others: Resources,
    mode: Resizes,
    memory_held: impl Fn(&str) -> u64,
) -> Verdict {
    let changed: Vec<&Container> = containers(pod)
        .filter(|container| !same(container.resources.as_ref(), in_force(&container.name).as_ref()))
        .collect();
    if changed.is_empty() {
        return Verdict::Nothing;
    }
    let wanted = pod_requests(pod);
    if mode == Resizes::Infeasible {
        return refuse(
            "PodResizePending",
            "Infeasible",
            "this node does not resize pods in place".into(),
        );
    }
    for (name, wanted, has, taken) in [
        ("cpu", wanted.cpu, capacity.cpu, others.cpu),
        ("memory", wanted.memory, capacity.memory, others.memory),
    ] {
        let (wanted, has, taken) = (wanted.unwrap_or(0.0), has.unwrap_or(0.0), taken.unwrap_or(0.0));
        if wanted > has {
            let message = format!("Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {has}");
            return refuse("PodResizePending", "Infeasible", message);
        }
        if wanted + taken > has || mode == Resizes::Deferred {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {wanted}, used: {taken}, capacity: {has}"
            );
            return refuse("PodResizePending", "Deferred", message);
        }
    }
    for container in &changed {
        let limit = Resources::limits(container.resources.as_ref()).memory;
        let held = memory_held(&container.name);
        if limit.is_some_and(|limit| (held as f64) > limit)
            && !needs_restart(container, in_force(&container.name).as_ref())
        {
            let message = format!(
                "memory limit of container {} is below the {held} bytes that it holds",
                container.name
            );
            return refuse("PodResizeInProgress", "Error", message);
        }
    }
    let change = |container: &Container| {
        (
            container.name.clone(),
            needs_restart(container, in_force(&container.name).as_ref()),
        )
    };
    Verdict::Change(changed.into_iter().map(change).collect())
}

fn refuse(type_: &str, reason: &str, message: String) -> Verdict {
    Verdict::Refuse(Box::new(PodCondition {
        type_: type_.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(now()),
        ..PodCondition::default()
    }))
}

/// The containers whose resources can change: sidecars and the pod's containers.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let sidecars = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    let main = spec.map(|spec| spec.containers.iter()).into_iter().flatten();
    sidecars
        .filter(|container| super::quantity::is_sidecar(container))
        .chain(main)
}

fn amount(resources: Option<&ResourceRequirements>, name: &str, limit: bool) -> Option<f64> {
    let resources = resources?;
    let list = if limit { &resources.limits } else { &resources.requests };
    list.as_ref()?.get(name).and_then(parse)
}

fn same(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        [true, false]
            .iter()
            .all(|limit| amount(a, name, *limit) == amount(b, name, *limit))
    })
}

/// Whether a changed resource asks for a restart by its policy.
fn needs_restart(container: &Container, in_force: Option<&ResourceRequirements>) -> bool {
    container.resize_policy.iter().flatten().any(|policy| {
        let changed = [true, false].iter().any(|limit| {
            amount(container.resources.as_ref(), &policy.resource_name, *limit)
                != amount(in_force, &policy.resource_name, *limit)
        });
        policy.restart_policy == "RestartContainer" && changed
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn pod(cpu: &str, memory: &str, policy: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [{
            "name": "app",
            "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}},
            "resizePolicy": policy,
        }]}}))
        .unwrap()
    }

    fn verdict(pod: &Pod, taken: f64, mode: Resizes, held: u64) -> Verdict {
        let before = self::pod("100m", "64Mi", json!([])).spec.unwrap().containers[0]
            .resources
            .clone();
        let capacity = Resources {
            cpu: Some(4.0),
            memory: Some(1e9),
        };
        let others = Resources {
            cpu: Some(taken),
            memory: Some(0.0),
        };
        judge(pod, |_| before.clone(), capacity, others, mode, |_| held)
    }

    fn reason(verdict: Verdict) -> (String, String) {
        match verdict {
            Verdict::Refuse(condition) => (condition.type_, condition.reason.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_fits_is_changed_in_place() {
        let in_place = Verdict::Change(vec![("app".into(), false)]);
        assert_eq!(
            verdict(&pod("200m", "64Mi", json!([])), 1.0, Resizes::Done, 0),
            in_place
        );
        assert_eq!(
            verdict(&pod("0.1", "64Mi", json!([])), 1.0, Resizes::Done, 0),
            Verdict::Nothing
        );
    }

    #[test]
    fn what_does_not_fit_waits_or_is_infeasible() {
        let pending = |reason: &str| ("PodResizePending".to_owned(), reason.to_owned());
        assert_eq!(
            reason(verdict(&pod("5", "64Mi", json!([])), 0.0, Resizes::Done, 0)),
            pending("Infeasible")
        );
        assert_eq!(
            reason(verdict(&pod("2", "64Mi", json!([])), 3.0, Resizes::Done, 0)),
            pending("Deferred")
        );
        assert_eq!(
            reason(verdict(&pod("200m", "64Mi", json!([])), 0.0, Resizes::Infeasible, 0)),
            pending("Infeasible")
        );
    }

    #[test]
    fn memory_in_use_is_not_taken_away() {
        let shrunk = pod("100m", "32Mi", json!([]));
        let (type_, reason) = reason(verdict(&shrunk, 0.0, Resizes::Done, 40 << 20));
        assert_eq!((type_.as_str(), reason.as_str()), ("PodResizeInProgress", "Error"));
    }

    #[test]
    fn a_policy_can_ask_for_a_restart() {
        let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let verdict_of = |cpu: &str, memory: &str| verdict(&pod(cpu, memory, policy.clone()), 0.0, Resizes::Done, 0);
        assert_eq!(verdict_of("100m", "128Mi"), Verdict::Change(vec![("app".into(), true)]));
        assert_eq!(verdict_of("200m", "64Mi"), Verdict::Change(vec![("app".into(), false)]));
    }
}
