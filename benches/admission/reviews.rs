//! AdmissionReviews of pods as clusters have them: from a few containers' worth of lines to a mesh's, written as an API
//! server writes them.

#[path = "written.rs"]
mod written;

use serde_json::{Value, json};

/// What a review is about, and the review.
pub struct Review {
    /// Which size it stands for.
    pub name: &'static str,
    /// The AdmissionReview as an API server sends it.
    pub body: Vec<u8>,
}

/// The identifier that each review has of its own, and the name of the volume that each pod has.
const UID: &str = "5f1f9f4e-0b0b-4c58-9f0e-1f4f6a3a2c11";
const TOKEN: &str = "kube-api-access-x7v9q";

/// A small, a usual and a large pod: 3, 10 and 40 KB.
pub fn all() -> Vec<Review> {
    of(42)
}

/// The same of the Deployment with a number.
pub fn of(deployment: usize) -> Vec<Review> {
    [("3 KB", 3_000, 0), ("10 KB", 10_000, 1), ("40 KB", 40_000, 5)]
        .into_iter()
        .map(|(name, bytes, helpers)| Review {
            name,
            body: review(deployment, helpers, variables(bytes, helpers)),
        })
        .collect()
}

impl Review {
    /// The review of another pod of the same ReplicaSet, as they come in bursts: the API server gives each review an
    /// identifier of its own, and each pod a volume with a name of its own for its token.
    #[allow(dead_code, reason = "not everybody who takes these asks again")]
    pub fn again(&self, number: usize) -> Vec<u8> {
        let scattered = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let text = String::from_utf8_lossy(&self.body);
        let text = text.replace("1f4f6a3a2c11", &format!("{:012x}", scattered >> 16));
        let letters: String = (0..5)
            .map(|place| char::from(b"bcdfghjklmnpqrstvwxz2456789"[(scattered >> (place * 9)) as usize % 27]))
            .collect();
        text.replace(TOKEN, &format!("kube-api-access-{letters}")).into_bytes()
    }
}

/// Variables of the environment with which a review has at least so many bytes.
fn variables(bytes: usize, helpers: usize) -> usize {
    let bytes_with = |variables| review(42, helpers, variables).len();
    let (none, some) = (bytes_with(0), bytes_with(10));
    bytes.saturating_sub(none).div_ceil((some - none).div_ceil(10))
}

fn review(deployment: usize, helpers: usize, variables: usize) -> Vec<u8> {
    let namespace = format!("team-{}", deployment % 100);
    let pods = json!({"group": "", "version": "v1", "resource": "pods"});
    let pod_kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    written::bytes(&json!({
        "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID, "kind": pod_kind, "resource": pods, "requestKind": pod_kind, "requestResource": pods,
            "namespace": namespace, "operation": "CREATE",
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "0d6a1f0e-6c3e-4b0c-8f8e-0a4cf2ab9a1d",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"],
                "extra": {"authentication.kubernetes.io/credential-id": ["JTI=7d3d6f9e-3f0c-4b0e-8a44-0f0c4f1f9a10"]}},
            "object": pod(&namespace, &format!("service-{deployment}"), helpers, variables), "oldObject": null,
            "dryRun": false, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        }
    }))
}

fn pod(namespace: &str, service: &str, helpers: usize, variables: usize) -> Value {
    let replica_set = format!("{service}-7c9d8b6f5d");
    let mut containers = vec![container("app", 8080, variables)];
    containers.extend((0..helpers).map(|index| container(&format!("helper-{index}"), 9100 + index, variables / 2)));
    let mut metadata = json!({
        "generateName": format!("{replica_set}-"), "namespace": namespace, "creationTimestamp": null,
        "labels": {"app": service, "slo": "web", "pod-template-hash": "7c9d8b6f5d", "team": namespace},
        "annotations": {"checksum/config": "9f86d081884c7d659a2feaa0c55ad015", "example.com/checks": checks(service)},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set,
            "uid": "8f3c1c1e-2a7d-4f5b-9a66-3a1b4a0b7c42", "controller": true, "blockOwnerDeletion": true}],
    });
    // The smallest is of a cluster whose clients do not write down who set what.
    if helpers > 0 {
        metadata["managedFields"] = json!([managed_fields(helpers, variables)]);
    }
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": metadata,
        "spec": {
            "volumes": [{"name": "config", "configMap": {"name": service, "defaultMode": 420}},
                {"name": TOKEN, "projected": {"sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}],
                    "defaultMode": 420}}],
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

/// What tools keep in annotations: JSON within JSON, as kubectl's `last-applied-configuration` is, so that every quote is
/// escaped.
fn checks(service: &str) -> String {
    json!({"http_check": {"instances": [{"name": service, "url": "http://%%host%%:8080/ready?full=1&wait=2",
        "tags": ["tier:web", format!("service:{service}")]}]}})
    .to_string()
}

fn container(name: &str, port: usize, variables: usize) -> Value {
    let environment = (0..variables).map(|index| {
        let value = match index % 4 {
            0 => format!("value-{index}-\"quoted\"-of-{name}"),
            1 => format!("https://example.com/{name}?a={index}&b=<none>"),
            2 => format!("{index}"),
            _ => format!("value-{index}-of-{name}"),
        };
        json!({"name": format!("SETTING_NUMBER_{index}"), "value": value})
    });
    // A helper's port has a name of its own: another `http` would keep the sidecar away.
    let port_name = if name == "app" { "http" } else { "metrics" };
    let probe = |path: &str, seconds: u32| {
        json!({"httpGet": {"path": path, "port": port_name, "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": seconds,
            "successThreshold": 1, "failureThreshold": 3})
    };
    let mut container = json!({
        "name": name, "image": format!("registry.example.com/team/{name}:1.42.0"),
        "ports": [{"name": port_name, "containerPort": port, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "250m", "memory": "256Mi"}},
        "volumeMounts": [{"name": "config", "readOnly": true, "mountPath": "/etc/service"},
            {"name": TOKEN, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "livenessProbe": probe("/live", 10), "readinessProbe": probe("/ready", 5),
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent", "securityContext": {"allowPrivilegeEscalation": false},
    });
    if variables > 0 {
        container["env"] = environment.collect();
    }
    container
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
