//! `x-kubernetes-validations`: rules in CEL.

use kube::core::cel::{ErrorKind, Validator};
use serde_json::Value;

use super::CustomResource;
use crate::apiserver::status::FieldError;

/// The rules that an object breaks.
pub(super) fn validate(custom: &CustomResource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let Err(errors) = Validator::new().validate_compiled(&custom.cel, object, old) else {
        return Vec::new();
    };
    errors
        .iter()
        .map(|error| {
            let reason = match error.reason.as_deref() {
                Some("FieldValueForbidden") => "FieldValueForbidden",
                Some("FieldValueRequired") => "FieldValueRequired",
                Some("FieldValueDuplicate") => "FieldValueDuplicate",
                _ => "FieldValueInvalid",
            };
            let detail = match reason {
                "FieldValueForbidden" => format!("Forbidden: {}", error.message),
                "FieldValueRequired" => format!("Required value: {}", error.message),
                _ => format!(
                    "Invalid value: {}: {}",
                    shown(object, &error.field_path),
                    explained(error.kind.clone(), &error.message)
                ),
            };
            let field = if error.field_path.is_empty() {
                "<nil>".to_owned()
            } else {
                error.field_path.clone()
            };
            FieldError { field, reason, detail }
        })
        .collect()
}

fn explained(kind: ErrorKind, message: &str) -> String {
    match kind {
        ErrorKind::ValidationFailure => message.to_owned(),
        ErrorKind::UnsupportedReference => format!("the rule uses CEL that this server cannot evaluate: {message}"),
        _ => format!("the rule could not be evaluated: {message}"),
    }
}

/// The value that a rule is about, as the API server shows it: type names for what is not a scalar.
fn shown(object: &Value, path: &str) -> String {
    let pointer: String = path
        .split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| format!("/{part}"))
        .collect();
    match object.pointer(&pointer) {
        Some(Value::Object(_)) | None => "\"object\"".into(),
        Some(Value::Array(_)) => "\"array\"".into(),
        Some(Value::String(text)) => Value::from(text.as_str()).to_string(),
        Some(scalar) => scalar.to_string(),
    }
}
