//! Manifests against the types of Kubernetes: every field must be known and of the right type.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valence::api::ServiceLevelObjective;

/// The objects of a multi-document manifest.
pub fn objects(manifest: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(manifest).unwrap();
    all.into_iter().filter(|object| !object.is_null()).collect()
}

/// `Kind namespace/name`
pub fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}/{}",
        text(&object["kind"]),
        text(&object["metadata"]["namespace"]),
        text(&object["metadata"]["name"])
    )
}

/// What is wrong with an object; kinds of others than Kubernetes and Valence are not known here.
pub fn problems(object: &Value) -> Vec<String> {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    match (version, object["kind"].as_str().unwrap_or_default()) {
        ("v1", "Namespace") => strict::<Namespace>(object),
        ("v1", "Service") => strict::<Service>(object),
        ("v1", "ServiceAccount") => strict::<ServiceAccount>(object),
        ("v1", "ConfigMap") => strict::<ConfigMap>(object),
        ("apps/v1", "Deployment") => strict::<Deployment>(object),
        ("batch/v1", "Job") => strict::<Job>(object),
        ("policy/v1", "PodDisruptionBudget") => strict::<PodDisruptionBudget>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => strict::<NetworkPolicy>(object),
        ("rbac.authorization.k8s.io/v1", "Role") => strict::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => strict::<RoleBinding>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => strict::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => strict::<ClusterRoleBinding>(object),
        ("apiregistration.k8s.io/v1", "APIService") => strict::<APIService>(object),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => strict::<CustomResourceDefinition>(object),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration") => {
            strict::<MutatingWebhookConfiguration>(object)
        }
        ("optimizer.valence.io/v1alpha1", "ServiceLevelObjective") => strict::<ServiceLevelObjective>(object),
        ("monitoring.coreos.com/v1", _) | ("cert-manager.io/v1", _) => Vec::new(),
        (version, kind) => vec![format!("{version} {kind} is not known")],
    }
}

/// Reads an object as a type and writes it again: what is lost on the way was not a field of the type.
fn strict<T: Serialize + DeserializeOwned>(object: &Value) -> Vec<String> {
    match serde_json::from_value::<T>(object.clone()) {
        Err(error) => vec![error.to_string()],
        Ok(read) => {
            let mut lost = Vec::new();
            compare("", object, &serde_json::to_value(read).unwrap(), &mut lost);
            lost
        }
    }
}

fn compare(path: &str, before: &Value, after: &Value, lost: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let path = format!("{path}.{key}");
                match after.get(key) {
                    Some(after) => compare(&path, value, after, lost),
                    // An empty value may be left out when it is written again.
                    None if is_empty(value) => {}
                    None => lost.push(format!("{path} is not a field")),
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(&format!("{path}[{index}]"), before, after, lost);
            }
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

#[test]
fn a_misspelt_field_is_found() {
    let service = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
        "spec": {"selectors": {"a": "b"}, "ports": [{"port": 80, "target": 81}]},
    });
    assert_eq!(
        problems(&service),
        [".spec.ports[0].target is not a field", ".spec.selectors is not a field"]
    );
    assert_eq!(
        problems(&serde_json::json!({"apiVersion": "v1", "kind": "Servic"})).len(),
        1
    );
    let wrong = serde_json::json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": "80"}});
    assert_eq!(problems(&wrong).len(), 1);
}
