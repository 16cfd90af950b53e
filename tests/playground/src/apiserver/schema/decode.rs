//! Reading a request's object by its schema: fields that are not known are dropped and named, nulls fall away,
//! quantities take their canonical form, and values of the wrong type are refused.

use serde_json::Value;

use super::{Kind, Schema, join};
use crate::apiserver::quantity;

/// What reading an object found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decoded {
    /// Paths of fields that the schema does not know.
    pub(crate) unknown: Vec<String>,
    /// Values that do not fit the type that the schema names.
    pub(crate) mismatches: Vec<Mismatch>,
}

/// A value of the wrong type.
#[derive(Debug, PartialEq)]
pub(crate) struct Mismatch {
    pub(crate) path: String,
    pub(crate) expected: &'static str,
    pub(crate) found: &'static str,
}

/// Brings `value` into the form that its schema gives it. With `drop_nulls`, null means absent (built-in kinds).
pub(crate) fn decode(schema: Schema<'_>, value: &mut Value, drop_nulls: bool) -> Decoded {
    let mut decoded = Decoded::default();
    visit(schema, value, "", drop_nulls, &mut decoded);
    decoded
}

fn visit(schema: Schema<'_>, value: &mut Value, path: &str, drop_nulls: bool, decoded: &mut Decoded) {
    if let Some(expected) = mismatch(schema.node.kind, value) {
        let mismatch = Mismatch {
            path: path.to_owned(),
            expected,
            found: type_name(value),
        };
        decoded.mismatches.push(mismatch);
        return;
    }
    match value {
        Value::Object(map) => {
            if drop_nulls {
                map.retain(|_, value| !value.is_null());
            }
            let any = schema.node.kind == Kind::Any && schema.is_map();
            // Raw JSON in a built-in kind: an object that declares nothing.
            let raw = drop_nulls && schema.is_map() && schema.node.additional.is_none();
            let keep = schema.node.preserve_unknown || any || raw;
            let mut unknown = Vec::new();
            for (name, value) in map.iter_mut() {
                match schema.field(name) {
                    Some(field) => visit(field, value, &join(path, name), drop_nulls, decoded),
                    None if keep || embedded_field(schema, name) => {}
                    None => unknown.push(name.clone()),
                }
            }
            for name in unknown {
                map.remove(&name);
                decoded.unknown.push(join(path, &name));
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items() {
                for (at, item) in items.iter_mut().enumerate() {
                    visit(schema, item, &format!("{path}[{at}]"), drop_nulls, decoded);
                }
            }
        }
        scalar if schema.node.kind == Kind::Quantity => match quantity::canonical(scalar) {
            Some(canonical) => *scalar = canonical.into(),
            None => {
                let expected = "quantity";
                decoded.mismatches.push(Mismatch {
                    path: path.to_owned(),
                    expected,
                    found: type_name(scalar),
                });
            }
        },
        _ => {}
    }
}

fn embedded_field(schema: Schema<'_>, name: &str) -> bool {
    schema.node.embedded_resource && matches!(name, "apiVersion" | "kind" | "metadata")
}

/// The expected type when `value` does not have it. Null fits everything here; validation is stricter.
fn mismatch(kind: Kind, value: &Value) -> Option<&'static str> {
    if value.is_null() {
        return None;
    }
    let (fits, expected) = match kind {
        Kind::Any => (true, ""),
        Kind::Object => (value.is_object(), "object"),
        Kind::Array => (value.is_array(), "array"),
        Kind::String => (value.is_string(), "string"),
        Kind::Integer => (is_integer(value), "integer"),
        Kind::Number => (value.is_number(), "number"),
        Kind::Boolean => (value.is_boolean(), "boolean"),
        Kind::IntOrString => (is_integer(value) || value.is_string(), "integer or string"),
        Kind::Quantity => (value.is_number() || value.is_string(), "quantity"),
    };
    (!fits).then_some(expected)
}

pub(super) fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
