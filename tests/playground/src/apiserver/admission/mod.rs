//! Admission.

pub(crate) mod quota;

use std::sync::Arc;

use serde_json::Value;

use super::api::Api;
use super::http::Request;
use super::identity::User;
use super::registry::Resource;
use super::status::ApiResult;

/// Caches.
#[derive(Default)]
pub(crate) struct Admission {}

/// What admission is told of a request.
pub(crate) struct Attributes<'a> {
    pub(crate) resource: &'a Resource,
    pub(crate) subresource: &'a str,
    pub(crate) kind: (String, String, String),
    pub(crate) operation: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) user: &'a User,
    pub(crate) dry_run: bool,
    pub(crate) old: Option<&'a Value>,
    pub(crate) options: Value,
}

pub(crate) async fn mutate(_: &Arc<Api>, _: &Request, _: &Attributes<'_>, _: &mut Value) -> ApiResult<bool> {
    Ok(false)
}

pub(crate) async fn validate(_: &Arc<Api>, _: &Request, _: &Attributes<'_>, _: Option<&Value>) -> ApiResult<()> {
    Ok(())
}
