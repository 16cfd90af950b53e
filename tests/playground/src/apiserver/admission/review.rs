//! AdmissionReview: the question, and reading the answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::Attributes;
use crate::apiserver::object;
use crate::apiserver::status::{ApiError, ApiResult};

/// The request without its objects; `uid` differs for each webhook.
pub(super) fn request(attributes: &Attributes<'_>, uid: &str) -> Value {
    let resource = attributes.resource;
    let (group, version, kind) = &attributes.kind;
    let kind = json!({ "group": group, "version": version, "kind": kind });
    let plural = json!({ "group": resource.group, "version": resource.version, "resource": resource.plural });
    let (requested_kind, requested_plural) = match attributes.requested {
        Some(sent) => (
            json!({ "group": sent.group, "version": sent.version, "kind": sent.kind }),
            json!({ "group": sent.group, "version": sent.version, "resource": sent.plural }),
        ),
        None => (kind.clone(), plural.clone()),
    };
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": plural,
        "requestKind": requested_kind,
        "requestResource": requested_plural,
        "operation": attributes.operation,
        "userInfo": { "username": attributes.user.name, "groups": attributes.user.groups },
        "object": null,
        "oldObject": null,
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    for (field, text) in [("name", attributes.name), ("namespace", attributes.namespace)] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    if !attributes.subresource.is_empty() {
        request["subResource"] = attributes.subresource.into();
        request["requestSubResource"] = attributes.subresource.into();
    }
    request
}

/// The whole question.
pub(super) fn question(mut request: Value, object: &Value, old: Option<&Value>) -> Value {
    request["object"] = object.clone();
    request["oldObject"] = old.cloned().unwrap_or_default();
    json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request })
}

/// What a webhook answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) status: Value,
    /// JSON Patch operations.
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
}

/// Reads an answer; everything that kube-apiserver insists on is insisted on.
pub(super) fn read(body: &[u8], uid: &str) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
    if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
            review["apiVersion"], review["kind"]
        ));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    if response["uid"] != uid {
        return Err(format!("expected response.uid=\"{uid}\", got {}", response["uid"]));
    }
    let patch = match response["patch"].as_str().filter(|patch| !patch.is_empty()) {
        None => None,
        Some(_) if response["patchType"] != "JSONPatch" => {
            return Err("webhook returned response.patch but not response.patchType=JSONPatch".into());
        }
        Some(encoded) => {
            let bytes = BASE64
                .decode(encoded)
                .map_err(|error| format!("response.patch is not base64: {error}"))?;
            Some(serde_json::from_slice(&bytes).map_err(|error| format!("response.patch is not JSON: {error}"))?)
        }
    };
    Ok(Answer {
        allowed: response["allowed"] == true,
        status: response["status"].clone(),
        patch,
        warnings: object::strings(&response["warnings"]),
    })
}

/// The error that a refusal becomes.
pub(super) fn refusal(webhook: &str, status: &Value) -> ApiError {
    let code = status["code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| *code >= 400);
    let mut message = format!("admission webhook \"{webhook}\" denied the request");
    match (status["message"].as_str(), status["reason"].as_str()) {
        (Some(text), _) if !text.is_empty() => message.push_str(&format!(": {text}")),
        (_, Some(reason)) if !reason.is_empty() => message.push_str(&format!(": {reason}")),
        _ => message.push_str(" without explanation"),
    }
    let mut error = ApiError::new(
        code.unwrap_or(400),
        status["reason"].as_str().unwrap_or_default(),
        message,
    );
    error.details = status["details"].clone();
    error
}

/// What becomes of a webhook that could not be asked: refused, or passed over with a warning in the log.
pub(super) fn failed(webhook: &str, fails_closed: bool, why: &str) -> ApiResult<()> {
    if fails_closed {
        return Err(ApiError::internal(format!(
            "failed calling webhook \"{webhook}\": {why}"
        )));
    }
    tracing::warn!(
        webhook,
        why,
        "a webhook could not be asked; its failure policy is Ignore"
    );
    Ok(())
}
