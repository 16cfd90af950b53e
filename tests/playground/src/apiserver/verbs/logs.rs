//! Logs of containers, from the hook that the nodes provide.

use http::StatusCode;
use serde_json::Value;

use super::Call;
use crate::apiserver::hooks::LogRequest;
use crate::apiserver::http::{Response, response};
use crate::apiserver::status::{ApiError, ApiResult};

pub(super) fn read(call: &Call<'_>) -> ApiResult<Response> {
    let pod = call.current()?;
    let source = call
        .api
        .hooks
        .logs()
        .ok_or_else(|| ApiError::bad_request("this cluster keeps no logs"))?;
    let request = LogRequest {
        namespace: call.namespace().to_owned(),
        pod: call.name().to_owned(),
        container: container(call, &pod.value)?,
        tail_lines: call.request.query("tailLines").and_then(|lines| lines.parse().ok()),
        previous: call.request.query("previous") == Some("true"),
    };
    let log = source.log(&request).ok_or_else(|| {
        let message = format!(
            "container \"{}\" in pod \"{}\" has no log",
            request.container, request.pod
        );
        ApiError::bad_request(message)
    })?;
    Ok(response::with_type(StatusCode::OK, "text/plain", log))
}

/// The container that is named, or the only one.
fn container(call: &Call<'_>, pod: &Value) -> ApiResult<String> {
    let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array().into_iter().flatten());
    let names: Vec<&str> = lists
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str())
        .collect();
    if let Some(name) = call.request.query("container") {
        return match names.contains(&name) {
            true => Ok(name.to_owned()),
            false => Err(ApiError::bad_request(format!(
                "container {name} is not valid for pod {}",
                call.name()
            ))),
        };
    }
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => {
            let list = names.join(" ");
            Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{list}]",
                call.name()
            )))
        }
    }
}
