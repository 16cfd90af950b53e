//! Which function answers a path.

use std::sync::Arc;

use http::StatusCode;

use super::{Request, Response, Target, response};
use crate::apiserver::api::Api;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::{discovery, openapi, verbs};

/// Answers any request.
pub(crate) async fn answer(api: &Arc<Api>, request: &Request) -> Response {
    match route(api, request).await {
        Ok(response) => response,
        Err(error) => response::failure(&error),
    }
}

async fn route(api: &Arc<Api>, request: &Request) -> ApiResult<Response> {
    if let Some(target) = Target::parse(&request.path) {
        return verbs::dispatch(api, request, target).await;
    }
    let served = api.registry.served();
    let path = request.path.trim_end_matches('/');
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", ..] => {
            Ok(response::with_type(StatusCode::OK, "text/plain; charset=utf-8", "ok"))
        }
        ["version"] => Ok(response::json(StatusCode::OK, &discovery::version())),
        ["api" | "apis"] if request.accepted.aggregated_discovery => {
            Ok(discovery::aggregated(&served, parts[0] == "api"))
        }
        ["api"] => Ok(response::json(StatusCode::OK, &discovery::core_versions(api.address))),
        ["apis"] => Ok(response::json(StatusCode::OK, &discovery::groups(&served))),
        ["apis", group] => found(discovery::group(&served, group)),
        ["api", version] => found(discovery::resources(&served, "", version)),
        ["apis", group, version] => found(discovery::resources(&served, group, version)),
        ["openapi", "v3"] => Ok(response::json(StatusCode::OK, &openapi::index(&served))),
        ["openapi", "v3", "api", version] => openapi::document(api, "", version),
        ["openapi", "v3", "apis", group, version] => openapi::document(api, group, version),
        _ => Err(ApiError::no_such_resource()),
    }
}

fn found(document: Option<serde_json::Value>) -> ApiResult<Response> {
    let document = document.ok_or_else(ApiError::no_such_resource)?;
    Ok(response::json(StatusCode::OK, &document))
}
