//! AdmissionReviews of pods as clusters have them: from a few containers' worth of lines to a mesh's.

use serde_json::{Value, json};

/// What a review is about, and the review.
pub struct Review {
    /// Which size it stands for.
    pub name: &'static str,
    /// The AdmissionReview as an API server sends it.
    pub body: Vec<u8>,
}

/// A small, a usual and a large pod: about 3, 10 and 40 KB.
pub fn all() -> Vec<Review> {
    of(42)
}

/// The same of the Deployment with a number.
pub fn of(deployment: usize) -> Vec<Review> {
    [("3 KB", 0, 8), ("10 KB", 2, 40), ("40 KB", 6, 95)]
        .into_iter()
        .map(|(name, helpers, variables)| Review {
            name,
            body: review(deployment, helpers, variables).to_string().into_bytes(),
        })
        .collect()
}

impl Review {
    /// The review of another pod of the same ReplicaSet, as they come in bursts: with another identifier, and another name
    /// of the volume of its token.
    pub fn again(&self, number: usize) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.replace("1f4f6a3a2c11", &format!("{number:012x}"));
        text.replace("x7v9q", &format!("{number:05x}")).into_bytes()
    }
}

fn review(deployment: usize, helpers: usize, variables: usize) -> Value {
    let namespace = format!("team-{}", deployment % 100);
    json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "5f1f9f4e-0b0b-4c58-9f0e-1f4f6a3a2c11",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "dryRun": false,
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "0d6a1f0e-6c3e-4b0c-8f8e-0a4cf2ab9a1d",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]},
            "object": pod(&namespace, &format!("service-{deployment}"), helpers, variables), "oldObject": null,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        }
    })
}

fn pod(namespace: &str, service: &str, helpers: usize, variables: usize) -> Value {
    let replica_set = format!("{service}-7c9d8b6f5d");
    let mut containers = vec![container("app", 8080, variables)];
    containers.extend((0..helpers).map(|index| container(&format!("helper-{index}"), 9100 + index, variables / 2)));
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "generateName": format!("{replica_set}-"), "namespace": namespace, "creationTimestamp": null,
            "labels": {"app": service, "slo": "web", "pod-template-hash": "7c9d8b6f5d", "team": namespace},
            "annotations": {"prometheus.io/scrape": "true", "checksum/config": "9f86d081884c7d659a2feaa0c55ad015"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set,
                "uid": "8f3c1c1e-2a7d-4f5b-9a66-3a1b4a0b7c42", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": [managed_fields(helpers, variables)],
        },
        "spec": {
            "volumes": [{"name": "config", "configMap": {"name": service, "defaultMode": 420}},
                {"name": "kube-api-access-x7v9q", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}],
            "containers": containers, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst", "serviceAccountName": service, "serviceAccount": service,
            "securityContext": {"runAsNonRoot": true, "fsGroup": 2000}, "schedulerName": "default-scheduler",
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}],
            "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {},
    })
}

fn container(name: &str, port: usize, variables: usize) -> Value {
    let environment = (0..variables).map(|index| {
        json!({"name": format!("SETTING_NUMBER_{index}"), "value": format!("value-{index}-\"quoted\"-of-{name}")})
    });
    // A helper's port has a name of its own: another `http` would keep the sidecar away.
    let port_name = if name == "app" { "http" } else { "metrics" };
    json!({
        "name": name, "image": format!("registry.example.com/team/{name}:1.42.0"),
        "ports": [{"name": port_name, "containerPort": port, "protocol": "TCP"}],
        "env": environment.collect::<Vec<_>>(),
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "volumeMounts": [{"name": "config", "readOnly": true, "mountPath": "/etc/service"},
            {"name": "kube-api-access-x7v9q", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": port_name, "scheme": "HTTP"}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/live", "port": port_name, "scheme": "HTTP"}, "periodSeconds": 10},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent", "securityContext": {"allowPrivilegeEscalation": false},
    })
}

/// What the API server writes about who set which field: a good part of every real object.
fn managed_fields(helpers: usize, variables: usize) -> Value {
    let of_container = |variables: usize| {
        let environment = (0..variables).map(|index| {
            (
                format!("k:{{\"name\":\"SETTING_NUMBER_{index}\"}}"),
                json!({".": {}, "f:name": {}, "f:value": {}}),
            )
        });
        json!({".": {}, "f:image": {}, "f:resources": {}, "f:env": environment.collect::<serde_json::Map<_, _>>()})
    };
    let mut containers = serde_json::Map::new();
    containers.insert("k:{\"name\":\"app\"}".to_owned(), of_container(variables));
    for index in 0..helpers {
        containers.insert(
            format!("k:{{\"name\":\"helper-{index}\"}}"),
            of_container(variables / 2),
        );
    }
    json!({"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
        "time": "2026-11-24T06:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:containers": containers}}})
}
