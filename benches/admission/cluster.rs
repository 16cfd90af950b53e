//! The operator's own caches, filled as a large cluster fills them.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use valence::cache::Cluster;
use valence::cache::follow;
use valence::cache::keep::{self, ReplicaSetSummary};

/// Namespaces of the cluster.
pub const NAMESPACES: usize = 100;

/// Deployments over [`NAMESPACES`] namespaces, each with its ReplicaSet, Service, Recommendation and two pods.
pub fn filled(deployments: usize) -> Arc<Cluster> {
    let cluster = Cluster::default();
    cluster.set_filled();
    let names = || (0..deployments).map(|index| (format!("team-{}", index % NAMESPACES), format!("service-{index}")));
    cluster.namespaces.replace(
        (0..NAMESPACES)
            .map(|index| {
                let labels = [("valence.io/injection".to_owned(), "enabled".to_owned())].into();
                (String::new(), format!("team-{index}"), labels)
            })
            .collect(),
    );
    cluster.deployments.replace(
        names()
            .map(|(namespace, name)| (namespace, name.clone(), keep::deployment(read(deployment(&name)), None)))
            .collect(),
    );
    cluster
        .replica_sets
        .replace(names().map(|(namespace, name)| replica_set(namespace, &name)).collect());
    cluster.services.replace(
        names()
            .map(|(namespace, name)| (namespace, name.clone(), read(service(&name))))
            .collect(),
    );
    cluster
        .pods
        .replace(names().flat_map(|(namespace, name)| pods(&namespace, &name)).collect());
    cluster.recommendations.replace(
        names()
            .map(|(namespace, name)| {
                (
                    namespace,
                    name.clone(),
                    keep::recommendation(read(recommendation(&name, 0)), None),
                )
            })
            .collect(),
    );
    for index in 0..NAMESPACES {
        let known = keep::objective(read(objective()), None);
        cluster.objectives.put(&format!("team-{index}"), "web", known);
    }
    Arc::new(cluster)
}

/// Takes in the next status of a Recommendation, as the caches do what a watch tells.
pub fn update(cluster: &Cluster, index: usize, turn: u64) {
    let (namespace, name) = (format!("team-{}", index % NAMESPACES), format!("service-{index}"));
    let before = cluster.recommendations.get(&namespace, &name);
    let known = follow::kept(keep::recommendation, read(recommendation(&name, turn)), before);
    cluster.recommendations.put_shared(&namespace, &name, known);
}

/// An object of the type that is asked for.
pub fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object of this bench is well-formed")
}

/// A Deployment.
pub fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "uid": name, "labels": {"app": name, "slo": "web"},
            "annotations": {"valence.io/optimizer.configure": "true"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name, "slo": "web"}}, "spec": {"containers": [{
                "name": "app", "image": "registry.example.com/team/app:1.42.0",
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}}]}}}})
}

fn replica_set(namespace: String, name: &str) -> (String, String, ReplicaSetSummary) {
    let own = format!("{name}-7c9d8b6f5d");
    let summary = ReplicaSetSummary {
        name: own.clone(),
        deployment: Some(name.to_owned()),
        template: "7c9d8b6f5d".to_owned(),
        revision: 1,
    };
    (namespace, own, summary)
}

/// A Service for the pods of a Deployment.
pub fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})
}

fn pods(namespace: &str, name: &str) -> Vec<(String, String, valence::cache::pods::PackedPod)> {
    (0..2)
        .map(|index| {
            let own = format!("{name}-7c9d8b6f5d-{index:05}");
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": own, "labels": {"app": name}},
                "spec": {"containers": [{"name": "app"}]}});
            (namespace.to_owned(), own, keep::pod(read(pod), None))
        })
        .collect()
}

fn objective() -> Value {
    json!({"apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
        "metadata": {"name": "web", "generation": 1}, "spec": {"selector": {"slo": "web"},
            "objectives": [{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}]}})
}

/// A Recommendation, another one in every of fifty turns. The sidecar of each Deployment has a size of its own.
pub fn recommendation(name: &str, turn: u64) -> Value {
    let number: u64 = name.trim_start_matches("service-").parse().unwrap_or_default();
    let (cpu, sidecar) = (format!("{}m", 300 + turn % 50), format!("{}m", 40 + number % 997));
    json!({"apiVersion": "optimizer.valence.io/v1alpha1", "kind": "Recommendation",
        "metadata": {"name": name, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name,
            "uid": name, "controller": true}]},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
        "status": {"replicas": 4, "live": true, "state": "Confident", "reason": "p99 of 100 ms holds up to 70 % of the request",
            "targetUtilisation": 0.7, "containers": [
                {"name": "app", "requests": {"cpu": cpu, "memory": "200Mi"}, "limits": {"cpu": "900m", "memory": "300Mi"}},
                {"name": "envoy", "requests": {"cpu": sidecar, "memory": "64Mi"}, "limits": {"memory": "128Mi"}}]}})
}
