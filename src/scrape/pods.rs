//! What the status of a Pod says about capacity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use valence_webhook::names;

use crate::api::quantity;
use crate::core::observation::{PodPhase, Resources};
use crate::core::units::{Bytes, Cores};

/// How long a pod may look for a node before it counts as one that cannot start, in seconds: a cluster autoscaler
/// brings a node within that time or not at all.
const SCHEDULING_PATIENCE_SECONDS: f64 = 120.0;

/// Reasons of a waiting container that another try alone will not cure.
const HOPELESS: [&str; 7] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Whether a Pod has ended for good; its controller no longer counts it.
#[must_use]
pub fn has_ended(pod: &Pod) -> bool {
    matches!(
        status(pod).and_then(|status| status.phase.as_deref()),
        Some("Failed" | "Succeeded")
    )
}

/// Where a Pod stands in its life, however late it is: [`is_out_of_patience`] tells of one that finds no node.
#[must_use]
pub fn lasting_phase(pod: &Pod) -> PodPhase {
    if pod.metadata.deletion_timestamp.is_some() {
        PodPhase::Terminating
    } else if ready_at_seconds(pod).is_some() {
        PodPhase::Ready
    } else if is_hopeless(pod) {
        PodPhase::Failing
    } else {
        PodPhase::Starting
    }
}

fn is_hopeless(pod: &Pod) -> bool {
    statuses(pod).any(|container| {
        let waiting = container.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting
            .and_then(|waiting| waiting.reason.as_deref())
            .is_some_and(|reason| HOPELESS.contains(&reason))
    })
}

/// Whether a Pod without a node, made at `created_at_seconds`, has looked for one for too long.
#[must_use]
pub fn is_out_of_patience(created_at_seconds: f64, now_seconds: f64) -> bool {
    now_seconds - created_at_seconds > SCHEDULING_PATIENCE_SECONDS
}

/// Whether a Pod has been given a node.
#[must_use]
pub fn has_node(pod: &Pod) -> bool {
    let refused = condition(pod, "PodScheduled").is_some_and(|scheduled| scheduled.status == "False");
    !refused || pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// When a Pod was made, in seconds since the Unix epoch.
#[must_use]
pub fn created_at_seconds(pod: &Pod) -> f64 {
    pod.metadata
        .creation_timestamp
        .as_ref()
        .map_or(0.0, |time| seconds(time.0))
}

/// When a Pod became ready, in seconds since the Unix epoch; `None` while it is not.
#[must_use]
pub fn ready_at_seconds(pod: &Pod) -> Option<f64> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    Some(
        ready
            .last_transition_time
            .as_ref()
            .map_or_else(|| created_at_seconds(pod), |time| seconds(time.0)),
    )
}

/// A condition of a Pod.
#[must_use]
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    status(pod)?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == type_)
}

fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1000.0
}

fn status(pod: &Pod) -> Option<&PodStatus> {
    pod.status.as_ref()
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = status(pod);
    let main = status.and_then(|status| status.container_statuses.as_ref());
    let initial = status.and_then(|status| status.init_container_statuses.as_ref());
    main.into_iter().flatten().chain(initial.into_iter().flatten())
}

/// The containers that run as long as the Pod does: the ordinary ones and the native sidecars.
pub fn running_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let ordinary = spec.into_iter().flat_map(|spec| &spec.containers);
    let initial = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    ordinary.chain(initial.filter(|container| container.restart_policy.as_deref() == Some("Always")))
}

/// The port at which the sidecar of a Pod serves metrics: `None` without a sidecar.
#[must_use]
pub fn metrics_port(pod: &Pod) -> Option<u16> {
    let sidecar = running_containers(pod).any(|container| container.name == names::SIDECAR_CONTAINER);
    sidecar.then(|| u16::try_from(names::METRICS_PORT).ok()).flatten()
}

/// The address of a Pod.
#[must_use]
pub fn address(pod: &Pod) -> Option<std::net::IpAddr> {
    status(pod)?.pod_ip.as_ref()?.parse().ok()
}

/// Requests and limits in force, by container: what the kubelet reports, else what the Pod asks.
#[must_use]
pub fn resources(pod: &Pod) -> BTreeMap<String, Resources> {
    running_containers(pod)
        .map(|container| {
            let reported = statuses(pod)
                .find(|status| status.name == container.name)
                .and_then(|status| status.resources.as_ref());
            let in_force = reported.filter(|resources| resources.requests.is_some() || resources.limits.is_some());
            let in_force = in_force.or(container.resources.as_ref());
            (container.name.clone(), of_requirements(in_force))
        })
        .collect()
}

