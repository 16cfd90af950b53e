//! Defaults that a schema declares.

use serde_json::Value;

use super::Schema;

/// Fills in absent fields that have a default, at every depth.
pub(crate) fn apply_defaults(schema: Schema<'_>, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, (id, _)) in &schema.node.properties {
                let field = schema.at(*id);
                let absent = map
                    .get(name)
                    .is_none_or(|value| value.is_null() && !field.node.nullable);
                if let (true, Some(default)) = (absent, &field.node.default) {
                    map.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(field) = schema.field(name) {
                    apply_defaults(field, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items() {
                items.iter_mut().for_each(|item| apply_defaults(schema, item));
            }
        }
        _ => {}
    }
}
