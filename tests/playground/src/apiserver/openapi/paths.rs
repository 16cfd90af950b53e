//! The paths of a resource, as far as clients read them: which kind each is about and which parameters it takes.

use serde_json::{Map, Value, json};

use crate::apiserver::object;
use crate::apiserver::registry::{Backing, Resource};

/// Path and operations.
pub(super) fn of(resource: &Resource) -> Vec<(String, Value)> {
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let base = format!("{root}/{}", object::api_version(&resource.group, &resource.version));
    let scoped = if resource.namespaced {
        format!("{base}/namespaces/{{namespace}}")
    } else {
        base.clone()
    };
    let collection = format!("{scoped}/{}", resource.plural);
    let item = format!("{collection}/{{name}}");
    let kind = json!({ "group": resource.group, "version": resource.version, "kind": resource.kind });
    let schema = reference(&resource.definition);
    let mut paths = match resource.backing {
        Backing::Review => vec![(collection.clone(), operations(&["post"], &kind, &schema, &[], resource))],
        Backing::Computed => vec![
            (collection.clone(), operations(&["get"], &kind, &schema, &[], resource)),
            (item.clone(), operations(&["get"], &kind, &schema, &["name"], resource)),
        ],
        Backing::Stored | Backing::Custom(_) => vec![
            (
                collection.clone(),
                operations(&["get", "post", "delete"], &kind, &schema, &[], resource),
            ),
            (
                item.clone(),
                operations(&["get", "put", "patch", "delete"], &kind, &schema, &["name"], resource),
            ),
        ],
    };
    if resource.namespaced {
        paths.push((
            format!("{base}/{}", resource.plural),
            operations(&["get"], &kind, &schema, &[], resource),
        ));
    }
    if resource.status {
        let verbs = ["get", "put", "patch"];
        paths.push((
            format!("{item}/status"),
            operations(&verbs, &kind, &schema, &["name"], resource),
        ));
    }
    if resource.scale.is_some() {
        let scale = json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" });
        let schema = reference("io.k8s.api.autoscaling.v1.Scale");
        let verbs = ["get", "put", "patch"];
        paths.push((
            format!("{item}/scale"),
            operations(&verbs, &scale, &schema, &["name"], resource),
        ));
    }
    paths
}

fn operations(verbs: &[&str], kind: &Value, schema: &Value, path: &[&str], resource: &Resource) -> Value {
    let mut found = Map::new();
    for verb in verbs {
        found.insert(
            (*verb).to_owned(),
            operation(verb, kind, schema, !path.is_empty(), resource),
        );
    }
    let mut parameters: Vec<Value> = path.iter().map(|name| parameter(name, "path")).collect();
    if resource.namespaced {
        parameters.push(parameter("namespace", "path"));
    }
    found.insert("parameters".into(), parameters.into());
    Value::Object(found)
}

fn operation(verb: &str, kind: &Value, schema: &Value, one: bool, resource: &Resource) -> Value {
    let action = match (verb, one) {
        ("get", true) => "get",
        ("get", false) => "list",
        ("delete", true) => "delete",
        ("delete", false) => "deletecollection",
        (verb, _) => verb,
    };
    let mut parameters = Vec::new();
    if matches!(verb, "post" | "put" | "patch") {
        parameters.extend(["dryRun", "fieldManager", "fieldValidation"].map(|name| parameter(name, "query")));
    }
    if verb == "patch" {
        parameters.push(parameter("force", "query"));
    }
    let content = |media: &str| json!({ media: { "schema": schema } });
    let mut operation = json!({
        "tags": [if resource.group.is_empty() { "core" } else { &resource.group }],
        "parameters": parameters,
        "responses": { "200": { "description": "OK", "content": content("application/json") } },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind,
    });
    match verb {
        "post" | "put" => operation["requestBody"] = json!({ "content": content("*/*"), "required": true }),
        "patch" => {
            let mut content = Map::new();
            for media in patch_media_types(resource) {
                content.insert((*media).to_owned(), json!({ "schema": { "type": "object" } }));
            }
            operation["requestBody"] = json!({ "content": content, "required": true });
        }
        _ => {}
    }
    operation
}

fn patch_media_types(resource: &Resource) -> &'static [&'static str] {
    const ALL: &[&str] = &[
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    if resource.custom().is_some() { &ALL[..3] } else { ALL }
}

fn parameter(name: &str, place: &str) -> Value {
    let mut parameter = json!({ "name": name, "in": place, "schema": { "type": "string", "uniqueItems": true } });
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{definition}") })
}
