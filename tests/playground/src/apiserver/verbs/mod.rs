//! What can be done with a resource: one module for each verb.

mod delete;
mod evict;
mod logs;
mod metrics;
mod patch;
mod read;
mod reviews;
mod scale;
mod watch;
mod write;

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::Value;

use super::api::Api;
use super::authorisation;
use super::convert;
use super::http::{Request, Response, Target, response};
use super::object;
use super::registry::{Backing, Resource};
use super::status::{ApiError, ApiResult};
use super::store::{ObjectKey, Stored};
use super::table;

/// A request together with what it is about.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Arc<Api>,
    pub(crate) request: &'a Request,
    pub(crate) resource: Arc<Resource>,
    pub(crate) target: Target,
}

impl Call<'_> {
    pub(crate) fn namespace(&self) -> &str {
        self.target.namespace.as_deref().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace(), self.name())
    }

    pub(crate) fn subresource(&self) -> &str {
        self.target.subresource.as_deref().unwrap_or_default()
    }

    /// The object that the path names.
    pub(crate) fn current(&self) -> ApiResult<Arc<Stored>> {
        self.api
            .store
            .get(&self.resource.key, &self.key())
            .ok_or_else(|| self.not_found())
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.group, &self.resource.plural, self.name())
    }
}

/// Answers a request for a resource.
pub(crate) async fn dispatch(api: &Arc<Api>, request: &Request, mut target: Target) -> ApiResult<Response> {
    authorisation::check(api, request, &target)?;
    // The old form of watching, /api/v1/watch/..., is not served.
    let found = api.resource(&target.group, &target.version, &target.plural);
    let resource = found.ok_or_else(ApiError::no_such_resource)?;
    if resource.namespaced && target.namespace.is_none() && (target.name.is_some() || request.method == Method::POST) {
        let review = matches!(resource.backing, Backing::Review);
        if !review {
            return Err(ApiError::no_such_resource());
        }
    }
    if !resource.namespaced && target.namespace.take().is_some() {
        return Err(ApiError::no_such_resource());
    }
    let call = Call {
        api,
        request,
        resource,
        target,
    };
    match call.resource.backing {
        Backing::Review => reviews::create(&call),
        Backing::Computed => metrics::read(&call),
        Backing::Stored | Backing::Custom(_) => stored(&call).await,
    }
}

async fn stored(call: &Call<'_>) -> ApiResult<Response> {
    if call.target.subresource.is_some() {
        return subresource(call).await;
    }
    let method = &call.request.method;
    match (method, call.target.name.is_some()) {
        (&Method::GET, true) => read::get(call),
        (&Method::GET, false) if call.request.flag("watch") => watch::watch(call),
        (&Method::GET, false) => read::list(call),
        (&Method::POST, false) => write::create(call).await,
        (&Method::PUT, true) => write::replace(call).await,
        (&Method::PATCH, true) => patch::patch(call).await,
        (&Method::DELETE, true) => delete::delete(call).await,
        (&Method::DELETE, false) => delete::delete_collection(call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn subresource(call: &Call<'_>) -> ApiResult<Response> {
    let name = call.subresource();
    let known = match name {
        "status" => call.resource.status,
        "scale" => call.resource.scale.is_some(),
        name => call.resource.subresources.iter().any(|(known, _)| *known == name),
    };
    if !known {
        return Err(ApiError::no_such_resource());
    }
    let method = &call.request.method;
    match (name, method) {
        ("scale", _) => scale::answer(call).await,
        ("eviction", &Method::POST) => evict::evict(call).await,
        ("binding", &Method::POST) => evict::bind(call).await,
        ("log", &Method::GET) => logs::read(call),
        ("token", &Method::POST) => reviews::token(call),
        ("eviction" | "binding" | "log" | "token", _) => Err(ApiError::method_not_allowed()),
        (_, &Method::GET) => read::get(call),
        (_, &Method::PUT) => write::replace(call).await,
        (_, &Method::PATCH) => patch::patch(call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Answers with an object in the form that the client accepts.
pub(crate) fn respond(call: &Call<'_>, status: StatusCode, stored: &Value) -> Response {
    let served = convert::to_served(&call.resource, stored);
    let accepted = call.request.accepted;
    if accepted.table {
        let list = [served.as_ref()];
        let include = table::Include::from_query(call.request.query("includeObject"));
        let table = table::table(&call.resource, &list, include, object::meta(&served, "resourceVersion"));
        return response::json(status, &table);
    }
    if accepted.metadata_only {
        return response::json(status, &read::metadata_only(&served));
    }
    if accepted.yaml {
        let text = serde_saphyr::to_string(served.as_ref()).unwrap_or_default();
        return response::with_type(status, "application/yaml", text);
    }
    response::json(status, &served)
}
