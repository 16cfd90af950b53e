//! Pods as they are kept: packed, since a cluster has many and few of them are managed.
//!
//! Of a Pod only what somebody asks for is kept, as text: some two kilobytes, where the object in memory has eighteen. It is
//! unpacked for those who ask, which are the recommender about pods of managed Deployments and admission about the pods
//! behind a Service. What they choose by, its controller and its labels, is read without.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodCondition,
    PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{keep, trim};

/// A Pod, packed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedPod {
    replica_set: Option<Box<str>>,
    labels: Labels,
    /// The rest of it.
    text: Box<[u8]>,
}

impl PackedPod {
    /// Packs what somebody asks for; of a pod that is too large only that it is there.
    #[must_use]
    pub fn of(mut pod: Pod) -> Self {
        let replica_set = keep::controller(&pod, "ReplicaSet").map(String::into_boxed_str);
        let labels = Labels::of(pod.metadata.labels.take());
        let identity = trim::identity(&pod.metadata);
        let text = serde_json::to_vec(&asked_for(pod)).unwrap_or_default();
        if labels.0.len() + text.len() <= trim::MOST_BYTES {
            return Self {
                replica_set,
                labels,
                text: text.into_boxed_slice(),
            };
        }
        let rest = Pod {
            metadata: identity,
            ..Pod::default()
        };
        Self {
            replica_set,
            labels: Labels::default(),
            text: serde_json::to_vec(&rest).unwrap_or_default().into_boxed_slice(),
        }
    }

    /// Name of the ReplicaSet that controls it.
    #[must_use]
    pub fn replica_set(&self) -> Option<&str> {
        self.replica_set.as_deref()
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(held, _)| *held == key)
            .map(|(_, value)| value)
    }

    /// Whether it carries all labels of a selector.
    #[must_use]
    pub fn carries(&self, selector: &[(&str, &str)]) -> bool {
        selector.iter().all(|(key, value)| self.label(key) == Some(value))
    }

    /// The Pod, as far as it was kept.
    #[must_use]
    pub fn unpack(&self) -> Option<Pod> {
        // As text, which is how a watch reads pods: reading bytes would take the same code a second time.
        let mut pod: Pod = serde_json::from_str(std::str::from_utf8(&self.text).ok()?).ok()?;
        pod.metadata.labels = self.labels.unpack();
        // What grew while it was read has room for four of everything.
        if let Some(spec) = &mut pod.spec {
            spec.containers.shrink_to_fit();
            spec.init_containers.iter_mut().for_each(Vec::shrink_to_fit);
        }
        if let Some(status) = &mut pod.status {
            status.conditions.iter_mut().for_each(Vec::shrink_to_fit);
            status.container_statuses.iter_mut().for_each(Vec::shrink_to_fit);
            status.init_container_statuses.iter_mut().for_each(Vec::shrink_to_fit);
        }
        Some(pod)
    }
}

/// Labels, one text for all of them: neither a key nor a value ever holds a line's end or a `=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Labels(Box<str>);

impl Labels {
    fn of(labels: Option<BTreeMap<String, String>>) -> Self {
        let lines = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value}\n"));
        Self(lines.collect::<String>().into_boxed_str())
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once('='))
    }

    fn unpack(&self) -> Option<BTreeMap<String, String>> {
        let owned = self.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        (!self.0.is_empty()).then(|| owned.collect())
    }
}

fn asked_for(pod: Pod) -> Pod {
    let mut metadata = pod.metadata;
    trim::annotations(&mut metadata.annotations);
    let controls = |owner: &OwnerReference| owner.controller == Some(true);
    Pod {
        metadata: ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            annotations: metadata.annotations,
            owner_references: metadata
                .owner_references
                .map(|owners| owners.into_iter().filter(controls).collect()),
            ..ObjectMeta::default()
        },
        spec: pod.spec.map(spec),
        status: pod.status.map(status),
    }
}

fn spec(spec: PodSpec) -> PodSpec {
    PodSpec {
        containers: spec.containers.into_iter().map(container).collect(),
        init_containers: spec
            .init_containers
            .map(|containers| containers.into_iter().map(container).collect()),
        node_name: spec.node_name,
        resources: spec.resources,
        ..PodSpec::default()
    }
}

