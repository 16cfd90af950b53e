//! The forms of a patch.

mod apply;
mod merge;
mod strategic;

use serde_json::Value;

pub(crate) use apply::server_side_apply;
use merge::merge;

use super::http::body;
use super::schema::Schema;
use super::status::{ApiError, ApiResult};

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchForm {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchForm {
    pub(crate) fn of(content_type: &str) -> ApiResult<Self> {
        match content_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(ApiError::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
                 application/apply-patch+yaml",
            )),
        }
    }
}

/// Reads the patch itself.
pub(crate) fn parse(form: PatchForm, bytes: &[u8]) -> ApiResult<Value> {
    let patch = body::parse(bytes)?;
    let fits = if form == PatchForm::Json {
        patch.is_array()
    } else {
        patch.is_object()
    };
    if fits {
        Ok(patch)
    } else {
        Err(ApiError::bad_request(
            "error decoding patch: it has not the form that its media type names",
        ))
    }
}

/// Applies a JSON, merge or strategic merge patch.
pub(crate) fn apply(form: PatchForm, schema: Option<Schema<'_>>, current: &Value, patch: &Value) -> ApiResult<Value> {
    let mut object = current.clone();
    match form {
        PatchForm::Json => json(&mut object, patch)?,
        PatchForm::Strategic => strategic::merge(schema, &mut object, patch)?,
        PatchForm::Merge | PatchForm::Apply => merge(&mut object, patch),
    }
    Ok(object)
}

/// Applies RFC 6902 operations, all or none.
pub(crate) fn json(object: &mut Value, patch: &Value) -> ApiResult<()> {
    let invalid = |error: &dyn std::fmt::Display| {
        ApiError::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {error}"),
        )
    };
    let operations: json_patch::Patch =
        serde_json::from_value(patch.clone()).map_err(|error| ApiError::bad_request(error.to_string()))?;
    json_patch::patch(object, &operations).map_err(|error| invalid(&error))
}
