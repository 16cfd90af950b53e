//! `metrics.k8s.io`: usage from the hook that the nodes provide, with the labels of the objects that it is about.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Call;
use crate::apiserver::hooks::{ContainerUsage, NodeUsage, PodUsage};
use crate::apiserver::http::{Response, response};
use crate::apiserver::object;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{LabelSelector, ObjectKey};
use crate::apiserver::table;

pub(super) fn read(call: &Call<'_>) -> ApiResult<Response> {
    if call.request.method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    let selector = LabelSelector::parse(call.request.query("labelSelector").unwrap_or_default())?;
    let mut items = if call.resource.plural == "nodes" {
        nodes(call)
    } else {
        pods(call)
    };
    items.retain(|item| selector.matches(&item["metadata"]["labels"]));
    if let Some(name) = &call.target.name {
        let found = items
            .into_iter()
            .find(|item| object::name(item) == name)
            .ok_or_else(|| call.not_found())?;
        return Ok(response::json(StatusCode::OK, &found));
    }
    if call.request.accepted.table {
        let objects: Vec<&Value> = items.iter().collect();
        let include = table::Include::from_query(call.request.query("includeObject"));
        return Ok(response::json(
            StatusCode::OK,
            &table::table(&call.resource, &objects, include, ""),
        ));
    }
    let list = json!({
        "kind": call.resource.list_kind(), "apiVersion": call.resource.api_version(), "metadata": {}, "items": items,
    });
    Ok(response::json(StatusCode::OK, &list))
}

fn pods(call: &Call<'_>) -> Vec<Value> {
    let Some(source) = call.api.hooks.usage() else {
        return Vec::new();
    };
    let wanted = |pod: &PodUsage| {
        call.target
            .namespace
            .as_deref()
            .is_none_or(|namespace| namespace == pod.namespace)
    };
    source
        .pods()
        .iter()
        .filter(|pod| wanted(pod))
        .filter_map(|pod| pod_item(call, pod))
        .collect()
}

/// Usage of a pod that still exists.
fn pod_item(call: &Call<'_>, usage: &PodUsage) -> Option<Value> {
    let key = ObjectKey::new(&usage.namespace, &usage.name);
    let pod = call.api.store.get(&call.api.core("pods"), &key)?;
    let containers: Vec<Value> = usage.containers.iter().map(container).collect();
    let mut item = json!({
        "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {
            "name": usage.name, "namespace": usage.namespace,
            "creationTimestamp": object::timestamp(usage.timestamp),
        },
        "timestamp": object::timestamp(usage.timestamp),
        "window": window(usage.window),
        "containers": containers,
    });
    object::set_or_remove(&mut item["metadata"], "labels", pod.value["metadata"]["labels"].clone());
    Some(item)
}

fn container(usage: &ContainerUsage) -> Value {
    json!({ "name": usage.name, "usage": amounts(usage.cpu_cores, usage.memory_bytes) })
}

/// CPU in billionths of a core and memory in Ki, as metrics-server writes them.
fn amounts(cpu_cores: f64, memory_bytes: u64) -> Value {
    json!({ "cpu": format!("{:.0}n", (cpu_cores * 1e9).max(0.0)), "memory": format!("{}Ki", memory_bytes / 1024) })
}

fn window(window: std::time::Duration) -> String {
    format!("{:.3}s", window.as_secs_f64())
}

fn nodes(call: &Call<'_>) -> Vec<Value> {
    let Some(source) = call.api.hooks.usage() else {
        return Vec::new();
    };
    source
        .nodes()
        .iter()
        .filter_map(|usage| node_item(call, usage))
        .collect()
}

fn node_item(call: &Call<'_>, usage: &NodeUsage) -> Option<Value> {
    let node = call
        .api
        .store
        .get(&call.api.core("nodes"), &ObjectKey::new("", &usage.name))?;
    let mut item = json!({
        "kind": "NodeMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": { "name": usage.name, "creationTimestamp": object::timestamp(usage.timestamp) },
        "timestamp": object::timestamp(usage.timestamp),
        "window": window(usage.window),
        "usage": amounts(usage.cpu_cores, usage.memory_bytes),
    });
    object::set_or_remove(
        &mut item["metadata"],
        "labels",
        node.value["metadata"]["labels"].clone(),
    );
    Some(item)
}
