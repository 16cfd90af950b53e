//! Reading and writing `metadata.managedFields`.

use serde_json::{Value, json};

use super::FieldSet;
use crate::apiserver::object;
use crate::apiserver::pipeline::Write;

/// One entry of the record, without its fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    /// `Apply` or `Update`.
    pub(crate) operation: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: String,
}

impl Manager {
    /// The author of a write.
    pub(crate) fn of(write: &Write<'_>) -> Self {
        Self {
            name: write.manager.clone(),
            operation: write.operation.into(),
            api_version: write.call.resource.api_version(),
            subresource: write.call.subresource().to_owned(),
            time: object::now(),
        }
    }

    /// The same author, whenever it wrote.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == "Apply" || self.api_version == other.api_version)
    }
}

pub(crate) fn read(object: &Value) -> Vec<(Manager, FieldSet)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| {
            let manager = Manager {
                name: text(entry, "manager"),
                operation: text(entry, "operation"),
                api_version: text(entry, "apiVersion"),
                subresource: text(entry, "subresource"),
                time: text(entry, "time"),
            };
            (manager, FieldSet::from_json(&entry["fieldsV1"]))
        })
        .collect()
}

pub(crate) fn write(object: &mut Value, managers: Vec<(Manager, FieldSet)>) {
    let entries: Vec<Value> = managers
        .into_iter()
        .filter(|(_, set)| !set.is_empty())
        .map(|(manager, set)| {
            let mut entry = json!({
                "manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version,
                "time": manager.time, "fieldsType": "FieldsV1", "fieldsV1": set.to_json(),
            });
            if !manager.subresource.is_empty() {
                entry["subresource"] = manager.subresource.into();
            }
            entry
        })
        .collect();
    let list = if entries.is_empty() {
        Value::Null
    } else {
        Value::Array(entries)
    };
    object::metadata_mut(object);
    object::set_or_remove(&mut object["metadata"], "managedFields", list);
}
