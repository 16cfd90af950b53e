//! GET of one object and of a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::{BufMut, BytesMut};
use http::StatusCode;
use serde_json::{Value, json};

use super::Call;
use crate::apiserver::convert;
use crate::apiserver::http::{Response, response};
use crate::apiserver::registry::Resource;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{FieldSelector, LabelSelector, ObjectKey, Stored};
use crate::apiserver::table;

pub(super) fn get(call: &Call<'_>) -> ApiResult<Response> {
    Ok(super::respond(call, StatusCode::OK, &call.current()?.value))
}

/// What a list or a watch is restricted to.
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    offered: BTreeMap<String, String>,
}

impl Selection {
    pub(super) fn of(call: &Call<'_>) -> ApiResult<Self> {
        let labels = LabelSelector::parse(call.request.query("labelSelector").unwrap_or_default())?;
        let fields = FieldSelector::parse(call.request.query("fieldSelector").unwrap_or_default())?;
        let offered = call.resource.fields.clone();
        fields.check(&offered)?;
        Ok(Self {
            labels,
            fields,
            offered,
        })
    }

    /// Whether an object, as the resource stores it, is selected.
    pub(super) fn matches(&self, resource: &Resource, stored: &Value) -> bool {
        let labels = self.labels.is_empty() || self.labels.matches(&stored["metadata"]["labels"]);
        let fields = self.fields.is_empty()
            || self
                .fields
                .matches(&convert::to_served(resource, stored), &self.offered);
        labels && fields
    }

    /// Objects of a list; a selector for one name does not need the rest.
    pub(super) fn list(&self, call: &Call<'_>) -> (Vec<Arc<Stored>>, u64) {
        let (store, key) = (&call.api.store, &call.resource.key);
        let namespace = call.target.namespace.as_deref();
        let (mut objects, revision) = match (self.fields.exact_name(), namespace, call.resource.namespaced) {
            (Some(name), Some(namespace), _) => one(store.get(key, &ObjectKey::new(namespace, name)), store.revision()),
            (Some(name), None, false) => one(store.get(key, &ObjectKey::new("", name)), store.revision()),
            _ => store.list(key, namespace),
        };
        objects.retain(|stored| self.matches(&call.resource, &stored.value));
        (objects, revision)
    }
}

fn one(found: Option<Arc<Stored>>, revision: u64) -> (Vec<Arc<Stored>>, u64) {
    (found.into_iter().collect(), revision)
}

pub(super) fn list(call: &Call<'_>) -> ApiResult<Response> {
    let selection = Selection::of(call)?;
    let (objects, revision) = selection.list(call);
    let (page, metadata) = page(call, objects, revision)?;
    if call.request.accepted.table {
        return Ok(list_table(call, &page, &metadata));
    }
    if call.request.accepted.metadata_only {
        let items: Vec<Value> = page.iter().map(|stored| metadata_only(&stored.value)).collect();
        let list = json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items,
        });
        return Ok(response::json(StatusCode::OK, &list));
    }
    if call.request.accepted.yaml {
        let items: Vec<Value> = page
            .iter()
            .map(|stored| convert::to_served(&call.resource, &stored.value).into_owned())
            .collect();
        let (kind, version) = (call.resource.list_kind(), call.resource.api_version());
        let list = json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items });
        let text = serde_saphyr::to_string(&list).map_err(ApiError::internal)?;
        return Ok(response::with_type(StatusCode::OK, "application/yaml", text));
    }
    Ok(list_text(call, &page, &metadata))
}

/// The part of a list that `limit` and `continue` ask for, and the list's metadata.
fn page(call: &Call<'_>, mut objects: Vec<Arc<Stored>>, revision: u64) -> ApiResult<(Vec<Arc<Stored>>, Value)> {
    let mut revision = revision;
    if let Some(token) = call.request.query("continue") {
        let (listed, after) = read_continue(token)?;
        objects.retain(|stored| key_of(stored) > after);
        // Later pages may be newer than the first one: there is no old state to read from.
        revision = listed;
    }
    let limit: usize = call
        .request
        .query("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(0);
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if limit > 0 && objects.len() > limit {
        let remaining = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            metadata["continue"] = write_continue(revision, &key_of(last)).into();
        }
        metadata["remainingItemCount"] = remaining.into();
    }
    Ok((objects, metadata))
}

fn key_of(stored: &Stored) -> (String, String) {
    use crate::apiserver::object::{name, namespace};
    (namespace(&stored.value).to_owned(), name(&stored.value).to_owned())
}

fn write_continue(revision: u64, last: &(String, String)) -> String {
    BASE64.encode(json!([revision, last.0, last.1]).to_string())
}

fn read_continue(token: &str) -> ApiResult<(u64, (String, String))> {
    let invalid = || ApiError::bad_request("continue key is not valid: it was not issued by this server");
    let bytes = BASE64.decode(token).map_err(|_| invalid())?;
    let (revision, namespace, name) = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    Ok((revision, (namespace, name)))
}

fn list_table(call: &Call<'_>, page: &[Arc<Stored>], metadata: &Value) -> Response {
    let served: Vec<_> = page
        .iter()
        .map(|stored| convert::to_served(&call.resource, &stored.value))
        .collect();
    let objects: Vec<&Value> = served.iter().map(AsRef::as_ref).collect();
    let include = table::Include::from_query(call.request.query("includeObject"));
    let mut table = table::table(&call.resource, &objects, include, "");
    table["metadata"] = metadata.clone();
    response::json(StatusCode::OK, &table)
}

/// Puts the list together from the texts of its items, each of which is made once.
fn list_text(call: &Call<'_>, page: &[Arc<Stored>], metadata: &Value) -> Response {
    let (kind, version) = (
        Value::from(call.resource.list_kind()),
        Value::from(call.resource.api_version()),
    );
    let mut text = BytesMut::new();
    text.put_slice(
        format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":[").as_bytes(),
    );
    for (at, stored) in page.iter().enumerate() {
        if at > 0 {
            text.put_u8(b',');
        }
        text.put_slice(&text_of(&call.resource, stored));
    }
    text.put_slice(b"]}");
    response::json_text(StatusCode::OK, text.freeze())
}

/// The JSON text of an object as the resource serves it.
pub(super) fn text_of(resource: &Resource, stored: &Stored) -> bytes::Bytes {
    match convert::to_served(resource, &stored.value) {
        std::borrow::Cow::Borrowed(_) => stored.json(),
        std::borrow::Cow::Owned(object) => object.to_string().into(),
    }
}

/// An object reduced to its metadata.
pub(super) fn metadata_only(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}
