//! PATCH in its four forms.

use http::StatusCode;
use serde_json::Value;

use super::{Call, respond};
use crate::apiserver::convert;
use crate::apiserver::http::Response;
use crate::apiserver::object;
use crate::apiserver::patch::{self, PatchForm};
use crate::apiserver::pipeline::{self, Write};
use crate::apiserver::status::{ApiError, ApiResult};

pub(super) async fn patch(call: &Call<'_>) -> ApiResult<Response> {
    let form = PatchForm::of(call.request.content_type())?;
    let body = patch::parse(form, &call.request.body)?;
    if form == PatchForm::Apply {
        return apply(call, body).await;
    }
    if form == PatchForm::Strategic && call.resource.custom().is_some() {
        return Err(ApiError::unsupported_media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ));
    }
    let write = Write::from_call(call, "Update")?;
    let transform = |current: &Value| {
        let served = convert::to_served(&call.resource, current);
        let schema = call.resource.schema.as_ref().map(|schema| schema.root());
        patch::apply(form, schema, &served, &body)
    };
    let updated = pipeline::update(&write, &transform).await?;
    Ok(respond(call, StatusCode::OK, &updated.value))
}

async fn apply(call: &Call<'_>, mut body: Value) -> ApiResult<Response> {
    if call.request.query("fieldManager").is_none() {
        let message =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(ApiError::new(422, "Invalid", message).with_cause(
            "FieldValueRequired",
            "fieldManager",
            "Required value",
        ));
    }
    let name = object::name(&body);
    if !name.is_empty() && name != call.name() {
        return Err(ApiError::bad_request(
            "metadata.name does not match the name on the URL",
        ));
    }
    if body["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    object::metadata_mut(&mut body).insert("name".into(), call.name().into());
    if call.resource.namespaced {
        object::metadata_mut(&mut body).insert("namespace".into(), call.namespace().into());
    }
    let write = Write::from_call(call, "Apply")?;
    let exists = call.api.store.get(&call.resource.key, &call.key()).is_some();
    if !exists && call.subresource().is_empty() {
        let created = pipeline::create(&write, body).await?;
        return Ok(respond(call, StatusCode::CREATED, &created.value));
    }
    let updated = pipeline::apply(&write, &body).await?;
    Ok(respond(call, StatusCode::OK, &updated.value))
}
