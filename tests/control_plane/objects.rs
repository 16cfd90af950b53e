//! The workload of the cases.

use serde_json::{Value, json};

pub use crate::shop::{SHOP, namespace, objective};

/// A live Deployment of two replicas.
pub fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": SHOP, "labels": {"app": "web", "slo": "slo-webapps"},
            "annotations": {"valence.io/optimizer.configure": "true"},
        },
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": specification()},
        },
    })
}

/// What the Deployment controller would make of it.
pub fn replica_set(deployment: &Value) -> Value {
    let labels = json!({"app": "web", "pod-template-hash": "1"});
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-1", "namespace": SHOP, "labels": labels, "ownerReferences": [owner(deployment)]},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": specification()},
        },
    })
}

/// What the ReplicaSet controller would make of that.
pub fn pod(replica_set: &Value, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": SHOP, "labels": {"app": "web", "pod-template-hash": "1"},
            "ownerReferences": [owner(replica_set)],
        },
        "spec": specification(),
    })
}

/// A Recommendation for the Deployment, without its status.
pub fn recommendation(deployment: &Value) -> Value {
    json!({
        "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "Recommendation",
        "metadata": {"name": "web", "namespace": SHOP, "ownerReferences": [owner(deployment)]},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    })
}

/// What is recommended for the container.
pub fn resources() -> Value {
    json!({"requests": {"cpu": "300m", "memory": "640Mi"}, "limits": {"cpu": "600m", "memory": "768Mi"}})
}

/// A status that recommends so many replicas.
pub fn status(replicas: i64) -> Value {
    let mut container = resources();
    container["name"] = json!("application");
    json!({"status": {"replicas": replicas, "live": true, "reason": "the test says so", "containers": [container]}})
}

fn specification() -> Value {
    json!({"containers": [{
        "name": "application",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
    }]})
}

fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    })
}
