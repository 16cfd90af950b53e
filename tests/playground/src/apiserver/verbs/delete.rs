//! DELETE of one object and of a collection.

use http::StatusCode;
use serde_json::{Value, json};

use super::read::Selection;
use super::{Call, respond};
use crate::apiserver::http::{Response, read_object, response};
use crate::apiserver::object;
use crate::apiserver::pipeline::{self, Deletion};
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::ObjectKey;

pub(super) async fn delete(call: &Call<'_>) -> ApiResult<Response> {
    let deletion = options(call)?;
    let deleted = pipeline::delete(call.api, &call.resource, &call.key(), &deletion, Some(call.request)).await?;
    // An object that waits for its finalizers is shown; one that is gone is only named.
    if deleted.gone && !matches!(call.resource.plural.as_str(), "pods" | "namespaces") {
        return Ok(response::json(
            StatusCode::OK,
            &success(call, object::uid(&deleted.last.value)),
        ));
    }
    Ok(respond(call, StatusCode::OK, &deleted.last.value))
}

pub(super) async fn delete_collection(call: &Call<'_>) -> ApiResult<Response> {
    let deletion = options(call)?;
    let (objects, revision) = Selection::of(call)?.list(call);
    let mut items = Vec::new();
    for stored in objects {
        let key = ObjectKey::new(object::namespace(&stored.value), object::name(&stored.value));
        match pipeline::delete(call.api, &call.resource, &key, &deletion, Some(call.request)).await {
            Ok(deleted) => items.push(deleted.last.value.clone()),
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({
        "kind": call.resource.list_kind(), "apiVersion": call.resource.api_version(),
        "metadata": { "resourceVersion": revision.to_string() }, "items": items,
    });
    Ok(response::json(StatusCode::OK, &list))
}

fn success(call: &Call<'_>, uid: &str) -> Value {
    let mut details = json!({ "name": call.name(), "kind": call.resource.plural, "uid": uid });
    if !call.resource.group.is_empty() {
        details["group"] = call.resource.group.clone().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Options from the body, else from the query.
fn options(call: &Call<'_>) -> ApiResult<Deletion> {
    let request = call.request;
    let body = if request.body.is_empty() {
        Value::Null
    } else {
        read_object(request)?
    };
    from_body(&body, request.dry_run()?, |name| request.query(name).map(str::to_owned))
}

/// Reads `DeleteOptions`.
pub(super) fn from_body(body: &Value, dry_run: bool, query: impl Fn(&str) -> Option<String>) -> ApiResult<Deletion> {
    let text = |name: &str| body[name].as_str().map(str::to_owned).or_else(|| query(name));
    let grace = body["gracePeriodSeconds"]
        .as_i64()
        .or_else(|| query("gracePeriodSeconds")?.parse().ok());
    let mut propagation = text("propagationPolicy");
    match body["orphanDependents"].as_bool() {
        Some(true) => propagation = Some("Orphan".into()),
        Some(false) => propagation = Some("Background".into()),
        None => {}
    }
    if let Some(other) = propagation
        .as_deref()
        .filter(|p| !matches!(*p, "Orphan" | "Background" | "Foreground"))
    {
        return Err(ApiError::bad_request(format!(
            "propagationPolicy: Unsupported value: \"{other}\""
        )));
    }
    Ok(Deletion {
        grace_seconds: grace.map(|seconds| seconds.max(0)),
        propagation,
        uid: body["preconditions"]["uid"].as_str().map(str::to_owned),
        resource_version: body["preconditions"]["resourceVersion"].as_str().map(str::to_owned),
        dry_run: dry_run || body["dryRun"][0] == "All",
    })
}
