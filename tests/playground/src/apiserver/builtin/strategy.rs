//! What the server itself fills in when built-in objects are written.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{resources, services};
use crate::apiserver::api::Api;
use crate::apiserver::registry::Resource;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::{crd, object};

/// Whether changes of the specification are counted in `metadata.generation`.
pub(crate) fn has_generation(resource: &Resource) -> bool {
    if resource.custom().is_some() {
        return true;
    }
    match resource.group.as_str() {
        "apps" => resource.plural != "controllerrevisions",
        "batch" | "networking.k8s.io" | "policy" | "admissionregistration.k8s.io" | "apiextensions.k8s.io" => true,
        "" => resource.plural == "pods",
        _ => false,
    }
}

/// `stringData` of a Secret goes, encoded, into `data`.
pub(crate) fn decode_secret_strings(resource: &Resource, object: &mut Value) {
    if !resource.is("", "secrets") {
        return;
    }
    let Some(Value::Object(strings)) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return;
    };
    let data = object::field_mut(object, "data");
    for (name, value) in strings {
        data.insert(name, BASE64.encode(value.as_str().unwrap_or_default()).into());
    }
}

/// Called for a new object after admission.
pub(crate) fn prepare_create(api: &Api, resource: &Resource, object: &mut Value) -> ApiResult<()> {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => {
            let name = object::name(object).to_owned();
            label_namespace(object, &name);
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
        }
        ("", "pods") => {
            service_account(api, object)?;
            object["status"]["qosClass"] = resources::qos_class(&object["spec"]).into();
            let spec = object::field_mut(object, "spec");
            spec.entry("enableServiceLinks").or_insert(true.into());
            spec.entry("preemptionPolicy").or_insert("PreemptLowerPriority".into());
            spec.entry("priority").or_insert(0.into());
        }
        ("", "services") => services::allocate(api, object, None)?,
        ("apiextensions.k8s.io", "customresourcedefinitions") => crd::prepare(object),
        _ => {}
    }
    Ok(())
}

/// Called for a changed object after admission.
pub(crate) fn prepare_update(api: &Api, resource: &Resource, subresource: &str, current: &Value, object: &mut Value) {
    match (resource.group.as_str(), resource.plural.as_str(), subresource) {
        ("", "namespaces", "") => {
            let name = object::name(object).to_owned();
            label_namespace(object, &name);
            object::set_or_remove(object, "spec", current["spec"].clone());
        }
        ("", "services", "") => {
            // Addresses stay; only a change of type can ask for new ones.
            let _ = services::allocate(api, object, Some(current));
        }
        ("apiextensions.k8s.io", "customresourcedefinitions", "") => crd::prepare(object),
        _ => {}
    }
}

fn label_namespace(object: &mut Value, name: &str) {
    object::metadata_mut(object);
    object::field_mut(&mut object["metadata"], "labels").insert("kubernetes.io/metadata.name".into(), name.into());
}

/// The ServiceAccount that a pod runs as must exist.
fn service_account(api: &Api, object: &mut Value) -> ApiResult<()> {
    let spec = object::field_mut(object, "spec");
    let name = spec
        .get("serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or("default")
        .to_owned();
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.clone().into());
    let key = crate::apiserver::store::ObjectKey::new(object::namespace(object), &name);
    if api.store.get(&api.core("serviceaccounts"), &key).is_some() || name == "default" {
        return Ok(());
    }
    let why = format!(
        "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
        key.namespace
    );
    Err(ApiError::forbidden("", "pods", object::name(object), &why))
}
