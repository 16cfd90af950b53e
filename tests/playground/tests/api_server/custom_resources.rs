//! CustomResourceDefinitions.

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Cluster, create, eventually, object, refusal};

pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["gadgets"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                } },
                "additionalPrinterColumns": [
                    { "name": "Percentile", "type": "integer", "jsonPath": ".spec.percentile" },
                    { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status" },
                ],
                "schema": { "openAPIV3Schema": {
                    "type": "object", "description": "A widget.", "required": ["spec"],
                    "properties": {
                        "spec": {
                            "type": "object", "description": "What is wanted.", "required": ["percentile"],
                            "x-kubernetes-validations": [{
                                "rule": "!has(self.max) || self.percentile <= self.max",
                                "message": "percentile must not exceed max",
                            }, {
                                "rule": "!has(oldSelf.owner) || self.owner == oldSelf.owner",
                                "message": "owner is immutable",
                            }],
                            "properties": {
                                "percentile": {
                                    "type": "integer", "enum": [99, 95], "description": "Which percentile is meant.",
                                },
                                "max": { "type": "integer", "minimum": 1 },
                                "owner": { "type": "string" },
                                "replicas": { "type": "integer", "default": 2 },
                                "responseTime": { "type": "string", "pattern": "^[0-9]+ms$", "default": "10ms" },
                            },
                        },
                        "status": { "type": "object", "properties": {
                            "replicas": { "type": "integer" },
                            "conditions": { "type": "array", "items": { "type": "object", "properties": {
                                "type": { "type": "string" }, "status": { "type": "string" },
                            } } },
                        } },
                    },
                } },
            }],
        },
    })
}

pub fn widget(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": name }, "spec": spec })
}

