//! A cluster of a thousand Deployments, as the operator's caches hold it.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use valence::cache::Cluster;
use valence::cache::keep;
use valence::cache::pods::PackedPod;

use super::{CONTAINERS, DEPLOYMENTS, PODS, sidecars};

/// Namespaces of the cluster.
pub const NAMESPACES: usize = 100;

const HASH: &str = "7c9d8b6f5d";

/// Everything that was listed.
pub fn filled() -> Arc<Cluster> {
    let cluster = Cluster::default();
    cluster.services.set_filled();
    cluster.objectives.set_filled();
    cluster.recommendations.set_filled();
    cluster.horizontal_pod_autoscalers.set_filled();
    cluster.limit_ranges.set_filled();
    cluster.resource_quotas.set_filled();
    cluster.network_policies.set_filled();
    cluster.disruption_budgets.set_filled();
    cluster.vertical_pod_autoscalers.set_filled();
    let labels = || [("valence.io/injection".to_owned(), "enabled".to_owned())].into();
    cluster.namespaces.replace(
        (0..NAMESPACES)
            .map(|index| (String::new(), namespace(index), labels()))
            .collect(),
    );
    let all = || (0..DEPLOYMENTS).map(|index| (namespace(index), name(index)));
    cluster.deployments.replace(
        all()
            .map(|(namespace, name)| {
                let kept = keep::deployment(read(deployment(&namespace, &name)), None);
                (namespace, name, kept)
            })
            .collect(),
    );
    cluster.replica_sets.replace(
        all()
            .map(|(namespace, name)| {
                let summary = keep::ReplicaSetSummary {
                    name: format!("{name}-{HASH}"),
                    deployment: Some(name.clone()),
                    template: HASH.to_owned(),
                    revision: 1,
                };
                (namespace, summary.name.clone(), summary)
            })
            .collect(),
    );
    cluster.pods.replace(
        (0..DEPLOYMENTS)
            .flat_map(|index| (0..PODS).map(move |pod| (namespace(index), pod_name(index, pod), packed(index, pod))))
            .collect(),
    );
    for object in objectives() {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        cluster
            .objectives
            .put(&namespace, "web", keep::objective(read(object), None));
    }
    Arc::new(cluster)
}

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

/// A ServiceLevelObjective for each namespace, as the API server has it.
pub fn objectives() -> impl Iterator<Item = Value> {
    (0..NAMESPACES).map(|index| {
        json!({"apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"name": "web", "namespace": namespace(index), "uid": format!("slo-{index}"), "generation": 1,
                "resourceVersion": "1"},
            "spec": {"selector": {"slo": "web"},
                "objectives": [{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}]}})
    })
}

/// A Recommendation whose model has learnt, as the API server has it.
pub fn recommendation(index: usize, checkpoint: &str) -> Value {
    let name = name(index);
    json!({"apiVersion": "optimizer.valence.io/v1alpha1", "kind": "Recommendation",
        "metadata": {"name": name, "namespace": namespace(index), "uid": format!("recommendation-{index}"),
            "resourceVersion": "1", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
            "uid": name, "controller": true}]},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
        "status": {"checkpoint": checkpoint}})
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

fn deployment(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1",
            "labels": {"app": name, "slo": "web"}},
        "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name, "slo": "web"}},
                "spec": {"containers": containers().filter(|name| name != "envoy").map(container).collect::<Vec<_>>()}}}})
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
