//! Deleting an object: grace, finalizers, propagation to what it owns.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::apiserver::admission::{self, Attributes};
use crate::apiserver::api::Api;
use crate::apiserver::http::Request;
use crate::apiserver::registry::Resource;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{ObjectKey, Refused, Stored};
use crate::apiserver::{convert, crd, object};

/// The finalizer that keeps an owner until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an owner until its dependents no longer name it.
pub(crate) const ORPHAN: &str = "orphan";

/// `DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

/// What a deletion came to.
pub(crate) struct Deleted {
    /// The last state, or the state with a deletion timestamp.
    pub(crate) last: Arc<Stored>,
    /// Nothing is left of it.
    pub(crate) gone: bool,
}

/// Deletes an object, or marks it as being deleted. `request` is absent for what the server does by itself.
pub(crate) async fn delete(
    api: &Arc<Api>,
    resource: &Resource,
    key: &ObjectKey,
    deletion: &Deletion,
    request: Option<&Request>,
) -> ApiResult<Deleted> {
    let absent = || ApiError::not_found(&resource.group, &resource.plural, &key.name);
    loop {
        let stored = api.store.get(&resource.key, key).ok_or_else(absent)?;
        check(resource, key, &stored, deletion)?;
        protect(resource, key)?;
        if let Some(request) = request {
            admit(api, resource, key, deletion, &stored, request).await?;
        }
        let mut next = stored.value.clone();
        let changed = mark(resource, &mut next, deletion);
        if deletion.dry_run {
            return Ok(Deleted {
                last: stored,
                gone: true,
            });
        }
        let outcome = if super::is_finished(&next) && !waits_for_kubelet(resource, &next) && !is_namespace(resource) {
            api.store
                .delete(&resource.key, key, stored.revision)
                .map(|last| Deleted { last, gone: true })
        } else if changed {
            api.store
                .update(&resource.key, next, stored.revision)
                .map(|last| Deleted { last, gone: false })
        } else {
            Ok(Deleted {
                last: stored,
                gone: false,
            })
        };
        match outcome {
            Ok(deleted) => {
                if deleted.gone {
                    crd::removed(api, resource, &deleted.last.value);
                }
                api.cleanup.notify_one();
                return Ok(deleted);
            }
            Err(Refused::Absent) => return Err(absent()),
            Err(_) => {}
        }
    }
}

fn check(resource: &Resource, key: &ObjectKey, stored: &Stored, deletion: &Deletion) -> ApiResult<()> {
    let conflict = |why: String| Err(ApiError::conflict(&resource.group, &resource.plural, &key.name, &why));
    let uid = object::uid(&stored.value);
    if let Some(wanted) = deletion.uid.as_deref().filter(|wanted| *wanted != uid) {
        return conflict(format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
        ));
    }
    let revision = stored.revision.to_string();
    if let Some(wanted) = deletion
        .resource_version
        .as_deref()
        .filter(|wanted| *wanted != revision)
    {
        return conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {revision}"
        ));
    }
    Ok(())
}

