//! The scale subresource: a small object of its own, of which the replica count is written through.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Call;
use crate::apiserver::admission::{self, Attributes};
use crate::apiserver::http::{Response, read_object, response};
use crate::apiserver::object;
use crate::apiserver::patch::{self, PatchForm};
use crate::apiserver::pipeline::{self, Write};
use crate::apiserver::registry::ScalePaths;
use crate::apiserver::status::{ApiError, ApiResult, FieldError};
use crate::apiserver::store::LabelSelector;

/// How often a write is tried anew when others write at the same time.
const ATTEMPTS: usize = 8;

pub(super) async fn answer(call: &Call<'_>) -> ApiResult<Response> {
    let paths = call.resource.scale.clone().ok_or_else(ApiError::no_such_resource)?;
    match call.request.method {
        Method::GET => Ok(response::json(StatusCode::OK, &scale(&paths, &call.current()?.value))),
        Method::PUT => {
            let sent = read_object(call.request)?;
            change(call, &paths, &|_: &Value| Ok(sent.clone())).await
        }
        Method::PATCH => {
            let form = PatchForm::of(call.request.content_type())?;
            let body = patch::parse(form, &call.request.body)?;
            change(call, &paths, &|current: &Value| {
                let form = if form == PatchForm::Apply {
                    PatchForm::Merge
                } else {
                    form
                };
                patch::apply(form, None, current, &body)
            })
            .await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// The scale of a workload. `spec.replicas` is left out at 0, as the Go type leaves it out.
fn scale(paths: &ScalePaths, workload: &Value) -> Value {
    let count = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let metadata = &workload["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": { "replicas": count(&paths.status_replicas) },
    });
    if count(&paths.replicas) != 0 {
        scale["spec"]["replicas"] = count(&paths.replicas).into();
    }
    if let Some(selector) = paths.selector.as_deref().and_then(|pointer| workload.pointer(pointer)) {
        scale["status"]["selector"] = match selector {
            Value::String(text) => text.clone().into(),
            object => LabelSelector::from_object(object).to_string().into(),
        };
    }
    scale
}

type Transform<'a> = dyn Fn(&Value) -> ApiResult<Value> + Send + Sync + 'a;

async fn change(call: &Call<'_>, paths: &ScalePaths, transform: &Transform<'_>) -> ApiResult<Response> {
    let mut outcome = attempt(call, paths, transform).await;
    for _ in 1..ATTEMPTS {
        match &outcome {
            Err(error) if error.reason == "Conflict" && call.request.method == Method::PATCH => {
                outcome = attempt(call, paths, transform).await;
            }
            _ => break,
        }
    }
    outcome
}

async fn attempt(call: &Call<'_>, paths: &ScalePaths, transform: &Transform<'_>) -> ApiResult<Response> {
    let write = Write::from_call(call, "Update")?;
    let stored = call.current()?;
    let old = scale(paths, &stored.value);
    let mut new = transform(&old)?;
    let named = object::meta(&new, "resourceVersion").to_owned();
    if !named.is_empty() && named != stored.revision.to_string() {
        return Err(ApiError::modified(
            &call.resource.group,
            &call.resource.plural,
            call.name(),
        ));
    }
    keep_identity(&old, &mut new);
    let attributes = Attributes {
        resource: &call.resource,
        requested: None,
        subresource: "scale",
        kind: ("autoscaling".into(), "v1".into(), "Scale".into()),
        operation: "UPDATE",
        namespace: call.namespace(),
        name: call.name(),
        user: &call.request.user,
        dry_run: write.dry_run,
        old: Some(&old),
        options: write.options("UPDATE"),
    };
    let asked = replicas(call, &new)?;
    admission::mutate(call.api, call.request, &attributes, &mut new).await?;
    let admitted = replicas(call, &new)?;
    admission::validate(call.api, call.request, &attributes, Some(&new)).await?;
    let expected = stored.revision.to_string();
    let changed = pipeline::set_replicas(&write, paths, asked, admitted, &expected)?;
    Ok(response::json(StatusCode::OK, &scale(paths, &changed.value)))
}

fn keep_identity(old: &Value, new: &mut Value) {
    for field in ["kind", "apiVersion", "metadata", "status"] {
        new[field] = old[field].clone();
    }
    if !new["spec"].is_object() {
        new["spec"] = json!({});
    }
}

/// Absent means 0.
fn replicas(call: &Call<'_>, scale: &Value) -> ApiResult<i64> {
    let asked = &scale["spec"]["replicas"];
    match asked.as_i64() {
        Some(count) if count >= 0 => Ok(count),
        None if asked.is_null() => Ok(0),
        _ => {
            let error = FieldError::invalid("spec.replicas", asked, "must be greater than or equal to 0");
            Err(ApiError::invalid("autoscaling", "Scale", call.name(), &[error]))
        }
    }
}
