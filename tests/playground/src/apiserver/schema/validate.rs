//! Validation of a value by its schema, worded as the API server words it.

use serde_json::Value;

use super::decode::{is_integer, type_name};
use super::{Kind, ListKind, Rules, Schema, join};
use crate::apiserver::status::FieldError;

/// Everything that is wrong with `value`.
pub(crate) fn validate(schema: Schema<'_>, value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    visit(schema, value, path, &mut errors);
    errors
}

/// Only the absence of required fields; for built-in kinds, where an empty value is as absent.
pub(crate) fn required(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for name in schema.node.required.iter().filter(|name| !map.contains_key(*name)) {
                errors.push(FieldError::required(join(path, name), ""));
            }
            for (name, value) in map {
                if let Some(field) = schema.field(name) {
                    required(field, value, &join(path, name), errors);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                if let Some(schema) = schema.items() {
                    required(schema, item, &format!("{path}[{at}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn visit(schema: Schema<'_>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && schema.node.nullable {
        return;
    }
    if let Some(expected) = mismatch(schema.node.kind, value) {
        let found = type_name(value);
        let detail = format!("{path} in body must be of type {expected}: \"{found}\"");
        errors.push(FieldError::type_invalid(path, &Value::from(found), &detail));
        return;
    }
    if let Some(rules) = &schema.node.rules {
        check(schema, rules, value, path, errors);
    }
    match value {
        Value::Object(map) => {
            for name in schema.node.required.iter().filter(|name| !map.contains_key(*name)) {
                errors.push(FieldError::required(join(path, name), ""));
            }
            for (name, value) in map {
                if let Some(field) = schema.field(name) {
                    let declared = schema.node.properties.contains_key(name);
                    let path = if declared || path.is_empty() {
                        join(path, name)
                    } else {
                        format!("{path}.{name}")
                    };
                    visit(field, value, &path, errors);
                }
            }
        }
        Value::Array(items) => {
            check_list(schema, items, path, errors);
            if let Some(schema) = schema.items() {
                for (at, item) in items.iter().enumerate() {
                    visit(schema, item, &format!("{path}[{at}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn mismatch(kind: Kind, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match kind {
        Kind::Any => (true, ""),
        Kind::Object => (value.is_object(), "object"),
        Kind::Array => (value.is_array(), "array"),
        Kind::String => (value.is_string(), "string"),
        Kind::Integer => (is_integer(value), "integer"),
        Kind::Number => (value.is_number(), "number"),
        Kind::Boolean => (value.is_boolean(), "boolean"),
        Kind::IntOrString | Kind::Quantity => (is_integer(value) || value.is_string(), "integer,string"),
    };
    (!fits).then_some(expected)
}

fn check_list(schema: Schema<'_>, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    match &schema.node.list {
        ListKind::Atomic => {}
        ListKind::Set => {
            for (at, item) in items.iter().enumerate() {
                if items[..at].contains(item) {
                    errors.push(FieldError::duplicate(format!("{path}[{at}]"), item));
                }
            }
        }
        ListKind::Map(keys) => {
            let key = |item: &Value| keys.iter().map(|key| item[key].clone()).collect::<Vec<_>>();
            for (at, item) in items.iter().enumerate() {
                if items[..at].iter().any(|other| key(other) == key(item)) {
                    let shown = keys.iter().map(|name| (name.clone(), item[name].clone())).collect();
                    let detail = format!("Duplicate value: {}", Value::Object(shown));
                    errors.push(FieldError {
                        field: format!("{path}[{at}]"),
                        reason: "FieldValueDuplicate",
                        detail,
                    });
                }
            }
        }
    }
}

fn check(schema: Schema<'_>, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut wrong = |detail: String| errors.push(FieldError::invalid(path, value, &format!("{path} in body {detail}")));
    match value {
        Value::Number(number) => {
            for detail in number_errors(rules, number.as_f64().unwrap_or_default()) {
                wrong(detail);
            }
        }
        Value::String(text) => {
            for detail in text_errors(rules, text) {
                wrong(detail);
            }
        }
        Value::Array(items) => {
            for detail in count_errors(items.len(), rules.min_items, rules.max_items, "items") {
                wrong(detail);
            }
            if rules.unique_items && items.iter().enumerate().any(|(at, item)| items[..at].contains(item)) {
                wrong("shouldn't contain duplicates".into());
            }
        }
        Value::Object(map) => {
            for detail in count_errors(map.len(), rules.min_properties, rules.max_properties, "properties") {
                wrong(detail);
            }
        }
        _ => {}
    }
    if !rules.enumeration.is_empty() && !rules.enumeration.iter().any(|known| same(known, value)) {
        let supported: Vec<String> = rules.enumeration.iter().map(plain).collect();
        errors.push(FieldError::not_supported(path, value, &supported));
    }
    check_combinations(schema, rules, value, path, errors);
}

fn number_errors(rules: &Rules, number: f64) -> Vec<String> {
    let mut errors = Vec::new();
    match rules.minimum {
        Some(bound) if rules.exclusive_minimum && number <= bound => {
            errors.push(format!("should be greater than {bound}"));
        }
        Some(bound) if number < bound => errors.push(format!("should be greater than or equal to {bound}")),
        _ => {}
    }
    match rules.maximum {
        Some(bound) if rules.exclusive_maximum && number >= bound => {
            errors.push(format!("should be less than {bound}"))
        }
        Some(bound) if number > bound => errors.push(format!("should be less than or equal to {bound}")),
        _ => {}
    }
    if let Some(step) = rules.multiple_of {
        let times = number / step;
        if (times - times.round()).abs() > 1e-9 {
            errors.push(format!("should be a multiple of {step}"));
        }
    }
    errors
}

fn text_errors(rules: &Rules, text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let length = text.chars().count() as u64;
    if rules.min_length.is_some_and(|bound| length < bound) {
        errors.push(format!(
            "should be at least {} chars long",
            rules.min_length.unwrap_or_default()
        ));
    }
    if rules.max_length.is_some_and(|bound| length > bound) {
        errors.push(format!(
            "should be at most {} chars long",
            rules.max_length.unwrap_or_default()
        ));
    }
    if let Some(pattern) = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        errors.push(format!("should match '{}'", pattern.as_str()));
    }
    if rules.format.as_deref() == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        errors.push(format!("must be of type date-time: \"{text}\""));
    }
    errors
}

fn count_errors(count: usize, least: Option<u64>, most: Option<u64>, what: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if let Some(bound) = least.filter(|bound| (count as u64) < *bound) {
        errors.push(format!("should have at least {bound} {what}"));
    }
    if let Some(bound) = most.filter(|bound| (count as u64) > *bound) {
        errors.push(format!("should have at most {bound} {what}"));
    }
    errors
}

fn check_combinations(schema: Schema<'_>, rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let holds = |id: usize| {
        let mut inner = Vec::new();
        visit(schema.at(id), value, path, &mut inner);
        inner.is_empty()
    };
    for id in &rules.all_of {
        visit(schema.at(*id), value, path, errors);
    }
    let mut wrong = |detail: &str| errors.push(FieldError::invalid(path, &Value::from(type_name(value)), detail));
    if !rules.any_of.is_empty() && !rules.any_of.iter().any(|id| holds(*id)) {
        wrong(&format!("{path} in body must validate at least one schema (anyOf)"));
    }
    if !rules.one_of.is_empty() && rules.one_of.iter().filter(|id| holds(**id)).count() != 1 {
        wrong(&format!("{path} in body must validate one and only one schema (oneOf)"));
    }
    if rules.not.is_some_and(holds) {
        wrong(&format!("{path} in body must not validate the schema (not)"));
    }
}

fn same(known: &Value, value: &Value) -> bool {
    known == value || matches!((known.as_f64(), value.as_f64()), (Some(known), Some(value)) if known == value)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
