//! Between the version that an object is stored as and the version that it is served as.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::registry::Resource;

/// The object as the resource serves it.
pub(crate) fn to_served<'a>(resource: &Resource, stored: &'a Value) -> Cow<'a, Value> {
    let api_version = resource.api_version();
    if stored["apiVersion"] == api_version.as_str() {
        return Cow::Borrowed(stored);
    }
    let mut object = stored.clone();
    if resource.is("events.k8s.io", "events") {
        to_new_event(&mut object);
    }
    object["apiVersion"] = api_version.into();
    Cow::Owned(object)
}

/// The object as it is stored.
pub(crate) fn to_stored(resource: &Resource, mut served: Value) -> Value {
    if served["apiVersion"] != resource.storage_version.as_str() {
        if resource.is("events.k8s.io", "events") {
            to_core_event(&mut served);
        }
        served["apiVersion"] = resource.storage_version.clone().into();
    }
    served
}

/// Fields of `events.k8s.io/v1` and what the core form calls them.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn to_core_event(event: &mut Value) {
    rename(event, EVENT_FIELDS.iter().copied());
    if let Value::Object(map) = event {
        for (field, empty) in [("involvedObject", json!({})), ("source", json!({}))] {
            map.entry(field).or_insert(empty);
        }
    }
    if let Value::Object(series) = &mut event["series"] {
        series.retain(|_, value| !value.is_null());
    } else if let Value::Object(map) = event {
        map.remove("series");
    }
}

fn to_new_event(event: &mut Value) {
    rename(event, EVENT_FIELDS.iter().map(|(new, core)| (*core, *new)));
}

fn rename<'a>(event: &mut Value, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    let Value::Object(map) = event else { return };
    for (from, to) in fields {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}
