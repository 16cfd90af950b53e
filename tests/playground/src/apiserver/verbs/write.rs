//! POST and PUT.

use http::StatusCode;
use serde_json::Value;

use super::{Call, respond};
use crate::apiserver::http::{Response, read_object};
use crate::apiserver::object;
use crate::apiserver::pipeline::{self, Strictness, Write};
use crate::apiserver::status::{ApiError, ApiResult};

pub(super) async fn create(call: &Call<'_>) -> ApiResult<Response> {
    let object = read_object(call.request)?;
    let write = Write::from_call(call, "Update")?;
    let created = pipeline::create(&write, object).await?;
    Ok(respond(call, StatusCode::CREATED, &created.value))
}

pub(super) async fn replace(call: &Call<'_>) -> ApiResult<Response> {
    let object = read_object(call.request)?;
    let name = object::name(&object);
    if !name.is_empty() && name != call.name() {
        let message = format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name()
        );
        return Err(ApiError::bad_request(message));
    }
    let write = Write::from_call(call, "Update")?;
    let updated = pipeline::update(&write, &|_: &Value| Ok(object.clone())).await?;
    Ok(respond(call, StatusCode::OK, &updated.value))
}

impl<'a> Write<'a> {
    /// What a request says about the write: who, how strictly, and whether for real.
    pub(crate) fn from_call(call: &'a Call<'a>, operation: &'static str) -> ApiResult<Self> {
        let strictness = match call.request.query("fieldValidation") {
            None | Some("Warn") => Strictness::Warn,
            Some("Ignore") => Strictness::Ignore,
            Some("Strict") => Strictness::Strict,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "invalid fieldValidation parameter: {other}"
                )));
            }
        };
        Ok(Self {
            call,
            strictness,
            dry_run: call.request.dry_run()?,
            manager: call.request.field_manager(),
            operation,
            force: call.request.flag("force") && call.request.query.contains_key("force"),
        })
    }
}
