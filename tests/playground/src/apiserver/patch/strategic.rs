//! Strategic merge patch: like a merge patch, but lists of objects are merged by a key that the schema names, and
//! directives (`$patch`, `$retainKeys`, `$setElementOrder`, `$deleteFromPrimitiveList`) say what else is to be done.

use serde_json::{Map, Value};

use crate::apiserver::schema::{Schema, Strategy};
use crate::apiserver::status::{ApiError, ApiResult};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `object` by the strategies of its schema.
pub(super) fn merge(schema: Option<Schema<'_>>, object: &mut Value, patch: &Value) -> ApiResult<()> {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return Ok(());
    };
    match fields.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *object = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            *object = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(ApiError::bad_request(format!("unknown patch type: {other}"))),
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else { return Ok(()) };
    retain_keys(map, fields);
    delete_primitives(map, fields);
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with('$')) {
        merge_field(schema, map, name, value)?;
    }
    for (name, order) in fields {
        if let (Some(field), Value::Array(order)) = (name.strip_prefix(ORDER), order)
            && let Some(Value::Array(items)) = map.get_mut(field)
        {
            let key = schema
                .and_then(|schema| schema.strategy(field))
                .and_then(|found| found.merge_key.clone());
            let patched = fields
                .get(field)
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            reorder(items, order, patched, key.as_deref());
        }
    }
    Ok(())
}

