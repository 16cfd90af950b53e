//! OpenAPI v3: an index, and a document for each group and version.

mod paths;

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::http::{Response, response};
use super::object;
use super::registry::{Resource, Served};
use super::status::{ApiError, ApiResult};

/// `/openapi/v3`.
pub(super) fn index(served: &Served) -> Value {
    let mut paths = Map::new();
    for (group, versions) in served.groups() {
        for version in versions {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let hash = hash(served, &group, &version);
            paths.insert(
                path.clone(),
                json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }),
            );
        }
    }
    json!({ "paths": paths })
}

/// Changes whenever the document does, since clients keep documents by it.
fn hash(served: &Served, group: &str, version: &str) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for resource in served.of(group, version) {
        resource.definition.hash(&mut hasher);
        if let Some(custom) = resource.custom() {
            custom.document.to_string().hash(&mut hasher);
        }
    }
    format!("{:016X}", hasher.finish())
}

/// `/openapi/v3/api/VERSION` and `/openapi/v3/apis/GROUP/VERSION`.
pub(super) fn document(api: &Api, group: &str, version: &str) -> ApiResult<Response> {
    let served = api.registry.served();
    let resources: Vec<_> = served.of(group, version).cloned().collect();
    if resources.is_empty() {
        return Err(ApiError::no_such_resource());
    }
    let mut all = Map::new();
    let mut schemas = BTreeMap::new();
    for resource in &resources {
        all.extend(paths::of(resource));
        collect(api, resource, &mut schemas);
    }
    let document = json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1.36.0+playground" },
        "paths": all,
        "components": { "schemas": schemas },
    });
    Ok(response::json(StatusCode::OK, &document))
}

/// The schemas that the documents of a resource refer to.
fn collect(api: &Api, resource: &Resource, schemas: &mut BTreeMap<String, Value>) {
    let definitions = &api.registry.definitions;
    let mut wanted: BTreeSet<String> = ["DeleteOptions", "Status"].map(|kind| format!("{META}.{kind}")).into();
    match resource.custom() {
        Some(custom) => {
            let schema = custom_schema(resource, &custom.document);
            references(&schema, &mut wanted);
            schemas.insert(resource.definition.clone(), schema);
        }
        None => {
            wanted.insert(resource.definition.clone());
        }
    }
    if resource.scale.is_some() {
        wanted.insert("io.k8s.api.autoscaling.v1.Scale".into());
    }
    while let Some(name) = wanted.pop_first() {
        if schemas.contains_key(&name) {
            continue;
        }
        if let Some(schema) = definitions.get(&name) {
            references(schema, &mut wanted);
            schemas.insert(name, schema.clone());
        }
    }
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

fn custom_schema(resource: &Resource, document: &Value) -> Value {
    let mut schema = document.clone();
    let about = "APIVersion defines the versioned schema of this representation of an object.";
    let kind = "Kind is a string value representing the REST resource this object represents.";
    let properties = object::field_mut(&mut schema, "properties");
    properties.insert("apiVersion".into(), json!({ "description": about, "type": "string" }));
    properties.insert("kind".into(), json!({ "description": kind, "type": "string" }));
    properties.insert(
        "metadata".into(),
        json!({
            "description": "Standard object's metadata.",
            "allOf": [{ "$ref": format!("#/components/schemas/{META}.ObjectMeta") }],
        }),
    );
    schema["x-kubernetes-group-version-kind"] =
        json!([{ "group": resource.group, "version": resource.version, "kind": resource.kind }]);
    schema
}

fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next())
            {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
