//! Applies manifests, as `kubectl apply --server-side` does.

use anyhow::Context;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

/// The objects of a manifest, documents and Lists taken apart.
///
/// # Errors
/// When it is not YAML.
pub fn parse(manifest: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).context("the manifest is not YAML")?;
    let parts = |document: Value| match document {
        Value::Null => Vec::new(),
        Value::Object(mut list) if list.get("kind").and_then(Value::as_str) == Some("List") => list
            .remove("items")
            .and_then(|items| items.as_array().cloned())
            .unwrap_or_default(),
        other => vec![other],
    };
    Ok(documents.into_iter().flat_map(parts).collect())
}

/// Applies objects in their order, with the field manager's name.
///
/// # Errors
/// Names the object that was refused, and why.
pub async fn apply(client: &Client, manager: &str, objects: Vec<Value>) -> anyhow::Result<Vec<DynamicObject>> {
    let mut applied = Vec::with_capacity(objects.len());
    for object in objects {
        let object: DynamicObject = serde_json::from_value(object).context("an object without apiVersion or kind")?;
        let kind = object
            .types
            .as_ref()
            .map(|types| types.kind.clone())
            .unwrap_or_default();
        let name = object.name_any();
        applied.push(
            one(client, manager, object)
                .await
                .with_context(|| format!("applying {kind} {name}"))?,
        );
    }
    Ok(applied)
}

async fn one(client: &Client, manager: &str, object: DynamicObject) -> anyhow::Result<DynamicObject> {
    let types = object.types.as_ref().context("no apiVersion and kind")?;
    let kind = GroupVersionKind::try_from(types)?;
    // A definition that was just applied may not be served yet.
    let mut attempts = 0;
    let (resource, capabilities) = loop {
        match discovery::pinned_kind(client, &kind).await {
            Ok(found) => break found,
            Err(_) if attempts < 50 => attempts += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, &resource),
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
    };
    let params = PatchParams::apply(manager).force();
    Ok(api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let manifest = "kind: A\n---\n---\nkind: List\nitems:\n- kind: B\n- kind: C\n";
        let kinds: Vec<String> = parse(manifest)
            .unwrap()
            .iter()
            .map(|object| object["kind"].as_str().unwrap().into())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }
}