fn merge_field(schema: Option<Schema<'_>>, map: &mut Map<String, Value>, name: &str, value: &Value) -> ApiResult<()> {
    let strategy = schema
        .and_then(|schema| schema.strategy(name))
        .cloned()
        .unwrap_or_default();
    let inner = schema.and_then(|schema| schema.field(name));
    match value {
        Value::Null => {
            map.remove(name);
        }
        Value::Object(fields) if fields.get(DIRECTIVE).is_some_and(|directive| directive == "delete") => {
            map.remove(name);
        }
        Value::Object(_) => merge(inner, map.entry(name).or_insert(Value::Null), value)?,
        Value::Array(patch) if strategy.merge && !replaces(patch) => {
            let slot = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            if let Value::Array(items) = slot {
                merge_list(inner.and_then(Schema::items), &strategy, items, patch, name)?;
            }
        }
        Value::Array(patch) => {
            let kept = patch
                .iter()
                .filter(|item| item.get(DIRECTIVE).is_none())
                .map(without_directives);
            map.insert(name.to_owned(), kept.collect());
        }
        scalar => {
            map.insert(name.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

/// A list that holds `{"$patch": "replace"}` replaces the whole list.
fn replaces(patch: &[Value]) -> bool {
    patch.iter().any(|item| item[DIRECTIVE] == "replace")
}

fn merge_list(
    schema: Option<Schema<'_>>,
    strategy: &Strategy,
    items: &mut Vec<Value>,
    patch: &[Value],
    field: &str,
) -> ApiResult<()> {
    let Some(key) = &strategy.merge_key else {
        for item in patch.iter().filter(|item| !item.is_object()) {
            if !items.contains(item) {
                items.push(item.clone());
            }
        }
        return Ok(());
    };
    for item in patch {
        let Some(value) = item.get(key) else {
            let message = format!("map: {item} does not contain declared merge key: {key} (in {field})");
            return Err(ApiError::bad_request(message));
        };
        let found = items.iter().position(|other| other.get(key) == Some(value));
        match (item[DIRECTIVE].as_str(), found) {
            (Some("delete"), _) => items.retain(|other| other.get(key) != Some(value)),
            (_, Some(at)) => merge(schema, &mut items[at], item)?,
            (_, None) => {
                let mut added = Value::Object(Map::new());
                merge(schema, &mut added, item)?;
                items.push(added);
            }
        }
    }
    Ok(())
}

/// `$retainKeys`: fields of the object that are not listed go.
fn retain_keys(map: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if let Some(Value::Array(kept)) = patch.get(RETAIN_KEYS) {
        map.retain(|name, _| kept.iter().any(|kept| kept == name.as_str()));
    }
}

fn delete_primitives(map: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, removed) in patch {
        if let (Some(field), Value::Array(removed)) = (name.strip_prefix(DELETE_PRIMITIVES), removed)
            && let Some(Value::Array(items)) = map.get_mut(field)
        {
            items.retain(|item| !removed.contains(item));
        }
    }
}

/// Puts items in the order that the client has them in; items that only the server has keep their place relative to
/// the one before them.
fn reorder(items: &mut Vec<Value>, order: &[Value], patched: &[Value], key: Option<&str>) {
    let identity = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let wanted: Vec<Value> = order.iter().map(identity).collect();
    let rank = |item: &Value| wanted.iter().position(|known| *known == identity(item));
    let known_to_patch = |item: &Value| patched.iter().any(|other| identity(other) == identity(item));
    let (mut ordered, mut rest): (Vec<Value>, Vec<(usize, Value)>) = (Vec::new(), Vec::new());
    for (at, item) in items.drain(..).enumerate() {
        if rank(&item).is_some() || known_to_patch(&item) {
            ordered.push(item)
        } else {
            rest.push((at, item))
        }
    }
    ordered.sort_by_key(|item| rank(item).unwrap_or(usize::MAX));
    for (at, item) in rest {
        ordered.insert(at.min(ordered.len()), item);
    }
    *items = ordered;
}

fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(name, value)| !name.starts_with('$') && !value.is_null())
            .map(|(name, value)| (name.clone(), without_directives(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_directives).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::apiserver::registry::Registry;

    fn patched(mut object: Value, patch: Value) -> Value {
        let registry = Registry::new();
        let resource = registry.served().get("apps", "v1", "deployments").unwrap();
        merge(
            resource.schema.as_ref().map(|schema| schema.root()),
            &mut object,
            &patch,
        )
        .unwrap();
        object
    }

    fn deployment() -> Value {
        json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } }, "template": { "spec": {
            "containers": [
                { "name": "a", "image": "a:1", "env": [{ "name": "X", "value": "1" }], "args": ["1", "2"] },
                { "name": "b", "image": "b:1" },
            ] } } } })
    }

    #[test]
    fn containers_merge_by_name() {
        let patch = json!({ "spec": { "template": { "spec": { "containers": [
            { "name": "a", "image": "a:2", "env": [{ "name": "Y", "value": "2" }], "args": ["3"] },
        ] } } } });
        let containers = patched(deployment(), patch)["spec"]["template"]["spec"]["containers"].take();
        assert_eq!(containers[0]["image"], "a:2");
        assert_eq!(containers[0]["env"].as_array().unwrap().len(), 2);
        assert_eq!(containers[0]["args"], json!(["3"]));
        assert_eq!(containers[1]["image"], "b:1");
    }

    #[test]
    fn directives_delete_order_and_replace() {
        let patch = json!({ "spec": {
            "strategy": { "$retainKeys": ["type"], "type": "Recreate" },
            "template": { "spec": {
                "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }],
                "containers": [{ "$patch": "delete", "name": "a" }, { "name": "c", "image": "c:1" }],
            } } } });
        let object = patched(deployment(), patch);
        assert_eq!(object["spec"]["strategy"], json!({ "type": "Recreate" }));
        let names: Vec<&Value> = object["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| &c["name"])
            .collect();
        assert_eq!(names, ["c", "b"]);
        let replaced = patched(
            deployment(),
            json!({ "spec": { "template": { "spec": { "containers": [{ "$patch": "replace" }, { "name": "z" }] } } } }),
        );
        assert_eq!(
            replaced["spec"]["template"]["spec"]["containers"],
            json!([{ "name": "z" }])
        );
    }

    #[test]
    fn primitive_lists_merge_as_sets() {
        let object = json!({ "metadata": { "finalizers": ["a", "b"] } });
        let patch = json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"] } });
        assert_eq!(patched(object, patch)["metadata"]["finalizers"], json!(["b", "c"]));
    }

    #[test]
    fn a_merge_key_that_is_missing_is_refused() {
        let registry = Registry::new();
        let resource = registry.served().get("", "v1", "pods").unwrap();
        let patch = json!({ "spec": { "containers": [{ "image": "x" }] } });
        let refused = merge(
            resource.schema.as_ref().map(|schema| schema.root()),
            &mut json!({}),
            &patch,
        );
        assert!(refused.unwrap_err().message.contains("merge key: name"));
    }
}
