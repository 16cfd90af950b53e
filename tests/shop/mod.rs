//! Objects that more than one suite puts into its cluster.

use serde_json::{Value, json};

/// Namespace of the workload.
pub const SHOP: &str = "shop";

/// That namespace, asking for sidecars.
pub fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP, "labels": {"valence.io/injection": "enabled"}}})
}

/// An objective for the workloads of the namespace.
pub fn objective() -> Value {
    json!({
        "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
        "metadata": {"name": "slo-webapps", "namespace": SHOP},
        "spec": {
            "selector": {"slo": "slo-webapps"},
            "objectives": [{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}],
        },
    })
}

/// An autoscaler of the Deployment `web` by CPU, in per cent of its requests.
pub fn autoscaler(max_replicas: i32, utilisation: i32) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": utilisation});
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": SHOP},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    })
}

/// A VerticalPodAutoscaler that changes the pods of the Deployment `web`.
pub fn vertical_autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
        "metadata": {"name": "web", "namespace": SHOP},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "updatePolicy": {"updateMode": "Auto"},
        },
    })
}

/// As much of the definition of VerticalPodAutoscalers as a test needs.
pub fn vertical_definition() -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "verticalpodautoscalers.autoscaling.k8s.io",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/63797"},
        },
        "spec": {
            "group": "autoscaling.k8s.io", "scope": "Namespaced",
            "names": {
                "kind": "VerticalPodAutoscaler", "listKind": "VerticalPodAutoscalerList",
                "plural": "verticalpodautoscalers", "singular": "verticalpodautoscaler",
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
            }],
        },
    })
}
