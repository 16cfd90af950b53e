//! Garbage collection by owner references, and of the objects of removed custom resources.

use std::sync::Arc;

use serde_json::Value;

use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::pipeline::delete::{FOREGROUND, ORPHAN, set_finalizers};
use crate::apiserver::pipeline::{self, Deletion, finish_deletion};
use crate::apiserver::registry::Resource;
use crate::apiserver::store::{Change, ChangeKind, ObjectKey, ResourceKey, Stored, owner_uids};

/// Wakes the collection when a change may leave something without an owner.
pub(super) fn note(api: &Api, resource: &ResourceKey, change: &Change) {
    let value = &change.object.value;
    let owned = !owner_uids(value).is_empty();
    let counted = change.kind == ChangeKind::Added || &*resource.plural == "resourcequotas";
    let counted = counted && api.store.count(&api.core("resourcequotas")) > 0;
    let added = owned && change.kind == ChangeKind::Added;
    if change.kind == ChangeKind::Deleted || object::is_deleting(value) || added || counted {
        api.cleanup.notify_one();
    }
}

/// One round over everything.
pub(super) async fn collect(api: &Arc<Api>) {
    let served = api.registry.served();
    for key in api.store.resources() {
        let (objects, _) = api.store.list(&key, None);
        let Some(resource) = served.any_version(&key) else {
            // The definition is gone, and its objects with it.
            for stored in objects {
                let _ = api.store.delete(&key, &key_of(&stored), stored.revision);
            }
            continue;
        };
        for stored in objects {
            if object::is_deleting(&stored.value) {
                finish(api, &resource, &stored).await;
            } else if is_orphaned(api, &stored.value) {
                let deletion = Deletion {
                    propagation: Some("Background".into()),
                    uid: Some(object::uid(&stored.value).to_owned()),
                    ..Deletion::default()
                };
                let _ = pipeline::delete(api, &resource, &key_of(&stored), &deletion, None).await;
            }
        }
    }
}

fn key_of(stored: &Stored) -> ObjectKey {
    ObjectKey::new(object::namespace(&stored.value), object::name(&stored.value))
}

/// All of its owners are gone (and it had some).
fn is_orphaned(api: &Api, value: &Value) -> bool {
    let owners = owner_uids(value);
    !owners.is_empty() && owners.iter().all(|uid| api.store.by_uid(uid).is_none())
}

/// Sees to the finalizers of foreground deletion and of orphaning.
async fn finish(api: &Arc<Api>, resource: &Resource, stored: &Stored) {
    let finalizers = object::finalizers(&stored.value);
    let uid = object::uid(&stored.value);
    if finalizers.iter().any(|name| name == ORPHAN) {
        for (key, object_key) in api.store.dependents(uid) {
            disown(api, &key, &object_key, uid);
        }
        drop_finalizer(api, resource, stored, ORPHAN);
    }
    if finalizers.iter().any(|name| name == FOREGROUND) && !foreground(api, uid).await {
        drop_finalizer(api, resource, stored, FOREGROUND);
    }
}

/// Deletes dependents; whether any of them still blocks the owner.
async fn foreground(api: &Arc<Api>, uid: &str) -> bool {
    let served = api.registry.served();
    let mut blocked = false;
    for (key, object_key) in api.store.dependents(uid) {
        let (Some(resource), Some(stored)) = (served.any_version(&key), api.store.get(&key, &object_key)) else {
            continue;
        };
        let others = owner_uids(&stored.value)
            .iter()
            .any(|owner| owner != uid && api.store.by_uid(owner).is_some());
        if others {
            disown(api, &key, &object_key, uid);
            continue;
        }
        let mut gone = false;
        if !object::is_deleting(&stored.value) {
            let deletion = Deletion {
                propagation: Some("Foreground".into()),
                ..Deletion::default()
            };
            let outcome = pipeline::delete(api, &resource, &object_key, &deletion, None).await;
            gone = outcome.map_or(true, |deleted| deleted.gone);
        }
        let references = stored.value["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        let blocks = references
            .filter(|owner| owner["uid"] == uid)
            .any(|owner| owner["blockOwnerDeletion"] == true);
        blocked |= blocks && !gone;
    }
    blocked
}

/// Removes an owner reference.
fn disown(api: &Api, key: &ResourceKey, object_key: &ObjectKey, uid: &str) {
    let Some(resource) = api.registry.served().any_version(key) else {
        return;
    };
    finish_deletion(api, &resource, object_key, &|object| {
        let mut owners = object["metadata"]["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        owners.retain(|owner| owner["uid"] != uid);
        let list = if owners.is_empty() { Value::Null } else { owners.into() };
        object::set_or_remove(&mut object["metadata"], "ownerReferences", list);
    });
}

fn drop_finalizer(api: &Api, resource: &Resource, stored: &Stored, finalizer: &str) {
    finish_deletion(api, resource, &key_of(stored), &|object| {
        let mut finalizers = object::finalizers(object);
        finalizers.retain(|name| name != finalizer);
        set_finalizers(object, finalizers);
    });
}
