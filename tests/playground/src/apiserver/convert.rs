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
    } else if is_first_autoscaler(resource) {
        to_first_autoscaler(&mut object);
    }
    object["apiVersion"] = api_version.into();
    Cow::Owned(object)
}

/// The object as it is stored.
pub(crate) fn to_stored(resource: &Resource, mut served: Value) -> Value {
    if served["apiVersion"] != resource.storage_version.as_str() {
        if resource.is("events.k8s.io", "events") {
            to_core_event(&mut served);
        } else if is_first_autoscaler(resource) {
            from_first_autoscaler(&mut served);
        }
        served["apiVersion"] = resource.storage_version.clone().into();
    }
    served
}

/// An object of one version as another version of the same resource has it; null stays null.
pub(crate) fn between(from: &Resource, to: &Resource, object: &Value) -> Value {
    if object.is_null() {
        return Value::Null;
    }
    let stored = to_stored(from, object.clone());
    to_served(to, &stored).into_owned()
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

/// `autoscaling/v1` knows CPU utilisation only.
fn is_first_autoscaler(resource: &Resource) -> bool {
    resource.is("autoscaling", "horizontalpodautoscalers") && resource.version == "v1"
}

fn from_first_autoscaler(object: &mut Value) {
    let Some(Value::Object(spec)) = object.get_mut("spec") else {
        return;
    };
    let percent = spec
        .remove("targetCPUUtilizationPercentage")
        .unwrap_or_else(|| json!(80));
    let target = json!({ "type": "Utilization", "averageUtilization": percent });
    let metric = json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
    spec.insert("metrics".into(), json!([metric]));
}

fn to_first_autoscaler(object: &mut Value) {
    let Some(Value::Object(spec)) = object.get_mut("spec") else {
        return;
    };
    spec.remove("behavior");
    let metrics = spec.remove("metrics").unwrap_or_default();
    let mut metrics = metrics.as_array().into_iter().flatten();
    let cpu = metrics.find(|metric| metric["resource"]["name"] == "cpu");
    if let Some(percent) = cpu.map(|metric| &metric["resource"]["target"]["averageUtilization"])
        && percent.is_number()
    {
        spec.insert("targetCPUUtilizationPercentage".into(), percent.clone());
    }
    if let Some(Value::Object(status)) = object.get_mut("status") {
        status.remove("currentMetrics");
        status.remove("conditions");
    }
}
