//! Logs of containers, from the hook that the nodes provide.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use super::Call;
use crate::apiserver::api::Api;
use crate::apiserver::hooks::{ContainerLogs, LogRequest};
use crate::apiserver::http::{Response, response};
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::ObjectKey;

/// How often a log that is followed is read anew.
const POLL: Duration = Duration::from_millis(300);

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
    if call.request.query("follow") == Some("true") {
        return Ok(following(call.api.clone(), source, request, log));
    }
    Ok(response::with_type(StatusCode::OK, "text/plain", log))
}

/// The log so far and then what is added to it, for as long as the pod exists.
fn following(api: Arc<Api>, source: Arc<dyn ContainerLogs>, mut request: LogRequest, first: String) -> Response {
    request.tail_lines = None;
    let seen = source.log(&request).map_or(0, |log| log.len());
    let added = stream::unfold((api, source, request, seen), async |(api, source, request, seen)| {
        loop {
            tokio::time::sleep(POLL).await;
            let pod = ObjectKey::new(&request.namespace, &request.pod);
            api.store.get(&api.core("pods"), &pod)?;
            let log = source.log(&request).unwrap_or_default();
            // A log that became shorter is that of a container that was started anew.
            let new = log.get(seen..).unwrap_or(&log).to_owned();
            if !new.is_empty() {
                return Some((Bytes::from(new), (api, source, request, log.len())));
            }
        }
    });
    let frames = stream::iter([Bytes::from(first)]).chain(added);
    let body = StreamBody::new(frames.map(|text| Ok::<_, Infallible>(Frame::data(text))));
    let mut response = http::Response::new(body.boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
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
