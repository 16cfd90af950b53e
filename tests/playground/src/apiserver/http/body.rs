//! Reading an object from the body of a request.

use serde_json::Value;

use super::{Request, protobuf};
use crate::apiserver::status::{ApiError, ApiResult};

/// The body as JSON, whether it was written as JSON, as YAML or in protocol buffers.
pub(crate) fn read_object(request: &Request) -> ApiResult<Value> {
    match request.content_type() {
        "application/json" | "application/yaml" | "" => parse(&request.body),
        "application/vnd.kubernetes.protobuf" => protobuf::read(&request.body).map_err(|why| {
            let accepted = "application/json, application/yaml";
            let mut error = ApiError::unsupported_media_type(accepted);
            error.message = format!("{} ({why})", error.message);
            error
        }),
        _ => Err(ApiError::unsupported_media_type("application/json, application/yaml")),
    }
}

/// Parses JSON, else YAML.
pub(crate) fn parse(body: &[u8]) -> ApiResult<Value> {
    let trouble = match serde_json::from_slice(body) {
        Ok(value) => return Ok(value),
        Err(trouble) => trouble,
    };
    // What begins like JSON is not YAML with a mistake in it.
    if matches!(
        body.iter().find(|byte| !byte.is_ascii_whitespace()),
        None | Some(b'{' | b'[')
    ) {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type JSON or YAML): {trouble}"
        )));
    }
    let text = std::str::from_utf8(body).map_err(ApiError::bad_yaml)?;
    serde_saphyr::from_str(text).map_err(ApiError::bad_yaml)
}

impl ApiError {
    fn bad_yaml(trouble: impl std::fmt::Display) -> Self {
        Self::bad_request(format!("error decoding YAML: {trouble}"))
    }
}
