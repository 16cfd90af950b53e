//! A cluster of a thousand Deployments, as the operator's caches hold it.

use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use valence::cache::keep;
use valence::cache::pods::PackedPod;

use super::{CONTAINERS, DEPLOYMENTS, PODS, sidecars};

/// Namespaces of the cluster.
pub const NAMESPACES: usize = 100;

const HASH: &str = "7c9d8b6f5d";

/// Namespace of a Deployment.
pub fn namespace(index: usize) -> String {
    format!("team-{}", index % NAMESPACES)
}

/// Name of a Deployment.
pub fn name(index: usize) -> String {
    format!("service-{index}")
}

/// Name of a pod of it.
pub fn pod_name(index: usize, pod: usize) -> String {
    format!("service-{index}-{HASH}-{pod:05}")
}

/// A pod of it, as it is kept.
pub fn packed(index: usize, number: usize) -> PackedPod {
    keep::pod(read(pod(index, number)), None)
}

/// The names of the containers of each pod.
pub fn containers() -> impl Iterator<Item = String> {
    let helpers = (0..CONTAINERS - 2).map(|number| format!("helper-{number}"));
    ["app".to_owned(), "envoy".to_owned()].into_iter().chain(helpers)
}

/// What the metrics server says of a namespace.
pub fn usage(number: usize) -> String {
    let usage = json!({"cpu": "123456789n", "memory": "180000Ki"});
    let containers: Vec<_> = containers().map(|name| json!({"name": name, "usage": usage})).collect();
    let items = (number..DEPLOYMENTS).step_by(NAMESPACES).flat_map(|index| {
        let containers = containers.clone();
        (0..PODS).map(move |pod| {
            json!({"metadata": {"name": pod_name(index, pod), "namespace": namespace(index),
                    "creationTimestamp": "2026-11-24T00:00:00Z"},
                "timestamp": "2026-11-24T00:00:00Z", "window": "15s", "containers": containers})
        })
    });
    json!({"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {},
        "items": items.collect::<Vec<_>>()})
    .to_string()
}

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object of this bench is well-formed")
}

fn container(name: impl Into<String>) -> Value {
    let name = name.into();
    let resources = json!({"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}});
    json!({"name": name, "image": format!("registry.example.com/team/{name}:1.42.0"), "resources": resources})
}

fn pod(index: usize, number: usize) -> Value {
    let (deployment, own) = (name(index), pod_name(index, number));
    let address: Ipv4Addr = sidecars::address(index * PODS + number);
    let statuses = containers().map(|name| {
        json!({"name": name, "ready": true, "restartCount": 0, "image": "", "imageID": "",
            "state": {"running": {"startedAt": "2026-11-24T00:00:05Z"}}})
    });
    json!({
        "metadata": {"name": own, "namespace": namespace(index), "uid": own, "creationTimestamp": "2026-11-24T00:00:00Z",
            "labels": {"app": deployment, "slo": "web", "pod-template-hash": HASH},
            "annotations": {"valence.io/injected": "true"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{deployment}-{HASH}"),
                "uid": "r", "controller": true}]},
        "spec": {"nodeName": "node-1", "containers": containers().map(container).collect::<Vec<_>>()},
        "status": {"phase": "Running", "podIP": address.to_string(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T00:00:10Z"}],
            "containerStatuses": statuses.collect::<Vec<_>>()},
    })
}