fn container(container: Container) -> Container {
    Container {
        name: container.name,
        ports: container.ports,
        resources: container.resources,
        restart_policy: container.restart_policy,
        ..Container::default()
    }
}

fn status(status: PodStatus) -> PodStatus {
    let asked_for = |condition: &PodCondition| {
        let type_ = condition.type_.as_str();
        matches!(
            type_,
            "Ready" | "PodScheduled" | "PodResizePending" | "PodResizeInProgress"
        )
    };
    PodStatus {
        phase: status.phase,
        pod_ip: status.pod_ip,
        conditions: status
            .conditions
            .map(|conditions| conditions.into_iter().filter(asked_for).map(condition).collect()),
        container_statuses: status.container_statuses.map(container_statuses),
        init_container_statuses: status.init_container_statuses.map(container_statuses),
        ..PodStatus::default()
    }
}

fn condition(condition: PodCondition) -> PodCondition {
    PodCondition {
        last_probe_time: None,
        ..condition
    }
}

fn container_statuses(statuses: Vec<ContainerStatus>) -> Vec<ContainerStatus> {
    let status = |status: ContainerStatus| ContainerStatus {
        name: status.name,
        ready: status.ready,
        restart_count: status.restart_count,
        state: status.state.map(state),
        last_state: status.last_state.map(state),
        resources: status.resources,
        ..ContainerStatus::default()
    };
    statuses.into_iter().map(status).collect()
}

fn state(state: ContainerState) -> ContainerState {
    ContainerState {
        running: state.running,
        waiting: state.waiting.map(|waiting| ContainerStateWaiting {
            reason: waiting.reason,
            message: None,
        }),
        terminated: state.terminated.map(|terminated| ContainerStateTerminated {
            exit_code: terminated.exit_code,
            finished_at: terminated.finished_at,
            reason: terminated.reason,
            ..ContainerStateTerminated::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::scrape::pods;

    #[test]
    fn what_is_asked_for_comes_back() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web", "tier": ""}, "resourceVersion": "7",
                "annotations": {"valence.io/injected": "{}", "other": "x"}, "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5", "uid": "r", "controller": true}]},
            "spec": {"containers": [{"name": "web", "image": "web:1", "env": [{"name": "A", "value": "b"}],
                "ports": [{"containerPort": 8080, "name": "http"}], "resources": {"requests": {"cpu": "1"}}}],
                "initContainers": [{"name": "prepare"}, {"name": "envoy", "restartPolicy": "Always"}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:30Z"},
                    {"type": "Initialized", "status": "True"}],
                "containerStatuses": [{"name": "web", "ready": true, "restartCount": 2, "image": "web:1", "imageID": "sha256:1",
                    "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "c"}}}]},
        }))
        .unwrap();
        let packed = PackedPod::of(pod.clone());
        assert_eq!(packed.replica_set(), Some("web-5"));
        let kept = packed.unpack().unwrap();
        assert_eq!(kept.metadata.labels, pod.metadata.labels);
        assert!(packed.carries(&[("app", "web")]) && packed.carries(&[("app", "web"), ("tier", "")]));
        assert!(!packed.carries(&[("app", "we")]) && !packed.carries(&[("app", "web"), ("zone", "a")]));
        assert_eq!(kept.metadata.annotations.as_ref().unwrap().len(), 1);
        assert_eq!(kept.metadata.resource_version, None);
        assert_eq!(pods::ready_at_seconds(&kept), pods::ready_at_seconds(&pod));
        assert_eq!(pods::resources(&kept), pods::resources(&pod));
        assert_eq!(pods::address(&kept), pods::address(&pod));
        assert_eq!(pods::metrics_port(&kept), Some(8181));
        assert_eq!(pods::restarts(&kept).collect::<Vec<_>>(), [("web", 2, true)]);
        let container = &kept.spec.as_ref().unwrap().containers[0];
        assert_eq!((&container.env, container.ports.as_ref().unwrap().len()), (&None, 1));
    }
}
