//! Admission: limit ranges, mutating webhooks, validating webhooks, quotas.

mod configuration;
mod connection;
mod expressions;
mod limits;
mod matching;
mod mutating;
pub(crate) mod quota;
mod review;
mod validating;

use std::sync::Arc;

pub(crate) use expressions::compile as compile_expression;

use serde_json::Value;

use super::api::Api;
use super::http::Request;
use super::identity::User;
use super::registry::Resource;
use super::status::ApiResult;

/// What admission keeps between requests: compiled configurations, and connections to webhooks.
#[derive(Default)]
pub(crate) struct Admission {
    configurations: configuration::Cache,
    connections: connection::Pool,
    quota: parking_lot::Mutex<()>,
}

/// What admission is told of a request.
#[derive(Clone)]
pub(crate) struct Attributes<'a> {
    pub(crate) resource: &'a Resource,
    /// The resource as the client named it, when a webhook sees it in another version.
    pub(crate) requested: Option<&'a Resource>,
    /// Empty for the resource itself.
    pub(crate) subresource: &'a str,
    /// Group, version and kind of the object, which for a subresource may be another kind.
    pub(crate) kind: (String, String, String),
    /// `CREATE`, `UPDATE` or `DELETE`.
    pub(crate) operation: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) user: &'a User,
    pub(crate) dry_run: bool,
    pub(crate) old: Option<&'a Value>,
    /// Options of the operation, as the review carries them.
    pub(crate) options: Value,
}

impl Attributes<'_> {
    fn is(&self, group: &str, plural: &str, subresource: &str) -> bool {
        self.resource.is(group, plural) && self.subresource == subresource
    }
}

/// Lets everything that changes objects have its say; whether the object is another one afterwards.
pub(crate) async fn mutate(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> ApiResult<bool> {
    let mut changed = limits::default(api, attributes, object);
    changed |= mutating::call(api, request, attributes, object).await?;
    // A webhook may have added containers.
    changed |= limits::default(api, attributes, object);
    Ok(changed)
}

/// Lets everything that only refuses have its say. `object` is absent for a deletion.
pub(crate) async fn validate(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> ApiResult<()> {
    if let Some(object) = object {
        limits::check(api, attributes, object)?;
    }
    validating::call(api, request, attributes, object).await
}
