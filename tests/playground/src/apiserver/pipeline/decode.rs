//! Reading what a client sent by the resource's schema.

use serde_json::Value;

use super::{Strictness, Write};
use crate::apiserver::registry::Resource;
use crate::apiserver::schema;
use crate::apiserver::status::{ApiError, ApiResult, FieldError};
use crate::apiserver::{builtin, object};

/// Decodes an object from a client: its kind must fit, unknown fields are dropped (or refused), values have their types.
pub(super) fn from_client(write: &Write<'_>, object: &mut Value) -> ApiResult<()> {
    let resource = write.resource();
    check_kind(resource, object)?;
    let unknown = by_schema(resource, object)?;
    if unknown.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match write.strictness {
        Strictness::Ignore => {}
        Strictness::Warn => shown.into_iter().for_each(|text| write.call.request.warn(text)),
        Strictness::Strict => {
            let what = format!(
                "{} in version \"{}\" cannot be handled as a {}: ",
                resource.kind, resource.version, resource.kind
            );
            let prefix = if resource.custom().is_some() {
                String::new()
            } else {
                what
            };
            return Err(ApiError::bad_request(format!(
                "{prefix}strict decoding error: {}",
                shown.join(", ")
            )));
        }
    }
    Ok(())
}

fn check_kind(resource: &Resource, object: &mut Value) -> ApiResult<()> {
    if !object.is_object() {
        return Err(ApiError::bad_request("the body of the request is not an object"));
    }
    let wanted = resource.api_version();
    let (kind, version) = (
        object["kind"].as_str().unwrap_or_default(),
        object["apiVersion"].as_str().unwrap_or_default(),
    );
    if (!kind.is_empty() && kind != resource.kind) || (!version.is_empty() && version != wanted) {
        let message = format!(
            "{kind} in version \"{version}\" cannot be handled as a {}: the API version in the data ({version}) does not match \
             the expected API version ({wanted})",
            resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    object["kind"] = resource.kind.clone().into();
    object["apiVersion"] = wanted.into();
    Ok(())
}

/// Prunes and normalises; answers the paths of fields that are not known.
pub(super) fn by_schema(resource: &Resource, object: &mut Value) -> ApiResult<Vec<String>> {
    let Some(shared) = &resource.schema else {
        return Ok(Vec::new());
    };
    let built_in = resource.custom().is_none();
    if built_in {
        builtin::decode_secret_strings(resource, object);
    }
    let decoded = schema::decode(shared.root(), object, built_in);
    if !decoded.mismatches.is_empty() && built_in {
        return Err(mismatch(
            resource,
            &decoded.mismatches[0].path,
            decoded.mismatches[0].expected,
            decoded.mismatches[0].found,
        ));
    }
    // Types of custom resources are judged by validation, which names every field that is wrong.
    if let Some(wrong) = decoded
        .mismatches
        .iter()
        .find(|wrong| wrong.path.starts_with("metadata"))
    {
        return Err(mismatch(resource, &wrong.path, wrong.expected, wrong.found));
    }
    if !object["metadata"].is_object() {
        object::metadata_mut(object);
    }
    Ok(decoded.unknown)
}

fn mismatch(resource: &Resource, path: &str, expected: &str, found: &str) -> ApiError {
    if expected == "quantity" {
        let error = FieldError::invalid(
            path,
            &Value::from(found),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        );
        return ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {error}",
            resource.kind, resource.version, resource.kind
        ));
    }
    ApiError::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: json: cannot unmarshal {found} into Go struct field {}.{path} of type {expected}",
        resource.kind, resource.version, resource.kind, resource.kind
    ))
}
