//! Reviews, answered at once: they say that everybody may do everything here, and tokens are this server's own.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Call;
use crate::apiserver::http::{Response, read_object, response};
use crate::apiserver::identity::User;
use crate::apiserver::object;
use crate::apiserver::status::{ApiError, ApiResult};

pub(super) fn create(call: &Call<'_>) -> ApiResult<Response> {
    if call.request.method != Method::POST {
        return Err(ApiError::method_not_allowed());
    }
    let mut review = read_object(call.request)?;
    review["kind"] = call.resource.kind.clone().into();
    review["apiVersion"] = call.resource.api_version().into();
    object::metadata_mut(&mut review).insert("creationTimestamp".into(), Value::Null);
    review["status"] = match call.resource.kind.as_str() {
        "TokenReview" => token_review(call, &review),
        "SelfSubjectReview" => json!({ "userInfo": user_info(&call.request.user) }),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            "incomplete": false,
        }),
        _ => json!({ "allowed": true }),
    };
    Ok(response::json(StatusCode::CREATED, &review))
}

fn user_info(user: &User) -> Value {
    json!({ "username": user.name, "groups": user.groups })
}

fn token_review(call: &Call<'_>, review: &Value) -> Value {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    match call.api.tokens.user(token) {
        Some(user) => json!({ "authenticated": true, "user": user_info(&user) }),
        None => json!({ "authenticated": false, "error": "the token was not issued by this server" }),
    }
}

/// A token for a ServiceAccount.
pub(super) fn token(call: &Call<'_>) -> ApiResult<Response> {
    call.current()?;
    let mut request = read_object(call.request)?;
    let user = User::service_account(call.namespace(), call.name());
    let lifetime = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let expires = jiff::Timestamp::now().saturating_add(jiff::SignedDuration::from_secs(lifetime));
    let expires = expires.unwrap_or(jiff::Timestamp::MAX);
    request["kind"] = "TokenRequest".into();
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["status"] =
        json!({ "token": call.api.tokens.issue(&user), "expirationTimestamp": object::timestamp(expires) });
    Ok(response::json(StatusCode::CREATED, &request))
}