/// Requests and limits that containers ask for.
#[must_use]
pub fn asked_for<'c>(containers: impl IntoIterator<Item = &'c Container>) -> BTreeMap<String, Resources> {
    let of = |container: &Container| (container.name.clone(), of_requirements(container.resources.as_ref()));
    containers.into_iter().map(of).collect()
}

fn of_requirements(requirements: Option<&ResourceRequirements>) -> Resources {
    let requests = requirements.and_then(|requirements| requirements.requests.as_ref());
    let limits = requirements.and_then(|requirements| requirements.limits.as_ref());
    Resources {
        cpu_request: cpu(requests),
        cpu_limit: cpu(limits),
        memory_request: memory(requests),
        memory_limit: memory(limits),
    }
}

fn cpu(amounts: Option<&BTreeMap<String, Quantity>>) -> Option<Cores> {
    quantity::value(&amounts?.get("cpu")?.0).map(Cores)
}

fn memory(amounts: Option<&BTreeMap<String, Quantity>>) -> Option<Bytes> {
    quantity::bytes(&amounts?.get("memory")?.0).map(Bytes)
}

/// How often each container was restarted, and whether the last end was for lack of memory.
pub fn restarts(pod: &Pod) -> impl Iterator<Item = (&str, i32, bool)> {
    statuses(pod).map(|status| {
        let ended = [status.state.as_ref(), status.last_state.as_ref()]
            .into_iter()
            .flatten();
        let mut terminated = ended.filter_map(|state| state.terminated.as_ref());
        let for_memory = terminated.any(|terminated| terminated.reason.as_deref() == Some("OOMKilled"));
        (status.name.as_str(), status.restart_count, for_memory)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::cache::pods::PackedPod;
    use crate::scrape::PodSummary;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "containers": [{"name": "web", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}}],
                "initContainers": [
                    {"name": "prepare"},
                    {"name": "envoy", "restartPolicy": "Always", "ports": [{"containerPort": 8181}]},
                ],
            },
            "status": status,
        }))
        .unwrap()
    }

    const CREATED: f64 = 1_767_225_600.0;

    #[test]
    fn phases_follow_the_status() {
        let ready = pod(
            json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"}]}),
        );
        assert_eq!(lasting_phase(&ready), PodPhase::Ready);
        assert_eq!(ready_at_seconds(&ready), Some(CREATED + 30.0));
        let starting = pod(json!({"phase": "Pending"}));
        assert_eq!(lasting_phase(&starting), PodPhase::Starting);
        let crashing = pod(
            json!({"containerStatuses": [{"name": "web", "ready": false, "restartCount": 3, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
        );
        assert_eq!(lasting_phase(&crashing), PodPhase::Failing);
        let homeless =
            pod(json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}));
        let summary = PodSummary::of(Arc::new(PackedPod::of(homeless))).unwrap();
        assert_eq!(summary.phase(CREATED + 60.0), PodPhase::Starting);
        assert_eq!(summary.phase(CREATED + 121.0), PodPhase::Failing);
        let mut leaving = ready;
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        assert_eq!(lasting_phase(&leaving), PodPhase::Terminating);
    }

    #[test]
    fn native_sidecars_count_and_init_containers_do_not() {
        let pod = pod(json!({"podIP": "127.1.2.3"}));
        let names: Vec<_> = running_containers(&pod)
            .map(|container| container.name.as_str())
            .collect();
        assert_eq!(names, ["web", "envoy"]);
        assert_eq!(metrics_port(&pod), Some(8181));
        assert_eq!(address(&pod).unwrap().to_string(), "127.1.2.3");
    }

    #[test]
    fn what_the_kubelet_reports_is_in_force() {
        let asked = resources(&pod(json!({})));
        assert_eq!(asked["web"].cpu_request, Some(Cores(0.1)));
        assert_eq!(asked["web"].cpu_limit, Some(Cores(1.0)));
        assert_eq!(asked["web"].memory_request, Some(Bytes(64 << 20)));
        let reported = resources(&pod(
            json!({"containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "image": "", "imageID": "",
            "resources": {"requests": {"cpu": "250m"}}}]}),
        ));
        assert_eq!(reported["web"].cpu_request, Some(Cores(0.25)));
        assert_eq!(reported["web"].cpu_limit, None);
    }

    #[test]
    fn memory_kills_are_seen() {
        let pod = pod(
            json!({"containerStatuses": [{"name": "web", "ready": true, "restartCount": 2, "image": "", "imageID": "",
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
        );
        assert_eq!(restarts(&pod).collect::<Vec<_>>(), [("web", 2, true)]);
    }
}
