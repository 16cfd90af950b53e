//! Custom resources: from a CustomResourceDefinition to something that is served, validated and defaulted.

mod establish;
mod rules;

use kube::core::cel::{CompiledSchema, compile_schema};
use serde_json::Value;

pub(crate) use establish::{prepare, removed, stored};

use super::registry::Resource;
use super::schema;
use super::status::FieldError;

/// What a version of a CustomResourceDefinition adds to a resource.
pub(crate) struct CustomResource {
    pub(crate) list_kind: String,
    /// `additionalPrinterColumns`.
    pub(crate) columns: Vec<Value>,
    /// `openAPIV3Schema` as the definition has it.
    pub(crate) document: Value,
    cel: CompiledSchema,
    has_rules: bool,
}

impl std::fmt::Debug for CustomResource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CustomResource")
            .field("list_kind", &self.list_kind)
            .finish_non_exhaustive()
    }
}

/// Fills in the defaults that the schema of a custom resource declares.
pub(crate) fn defaults(resource: &Resource, object: &mut Value) {
    if let (Some(_), Some(shared)) = (resource.custom(), &resource.schema) {
        schema::apply_defaults(shared.root(), object);
    }
}

/// Validates a custom resource by its schema, then by its CEL rules.
pub(crate) fn validate(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let (Some(custom), Some(shared)) = (resource.custom(), &resource.schema) else {
        return Vec::new();
    };
    let errors = schema::validate(shared.root(), object, "");
    if !errors.is_empty() || !custom.has_rules {
        return errors;
    }
    rules::validate(custom, object, old)
}

/// What is wrong with the schema of a definition: rules that do not compile, and objects without a type.
pub(crate) fn check_schema(path: &str, document: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    untyped(path, document, &mut errors);
    broken_rules(path, &compile_schema(document), &mut errors);
    errors
}

fn broken_rules(path: &str, schema: &CompiledSchema, errors: &mut Vec<FieldError>) {
    for (at, rule) in schema.validations.iter().enumerate() {
        if let Err(error) = rule {
            let field = format!("{path}.x-kubernetes-validations[{at}].rule");
            let detail = format!("compilation failed: {error}");
            errors.push(FieldError::invalid(field, &Value::from("rule"), &detail));
        }
    }
    for (name, property) in &schema.properties {
        broken_rules(&format!("{path}.properties[{name}]"), property, errors);
    }
    let inner = [
        ("items", &schema.items),
        ("additionalProperties", &schema.additional_properties),
    ];
    for (name, inner) in inner {
        if let Some(inner) = inner {
            broken_rules(&format!("{path}.{name}"), inner, errors);
        }
    }
}

/// A structural schema names the type of every field.
fn untyped(path: &str, document: &Value, errors: &mut Vec<FieldError>) {
    let exempt = document["x-kubernetes-int-or-string"] == true
        || document["x-kubernetes-preserve-unknown-fields"] == true
        || document["type"].is_string();
    if !exempt {
        errors.push(FieldError::required(
            format!("{path}.type"),
            "must not be empty for specified object fields",
        ));
    }
    for (name, property) in document["properties"].as_object().into_iter().flatten() {
        untyped(&format!("{path}.properties[{name}]"), property, errors);
    }
    for (field, shown) in [("items", "items"), ("additionalProperties", "additionalProperties")] {
        if document[field].is_object() {
            untyped(&format!("{path}.{shown}"), &document[field], errors);
        }
    }
}
