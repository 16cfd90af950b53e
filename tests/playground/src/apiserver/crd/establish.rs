//! Serving what a CustomResourceDefinition defines, from the moment that it is stored.

use std::sync::Arc;

use kube::core::cel::compile_schema;
use serde_json::{Value, json};

use super::CustomResource;
use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::registry::{Backing, Resource, ScalePaths, builtin};
use crate::apiserver::schema;
use crate::apiserver::store::ResourceKey;

/// Fills in names and the status of a definition: it is accepted and established at once.
pub(crate) fn prepare(definition: &mut Value) {
    let kind = definition["spec"]["names"]["kind"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let names = object::field_mut(&mut definition["spec"], "names");
    names.entry("singular").or_insert_with(|| kind.to_lowercase().into());
    names.entry("listKind").or_insert_with(|| format!("{kind}List").into());
    object::field_mut(&mut definition["spec"], "conversion")
        .entry("strategy")
        .or_insert("None".into());
    let accepted = definition["spec"]["names"].clone();
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let storage = versions
        .filter(|version| version["storage"] == true)
        .map(|version| version["name"].clone());
    let mut stored: Vec<Value> = definition["status"]["storedVersions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for version in storage.collect::<Vec<_>>() {
        if !stored.contains(&version) {
            stored.push(version);
        }
    }
    let since = definition["status"]["conditions"][0]["lastTransitionTime"]
        .as_str()
        .map_or_else(object::now, str::to_owned);
    definition["status"] = json!({
        "acceptedNames": accepted,
        "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found", &since),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted", &since),
        ],
    });
}

fn condition(kind: &str, reason: &str, message: &str, since: &str) -> Value {
    json!({ "type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since })
}

/// Called after every write: a definition changes what is served.
pub(crate) fn stored(api: &Api, resource: &Resource, object: &Value) {
    if !is_definition(resource) {
        return;
    }
    api.registry
        .replace(&key(object), resources(&api.registry.metadata, object));
}

/// Called after every removal.
pub(crate) fn removed(api: &Api, resource: &Resource, object: &Value) {
    if is_definition(resource) {
        api.registry.replace(&key(object), Vec::new());
    }
}

fn is_definition(resource: &Resource) -> bool {
    resource.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// The resource that a definition defines.
pub(crate) fn key(definition: &Value) -> ResourceKey {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ResourceKey::new(
        &text(&definition["spec"]["group"]),
        &text(&definition["spec"]["names"]["plural"]),
    )
}

/// One resource for each served version.
fn resources(metadata: &Value, definition: &Value) -> Vec<Resource> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .map(|version| resource(metadata, definition, version))
        .collect()
}

fn resource(metadata: &Value, definition: &Value, version: &Value) -> Resource {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural, kind) = (
        text(&spec["group"]),
        text(&spec["names"]["plural"]),
        text(&spec["names"]["kind"]),
    );
    let version_name = text(&version["name"]);
    let versions = spec["versions"].as_array().into_iter().flatten();
    let storage = versions
        .into_iter()
        .find(|version| version["storage"] == true)
        .unwrap_or(version);
    let document = version["schema"]["openAPIV3Schema"].clone();
    let namespaced = spec["scope"] == "Namespaced";
    let status = version["subresources"]["status"].is_object();
    let mut fields = builtin::selectable(&group, &plural, namespaced);
    for field in version["selectableFields"].as_array().into_iter().flatten() {
        let path = text(&field["jsonPath"]);
        let path = path.trim_start_matches('.').to_owned();
        fields.insert(path.clone(), format!("/{}", path.replace('.', "/")));
    }
    let reversed: Vec<&str> = group.rsplit('.').collect();
    Resource {
        definition: format!("{}.{version_name}.{kind}", reversed.join(".")),
        singular: text(&spec["names"]["singular"]),
        short_names: object::strings(&spec["names"]["shortNames"]),
        categories: object::strings(&spec["names"]["categories"]),
        namespaced,
        status,
        scale: scale(&version["subresources"]["scale"]),
        subresources: Vec::new(),
        backing: Backing::Custom(Arc::new(custom(&kind, spec, version, document.clone()))),
        key: ResourceKey::new(&group, &plural),
        storage_version: object::api_version(&group, &text(&storage["name"])),
        schema: Some(schema::compile(&document, metadata)),
        fields,
        version: version_name,
        group,
        plural,
        kind,
    }
}

fn custom(kind: &str, spec: &Value, version: &Value, document: Value) -> CustomResource {
    CustomResource {
        list_kind: spec["names"]["listKind"]
            .as_str()
            .map_or_else(|| format!("{kind}List"), str::to_owned),
        columns: version["additionalPrinterColumns"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        has_rules: document.to_string().contains("x-kubernetes-validations"),
        cel: compile_schema(&document),
        document,
    }
}

fn scale(subresource: &Value) -> Option<ScalePaths> {
    let pointer = |name: &str| subresource[name].as_str().map(|path| path.replace('.', "/"));
    Some(ScalePaths {
        replicas: pointer("specReplicasPath")?,
        status_replicas: pointer("statusReplicasPath")?,
        selector: pointer("labelSelectorPath"),
    })
}
