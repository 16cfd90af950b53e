//! What the server fills in and what it does not let a client change.

use serde_json::{Map, Value, json};

use super::Write;
use crate::apiserver::registry::Resource;
use crate::apiserver::status::{ApiError, ApiResult, FieldError};
use crate::apiserver::store::ObjectKey;
use crate::apiserver::{builtin, object};

/// Puts the namespace of the path into the object, or refuses one that differs.
pub(super) fn namespace(write: &Write<'_>, object: &mut Value) -> ApiResult<()> {
    let wanted = write.call.namespace();
    let found = object::namespace(object).to_owned();
    if !write.resource().namespaced {
        object::metadata_mut(object).remove("namespace");
        return Ok(());
    }
    if !found.is_empty() && found != wanted {
        return Err(ApiError::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request: {found} != {wanted}"
        )));
    }
    object::metadata_mut(object).insert("namespace".into(), wanted.into());
    Ok(())
}

/// A namespace must exist, and not be on its way out, for something to be created in it.
pub(super) fn namespace_accepts(write: &Write<'_>) -> ApiResult<()> {
    let (resource, namespace) = (write.resource(), write.call.namespace());
    if !resource.namespaced {
        return Ok(());
    }
    let api = write.api();
    let found = api.store.get(&api.core("namespaces"), &ObjectKey::new("", namespace));
    let found = found.ok_or_else(|| ApiError::not_found("", "namespaces", namespace))?;
    if !object::is_deleting(&found.value) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let error = ApiError::forbidden(&resource.group, &resource.plural, write.call.name(), &why);
    Err(error.with_cause(
        "NamespaceTerminating",
        "metadata.namespace",
        &format!("namespace {namespace} is being terminated"),
    ))
}