async fn served() -> (Cluster, Api<DynamicObject>) {
    let cluster = Cluster::start().await;
    let definitions = cluster.cluster_api(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let created = create(&definitions, definition()).await;
    let conditions = created.data["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
    );
    let api = cluster.api("example.com/v1", "Widget", "widgets");
    (cluster, api)
}

#[tokio::test]
async fn a_custom_resource_is_served_at_once_defaulted_and_pruned() {
    let (_cluster, api) = served().await;
    let created = create(&api, widget("one", json!({ "percentile": 99, "bogus": 1 }))).await;
    assert_eq!(
        created.data["spec"],
        json!({ "percentile": 99, "replicas": 2, "responseTime": "10ms" })
    );
    assert_eq!(api.list(&Default::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn wrong_values_are_refused_by_field() {
    let (_cluster, api) = served().await;
    let attempt = async |spec: Value| refusal(api.create(&PostParams::default(), &object(widget("bad", spec))).await);
    let status = attempt(json!({ "percentile": 42, "responseTime": "fast", "max": 0 })).await;
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    let fields: Vec<String> = status
        .details
        .unwrap()
        .causes
        .iter()
        .map(|cause| cause.field.clone())
        .collect();
    assert_eq!(fields, ["spec.max", "spec.percentile", "spec.responseTime"]);
    assert!(
        status
            .message
            .contains("Unsupported value: 42: supported values: \"99\", \"95\""),
        "{}",
        status.message
    );
    let status = attempt(json!({ "percentile": "99" })).await;
    assert!(
        status
            .message
            .contains("spec.percentile in body must be of type integer"),
        "{}",
        status.message
    );
    let status = attempt(json!({})).await;
    assert!(
        status.message.contains("spec.percentile: Required value"),
        "{}",
        status.message
    );
    let status = attempt(json!({ "percentile": 99, "max": 95 })).await;
    assert!(
        status.message.contains("percentile must not exceed max"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn rules_compare_with_the_old_object() {
    let (_cluster, api) = served().await;
    create(&api, widget("one", json!({ "percentile": 99, "owner": "a" }))).await;
    let patch = Patch::Merge(json!({ "spec": { "owner": "b" } }));
    let status = refusal(api.patch("one", &PatchParams::default(), &patch).await);
    assert!(status.message.contains("owner is immutable"), "{}", status.message);
}

#[tokio::test]
async fn status_and_scale_are_subresources() {
    let (_cluster, api) = served().await;
    create(&api, widget("one", json!({ "percentile": 99 }))).await;
    let params = PatchParams::default();
    let both = json!({ "spec": { "percentile": 95 }, "status": { "replicas": 1 } });
    let main = api.patch("one", &params, &Patch::Merge(both.clone())).await.unwrap();
    assert!(main.data.get("status").is_none());
    assert_eq!(main.metadata.generation, Some(2));
    let back = json!({ "spec": { "percentile": 99 }, "status": { "replicas": 4 } });
    let status = api.patch_status("one", &params, &Patch::Merge(back)).await.unwrap();
    assert_eq!(
        (&status.data["spec"]["percentile"], &status.data["status"]["replicas"]),
        (&json!(95), &json!(4))
    );
    assert_eq!(status.metadata.generation, Some(2));
    api.patch_scale("one", &params, &Patch::Merge(json!({ "spec": { "replicas": 8 } })))
        .await
        .unwrap();
    assert_eq!(api.get("one").await.unwrap().data["spec"]["replicas"], 8);
    let applied = json!({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "one" }, "status": { "replicas": 5 },
    });
    let applied = api
        .patch_status("one", &PatchParams::apply("valence"), &Patch::Apply(applied))
        .await;
    assert_eq!(refusal(applied).reason, "Conflict", "another manager wrote the status");
}

#[tokio::test]
async fn columns_are_printed() {
    let (cluster, api) = served().await;
    create(&api, widget("one", json!({ "percentile": 99 }))).await;
    let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    api.patch_status("one", &PatchParams::default(), &Patch::Merge(ready))
        .await
        .unwrap();
    let request = http::Request::get("/apis/example.com/v1/namespaces/default/widgets")
        .header(
            "accept",
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        )
        .body(Vec::new())
        .unwrap();
    let table: Value = cluster.client.request(request).await.unwrap();
    let names: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(names, ["Name", "Percentile", "Ready"]);
    assert_eq!(table["rows"][0]["cells"], json!(["one", 99, "True"]));
}

#[tokio::test]
async fn a_removed_definition_takes_its_objects_along() {
    let (cluster, api) = served().await;
    create(&api, widget("one", json!({ "percentile": 99 }))).await;
    let definitions = cluster.cluster_api(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    definitions
        .delete("widgets.example.com", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(refusal(api.get("one").await).code, 404);
    eventually("the objects are gone", async || {
        // Served again, an old object would show.
        let created = definitions.create(&PostParams::default(), &object(definition())).await;
        let left = api.list(&Default::default()).await.map(|list| list.items.len());
        if created.is_ok() && left.is_ok_and(|left| left == 0) {
            return true;
        }
        let _ = definitions
            .delete("widgets.example.com", &DeleteParams::default())
            .await;
        false
    })
    .await;
}

#[tokio::test]
async fn a_definition_without_a_usable_schema_is_refused() {
    let cluster = Cluster::start().await;
    let definitions = cluster.cluster_api(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let mut broken = definition();
    let schema = &mut broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["x-kubernetes-validations"][0]["rule"] = "self.(".into();
    schema["properties"]["spec"]["properties"]["untyped"] = json!({ "description": "no type" });
    let status = refusal(definitions.create(&PostParams::default(), &object(broken)).await);
    assert!(status.message.contains("compilation failed"), "{}", status.message);
    assert!(
        status.message.contains("properties[untyped].type: Required value"),
        "{}",
        status.message
    );
    let mut misnamed = definition();
    misnamed["metadata"]["name"] = "gadgets.example.com".into();
    let status = refusal(definitions.create(&PostParams::default(), &object(misnamed)).await);
    assert!(
        status.message.contains("must be spec.names.plural"),
        "{}",
        status.message
    );
    assert_eq!(
        definitions
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .iter()
            .map(ResourceExt::name_any)
            .count(),
        0
    );
}
