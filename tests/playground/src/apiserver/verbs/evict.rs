//! Eviction, which PodDisruptionBudgets can refuse, and binding.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Call, delete};
use crate::apiserver::admission::{self, Attributes};
use crate::apiserver::http::{Response, read_object, response};
use crate::apiserver::object;
use crate::apiserver::pipeline;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{LabelSelector, Stored};

pub(super) async fn evict(call: &Call<'_>) -> ApiResult<Response> {
    let mut eviction = read_object(call.request)?;
    let stored = call.current()?;
    let dry_run = call.request.dry_run()?;
    let attributes = Attributes {
        resource: &call.resource,
        requested: None,
        subresource: "eviction",
        kind: ("policy".into(), "v1".into(), "Eviction".into()),
        operation: "CREATE",
        namespace: call.namespace(),
        name: call.name(),
        user: &call.request.user,
        dry_run,
        old: None,
        options: json!({ "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" }),
    };
    admission::mutate(call.api, call.request, &attributes, &mut eviction).await?;
    admission::validate(call.api, call.request, &attributes, Some(&eviction)).await?;
    let finished = matches!(
        stored.value["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed" | "Pending")
    );
    if !finished && !object::is_deleting(&stored.value) {
        budgets_allow(call, &stored)?;
    }
    let deletion = delete::from_body(&eviction["deleteOptions"], dry_run, |_| None)?;
    pipeline::delete(call.api, &call.resource, &call.key(), &deletion, Some(call.request)).await?;
    let success = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Ok(response::json(StatusCode::CREATED, &success))
}

/// Refuses with 429 what a budget does not allow now.
fn budgets_allow(call: &Call<'_>, pod: &Stored) -> ApiResult<()> {
    let key = crate::apiserver::store::ResourceKey::new("policy", "poddisruptionbudgets");
    let (budgets, _) = call.api.store.list(&key, Some(call.namespace()));
    let (pods, _) = call.api.store.list(&call.resource.key, Some(call.namespace()));
    for budget in budgets {
        let selector = LabelSelector::from_object(&budget.value["spec"]["selector"]);
        if !selector.matches(&pod.value["metadata"]["labels"]) {
            continue;
        }
        let selected: Vec<&Value> = pods
            .iter()
            .map(|pod| &pod.value)
            .filter(|pod| selector.matches(&pod["metadata"]["labels"]))
            .collect();
        let healthy = selected.iter().filter(|pod| is_healthy(pod)).count() as i64;
        let desired = desired_healthy(&budget.value["spec"], selected.len() as i64);
        // A pod that is not healthy takes nothing from the budget while enough others are.
        if !is_healthy(&pod.value) && healthy >= desired {
            continue;
        }
        if healthy - 1 < desired {
            let name = object::name(&budget.value);
            let why = format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
            let error =
                ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10);
            return Err(error.with_cause("DisruptionBudget", "", &why));
        }
    }
    Ok(())
}

fn is_healthy(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions
        .filter(|condition| condition["type"] == "Ready")
        .any(|condition| condition["status"] == "True");
    ready && !object::is_deleting(pod)
}

/// How many pods must stay healthy. Percentages are of the pods that the budget selects now, rounded up.
fn desired_healthy(spec: &Value, expected: i64) -> i64 {
    let amount = |value: &Value| match value {
        Value::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            Some((expected * percent + 99) / 100)
        }
        other => other.as_i64(),
    };
    match (amount(&spec["minAvailable"]), amount(&spec["maxUnavailable"])) {
        (Some(least), _) => least,
        (None, Some(most)) => (expected - most).max(0),
        (None, None) => 0,
    }
}

/// Binds a pod to a node, as a scheduler does.
pub(super) async fn bind(call: &Call<'_>) -> ApiResult<Response> {
    let binding = read_object(call.request)?;
    let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
    loop {
        let stored = call.current()?;
        if stored.value["spec"]["nodeName"]
            .as_str()
            .is_some_and(|node| !node.is_empty())
        {
            let why = format!(
                "pod {} is already assigned to node {}",
                call.name(),
                stored.value["spec"]["nodeName"]
            );
            return Err(ApiError::conflict("", "pods/binding", call.name(), &why));
        }
        let mut next = stored.value.clone();
        next["spec"]["nodeName"] = node.clone().into();
        if call.api.store.update(&call.resource.key, next, stored.revision).is_ok() {
            let success =
                json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
            return Ok(response::json(StatusCode::CREATED, &success));
        }
    }
}