/// The namespaces that a cluster cannot be without.
fn protect(resource: &Resource, key: &ObjectKey) -> ApiResult<()> {
    let kept = matches!(key.name.as_str(), "default" | "kube-system" | "kube-public");
    if is_namespace(resource) && kept {
        return Err(ApiError::forbidden(
            "",
            "namespaces",
            &key.name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

async fn admit(
    api: &Arc<Api>,
    resource: &Resource,
    key: &ObjectKey,
    deletion: &Deletion,
    stored: &Stored,
    request: &Request,
) -> ApiResult<()> {
    let old = convert::to_served(resource, &stored.value);
    let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1" });
    if let Some(seconds) = deletion.grace_seconds {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = &deletion.propagation {
        options["propagationPolicy"] = policy.clone().into();
    }
    let attributes = Attributes {
        resource,
        requested: None,
        subresource: "",
        kind: (resource.group.clone(), resource.version.clone(), resource.kind.clone()),
        operation: "DELETE",
        namespace: &key.namespace,
        name: &key.name,
        user: &request.user,
        dry_run: deletion.dry_run,
        old: Some(&old),
        options,
    };
    let mut nothing = Value::Null;
    admission::mutate(api, request, &attributes, &mut nothing).await?;
    admission::validate(api, request, &attributes, None).await
}

/// Sets the deletion timestamp, the grace and the finalizers of the propagation policy. False: nothing new.
fn mark(resource: &Resource, object: &mut Value, deletion: &Deletion) -> bool {
    let before = object["metadata"].clone();
    let already = object::is_deleting(object);
    let grace = grace_seconds(resource, object, deletion);
    let earlier = before["deletionGracePeriodSeconds"].as_i64();
    if !already || earlier.is_some_and(|earlier| grace < earlier) {
        let at = Timestamp::now()
            .saturating_add(SignedDuration::from_secs(grace))
            .unwrap_or(Timestamp::MAX);
        let metadata = object::metadata_mut(object);
        metadata.insert("deletionTimestamp".into(), object::timestamp(at).into());
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    }
    if !already && object["metadata"]["generation"].is_i64() {
        let generation = object["metadata"]["generation"].as_i64().unwrap_or_default() + 1;
        object::metadata_mut(object).insert("generation".into(), generation.into());
    }
    propagate(object, deletion);
    if is_namespace(resource) {
        object["status"]["phase"] = "Terminating".into();
    }
    before != object["metadata"]
}

/// How long a pod may take to stop; everything else has no grace.
fn grace_seconds(resource: &Resource, object: &Value, deletion: &Deletion) -> i64 {
    if !is_pod(resource) {
        return 0;
    }
    let scheduled = object["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let finished = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !scheduled || finished {
        return 0;
    }
    deletion
        .grace_seconds
        .or_else(|| object["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30)
}

fn propagate(object: &mut Value, deletion: &Deletion) {
    let mut finalizers = object::finalizers(object);
    let wanted = match deletion.propagation.as_deref() {
        Some("Foreground") => Some(FOREGROUND),
        Some("Orphan") => Some(ORPHAN),
        Some(_) => None,
        // No policy named: what the object says already stays.
        None => return,
    };
    finalizers.retain(|name| name != FOREGROUND && name != ORPHAN);
    finalizers.extend(wanted.map(str::to_owned));
    set_finalizers(object, finalizers);
}

/// Writes `metadata.finalizers`, or removes an empty list.
pub(crate) fn set_finalizers(object: &mut Value, finalizers: Vec<String>) {
    let list = if finalizers.is_empty() {
        Value::Null
    } else {
        finalizers.into()
    };
    object::set_or_remove(&mut object["metadata"], "finalizers", list);
}

/// A pod that a kubelet still has to stop.
pub(super) fn waits_for_kubelet(resource: &Resource, object: &Value) -> bool {
    is_pod(resource) && object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0
}

fn is_pod(resource: &Resource) -> bool {
    resource.is("", "pods")
}

fn is_namespace(resource: &Resource) -> bool {
    resource.is("", "namespaces")
}

/// Changes the metadata of an object that is being deleted, and removes it when nothing keeps it any longer.
pub(crate) fn finish_deletion(api: &Api, resource: &Resource, key: &ObjectKey, change: &dyn Fn(&mut Value)) {
    for _ in 0..8 {
        let Some(stored) = api.store.get(&resource.key, key) else {
            return;
        };
        let mut next = stored.value.clone();
        change(&mut next);
        let outcome = if super::is_finished(&next) && !waits_for_kubelet(resource, &next) {
            let gone = api.store.delete(&resource.key, key, stored.revision);
            if let Ok(last) = &gone {
                crd::removed(api, resource, &last.value);
            }
            gone
        } else if next == stored.value {
            return;
        } else {
            api.store.update(&resource.key, next, stored.revision)
        };
        if !matches!(outcome, Err(Refused::Conflict)) {
            return;
        }
    }
}