/// Name, uid, creation time; and nothing that only the server sets.
pub(super) fn new_metadata(write: &Write<'_>, object: &mut Value) -> ApiResult<()> {
    let resource = write.resource();
    if object::revision(object) != 0 {
        return Err(ApiError::bad_request(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let generated = object::meta(object, "generateName").to_owned();
    if object::name(object).is_empty() {
        if generated.is_empty() {
            let error = FieldError::required("metadata.name", "name or generateName is required");
            return Err(ApiError::invalid(&resource.group, &resource.kind, "", &[error]));
        }
        // Room for the suffix is kept within the 63 letters of a label.
        let stem: String = generated.chars().take(58).collect();
        let name = format!("{stem}{}", object::name_suffix());
        object::metadata_mut(object).insert("name".into(), name.into());
    }
    let apply = write.operation == "Apply";
    let generation = builtin::has_generation(resource);
    let metadata = object::metadata_mut(object);
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    if apply {
        metadata.remove("managedFields");
    }
    metadata.insert("uid".into(), object::new_uid().into());
    metadata.insert("creationTimestamp".into(), object::now().into());
    if generation {
        metadata.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// The status of a new object is the server's and the controllers' business.
pub(super) fn new_status(resource: &Resource, object: &mut Value) {
    if !resource.status || resource.plural == "nodes" {
        return;
    }
    let status = match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => json!({ "phase": "Pending" }),
        ("", "namespaces") => json!({ "phase": "Active" }),
        ("", "services") => json!({ "loadBalancer": {} }),
        ("", "persistentvolumeclaims") => json!({ "phase": "Pending" }),
        _ if resource.custom().is_some() => Value::Null,
        _ => json!({}),
    };
    object::set_or_remove(object, "status", status);
}

/// Metadata that a write cannot change keeps its value.
pub(super) fn changed_metadata(write: &Write<'_>, current: &Value, object: &mut Value) -> ApiResult<()> {
    namespace(write, object)?;
    let name = object::name(object);
    if !name.is_empty() && name != object::name(current) {
        let error = FieldError::invalid("metadata.name", &object["metadata"]["name"], "field is immutable");
        return Err(ApiError::invalid(
            &write.resource().group,
            &write.resource().kind,
            object::name(current),
            &[error],
        ));
    }
    let kept = [
        "name",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "resourceVersion",
        "generateName",
        "deletionGracePeriodSeconds",
    ];
    let metadata = object::metadata_mut(object);
    metadata.remove("selfLink");
    for field in kept {
        match current["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    if object::is_deleting(current) {
        let before = object::finalizers(current);
        let added: Vec<String> = object::finalizers(object)
            .into_iter()
            .filter(|name| !before.contains(name))
            .collect();
        if !added.is_empty() {
            let error = FieldError::forbidden(
                "metadata.finalizers",
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
                ),
            );
            return Err(ApiError::invalid(
                &write.resource().group,
                &write.resource().kind,
                object::name(current),
                &[error],
            ));
        }
    }
    Ok(())
}

/// A subresource changes its own part only, and the main resource leaves the status alone.
pub(super) fn restrict(write: &Write<'_>, current: &Value, object: &mut Value) {
    let resource = write.resource();
    match write.call.subresource() {
        "" if resource.status => object::set_or_remove(object, "status", current["status"].clone()),
        "status" => keep_all_but_status(resource, current, object),
        "resize" => keep_all_but_resources(current, object),
        "ephemeralcontainers" => {
            let added = object["spec"]["ephemeralContainers"].clone();
            let metadata = object["metadata"].clone();
            *object = current.clone();
            object["metadata"] = metadata;
            object::set_or_remove(&mut object["spec"], "ephemeralContainers", added);
        }
        _ => {}
    }
}

fn keep_all_but_status(resource: &Resource, current: &Value, object: &mut Value) {
    let status = object["status"].take();
    let mut metadata = object["metadata"].take();
    *object = current.clone();
    object::set_or_remove(object, "status", status);
    if resource.custom().is_some() {
        // Managed fields record who wrote the status; the rest of the metadata stays.
        object::set_or_remove(
            &mut object["metadata"],
            "managedFields",
            metadata["managedFields"].take(),
        );
        return;
    }
    for field in ["ownerReferences", "finalizers"] {
        let kept = current["metadata"].get(field).cloned().unwrap_or_default();
        object::set_or_remove(&mut metadata, field, kept);
    }
    object["metadata"] = metadata;
}

/// A resize changes resources of containers that exist and nothing else, not even labels and annotations. Containers
/// that come or go are left for validation to refuse.
fn keep_all_but_resources(current: &Value, object: &mut Value) {
    let count = |pod: &Value, list: &str| pod["spec"][list].as_array().map_or(0, Vec::len);
    if ["containers", "initContainers"]
        .iter()
        .any(|list| count(current, list) != count(object, list))
    {
        return;
    }
    let asked = object["spec"].take();
    let managed = object["metadata"]["managedFields"].take();
    *object = current.clone();
    object::set_or_remove(&mut object["metadata"], "managedFields", managed);
    for list in ["containers", "initContainers"] {
        let containers = object["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut others = asked[list].as_array().into_iter().flatten();
            let Some(wanted) = others.find(|other| other["name"] == container["name"]) else {
                continue;
            };
            for field in ["resources", "resizePolicy"] {
                object::set_or_remove(container, field, wanted.get(field).cloned().unwrap_or_default());
            }
        }
    }
    if asked["resources"].is_object() {
        object["spec"]["resources"] = asked["resources"].clone();
    }
}

/// Counts changes of what the user asks for.
pub(super) fn generation(resource: &Resource, current: &Value, object: &mut Value) {
    if !builtin::has_generation(resource) {
        return;
    }
    let mut generation = current["metadata"]["generation"].as_i64().unwrap_or(1);
    if desired(resource, current) != desired(resource, object) {
        generation += 1;
    }
    object::metadata_mut(object).insert("generation".into(), generation.into());
}

/// Everything but metadata and, where it is a subresource, the status.
fn desired(resource: &Resource, object: &Value) -> Map<String, Value> {
    let fields = object.as_object().into_iter().flatten();
    let counted = fields.filter(|(name, _)| match name.as_str() {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => !resource.status,
        _ => true,
    });
    counted.map(|(name, value)| (name.clone(), value.clone())).collect()
}
