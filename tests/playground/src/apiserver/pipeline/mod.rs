//! The way of a write: decoding, preparation, defaults, admission, validation, storage.

mod create;
mod decode;
pub(crate) mod delete;
mod prepare;
mod replicas;
mod update;

use std::sync::Arc;

pub(crate) use create::create;
pub(crate) use delete::{Deletion, delete, finish_deletion};
pub(crate) use replicas::set_replicas;
pub(crate) use update::{apply, update};

use super::admission::Attributes;
use super::api::Api;
use super::object;
use super::registry::Resource;
use super::status::ApiResult;
use super::store::Stored;
use super::verbs::Call;
use serde_json::{Value, json};

/// What becomes of fields that are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    Ignore,
    Warn,
    Strict,
}

/// A write that is being done.
pub(crate) struct Write<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) strictness: Strictness,
    pub(crate) dry_run: bool,
    /// Name of the field manager.
    pub(crate) manager: String,
    /// `Apply` or `Update`, as managed fields record it.
    pub(crate) operation: &'static str,
    /// Apply even where others own a field.
    pub(crate) force: bool,
}

impl Write<'_> {
    fn api(&self) -> &Arc<Api> {
        self.call.api
    }

    fn resource(&self) -> &Resource {
        &self.call.resource
    }

    /// The options of the request, as admission is told them.
    pub(crate) fn options(&self, operation: &str) -> Value {
        let (kind, options) = match (operation, self.call.request.method.as_str()) {
            ("CREATE", "POST") => ("CreateOptions", json!({})),
            (_, "PATCH") => ("PatchOptions", json!({})),
            ("CREATE", _) => ("CreateOptions", json!({})),
            _ => ("UpdateOptions", json!({})),
        };
        let mut options = options;
        options["kind"] = kind.into();
        options["apiVersion"] = "meta.k8s.io/v1".into();
        if let Some(manager) = self.call.request.query("fieldManager") {
            options["fieldManager"] = manager.into();
        }
        if let Some(validation) = self.call.request.query("fieldValidation") {
            options["fieldValidation"] = validation.into();
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }

    /// What admission is told.
    fn attributes<'b>(&'b self, operation: &'b str, name: &'b str, old: Option<&'b Value>) -> Attributes<'b> {
        Attributes {
            resource: self.resource(),
            requested: None,
            subresource: self.call.subresource(),
            kind: (
                self.resource().group.clone(),
                self.resource().version.clone(),
                self.resource().kind.clone(),
            ),
            operation,
            namespace: self.call.namespace(),
            name,
            user: &self.call.request.user,
            dry_run: self.dry_run,
            old,
            options: self.options(operation),
        }
    }
}

/// An object that was not stored, as if it had been.
fn unstored(value: Value) -> Arc<Stored> {
    Arc::new(Stored::transient(value))
}

/// Removes an object from the store when nothing keeps it any longer.
pub(crate) fn is_finished(object: &Value) -> bool {
    object::is_deleting(object) && object::finalizers(object).is_empty()
}

pub(crate) type Outcome = ApiResult<Arc<Stored>>;
