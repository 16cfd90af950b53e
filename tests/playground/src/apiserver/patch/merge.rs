//! JSON merge patch (RFC 7396).

use serde_json::{Map, Value};

/// Merges `patch` into `object`; null removes.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else { return };
    for (name, value) in fields {
        if value.is_null() {
            map.remove(name);
        } else {
            merge(map.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_and_objects_merge() {
        let mut object = json!({ "a": { "b": 1, "c": 2 }, "d": [1, 2] });
        merge(
            &mut object,
            &json!({ "a": { "b": null, "e": { "f": null } }, "d": [3] }),
        );
        assert_eq!(object, json!({ "a": { "c": 2, "e": {} }, "d": [3] }));
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        let mut object = json!({ "a": 1 });
        merge(&mut object, &json!({}));
        assert_eq!(object, json!({ "a": 1 }));
    }
}
