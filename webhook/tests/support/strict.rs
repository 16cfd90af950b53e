//! What must hold for any object that admission lets through.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valence_webhook::Endpoint;

/// Fails unless every field of an object is known to Kubernetes and has the right type; `about` names the object.
pub fn deserialises(endpoint: Endpoint, object: &Value, about: &str) {
    match endpoint {
        Endpoint::Pods | Endpoint::Resize => survives::<Pod>(object, about),
        Endpoint::Deployments => survives::<Deployment>(object, about),
        Endpoint::Scale => survives::<Scale>(object, about),
        Endpoint::Services => survives::<Service>(object, about),
        Endpoint::HorizontalPodAutoscalers => survives::<HorizontalPodAutoscaler>(object, about),
    }
}

fn survives<T: Serialize + DeserializeOwned>(object: &Value, about: &str) {
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{about}: {error}"));
    let again = serde_json::to_value(&typed).unwrap();
    contains(&again, object, about);
}

/// Fails where something in `part` is not in `whole`.
fn contains(whole: &Value, part: &Value, path: &str) {
    match part {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{path}.{key}");
                // Empty values are left out when written.
                if !is_empty(value) {
                    contains(
                        whole.get(key).unwrap_or_else(|| panic!("{path} is not a field")),
                        value,
                        &path,
                    );
                }
            }
        }
        Value::Array(values) => {
            let whole = whole.as_array().unwrap_or_else(|| panic!("{path} is not a list"));
            assert_eq!(whole.len(), values.len(), "{path}");
            for (position, (whole, part)) in whole.iter().zip(values).enumerate() {
                contains(whole, part, &format!("{path}[{position}]"));
            }
        }
        Value::String(text) if path.ends_with("Timestamp") || path.ends_with("time") => assert!(!text.is_empty()),
        _ => assert_eq!(whole, part, "{path}"),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether a pod passes the Pod Security Standard `restricted`, as far as a pod can fail it.
pub fn is_restricted(pod: &Value) -> bool {
    let spec = &pod["spec"];
    let containers = ["containers", "initContainers", "ephemeralContainers"];
    let mut all = containers.iter().filter_map(|field| spec[field].as_array()).flatten();
    let host = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .any(|field| spec[field] == true);
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let host_paths = volumes.into_iter().any(|volume| volume.get("hostPath").is_some());
    !host && !host_paths && all.all(|container| is_container_restricted(&spec["securityContext"], container))
}

fn is_container_restricted(pod: &Value, container: &Value) -> bool {
    let own = &container["securityContext"];
    let inherited = |field: &str| {
        if own[field].is_null() {
            pod[field].clone()
        } else {
            own[field].clone()
        }
    };
    let drops_all = own["capabilities"]["drop"]
        .as_array()
        .is_some_and(|drops| drops.iter().any(|drop| drop == "ALL"));
    let adds = own["capabilities"]["add"].as_array().cloned().unwrap_or_default();
    let seccomp = inherited("seccompProfile")["type"].clone();
    let host_ports = container["ports"]
        .as_array()
        .is_some_and(|ports| ports.iter().any(|port| port["hostPort"].as_i64().unwrap_or(0) > 0));
    own["privileged"] != true
        && own["allowPrivilegeEscalation"] == false
        && drops_all
        && adds.iter().all(|added| added == "NET_BIND_SERVICE")
        && inherited("runAsNonRoot") == true
        && inherited("runAsUser") != 0
        && (seccomp == "RuntimeDefault" || seccomp == "Localhost")
        && !host_ports
}
