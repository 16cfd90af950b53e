//! Tables: rows and columns, as `kubectl get` shows them.

mod age;
mod columns;
mod kinds;

use serde_json::{Value, json};

use super::registry::Resource;
use super::{jsonpath, object};
use age::age;
use columns::{Column, columns};

/// What of the object a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    /// From the query parameter `includeObject`.
    pub(crate) fn from_query(value: Option<&str>) -> Self {
        match value {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// The table of some objects of one resource.
pub(crate) fn table(resource: &Resource, objects: &[&Value], include: Include, revision: &str) -> Value {
    let columns = columns(resource);
    let definitions: Vec<Value> = columns.iter().map(Column::definition).collect();
    let rows: Vec<Value> = objects.iter().map(|object| row(&columns, object, include)).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": { "resourceVersion": revision },
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn row(columns: &[Column], object: &Value, include: Include) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| column.cell(object)).collect();
    let mut row = json!({ "cells": cells });
    match include {
        Include::None => {}
        Include::Object => row["object"] = object.clone(),
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
        }
    }
    row
}

/// The value of a printer column of a custom resource.
fn printed(object: &Value, path: &str, kind: &str) -> Value {
    let Some(found) = jsonpath::first(object, path) else {
        return Value::Null;
    };
    match (kind, &found) {
        ("date", Value::String(text)) => age(text).into(),
        ("string", Value::String(_)) | ("integer" | "number", Value::Number(_)) | ("boolean", Value::Bool(_)) => found,
        ("string", other) => other.to_string().into(),
        (_, Value::Null) => Value::Null,
        (_, other) => other.clone(),
    }
}

fn creation_age(object: &Value) -> Value {
    age(object::meta(object, "creationTimestamp")).into()
}
