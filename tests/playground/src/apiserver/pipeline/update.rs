//! Changing an object: what PUT, the patches and apply have in common.

use std::sync::Arc;

use serde_json::Value;

use super::{Outcome, Write, decode, delete, is_finished, prepare, unstored};
use crate::apiserver::patch;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{Refused, Stored};
use crate::apiserver::{admission, builtin, convert, crd, managed, object};

/// How often a write that names no resourceVersion is tried anew when others write at the same time.
const ATTEMPTS: usize = 8;

/// Makes a new state of an object from its current one, both as stored.
pub(crate) type Transform<'a> = dyn Fn(&Value) -> ApiResult<Value> + Send + Sync + 'a;

/// Changes the object that the call names.
pub(crate) async fn update(write: &Write<'_>, transform: &Transform<'_>) -> Outcome {
    retrying(write, transform).await
}

/// Server-side apply of a configuration.
pub(crate) async fn apply(write: &Write<'_>, configuration: &Value) -> Outcome {
    let mut configuration = configuration.clone();
    decode::from_client(write, &mut configuration)?;
    let transform = |current: &Value| {
        let served = convert::to_served(write.resource(), current);
        patch::server_side_apply(write, &served, &configuration)
    };
    retrying(write, &transform).await
}

async fn retrying(write: &Write<'_>, transform: &Transform<'_>) -> Outcome {
    for _ in 1..ATTEMPTS {
        match attempt(write, transform).await {
            Err(Trouble::Raced) => {}
            Err(Trouble::Refused(error)) => return Err(error),
            Ok(stored) => return Ok(stored),
        }
    }
    attempt(write, transform).await.map_err(|trouble| match trouble {
        Trouble::Refused(error) => error,
        Trouble::Raced => ApiError::modified(&write.resource().group, &write.resource().plural, write.call.name()),
    })
}

enum Trouble {
    Refused(ApiError),
    /// Somebody else wrote in between, and the client does not mind.
    Raced,
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

async fn attempt(write: &Write<'_>, transform: &Transform<'_>) -> Result<Arc<Stored>, Trouble> {
    let (api, resource, call) = (write.api(), write.resource(), write.call);
    let stored = call.current()?;
    let current = convert::to_served(resource, &stored.value);
    let mut object = transform(&stored.value)?;
    decode::from_client(write, &mut object)?;
    let pinned = check_revision(write, &stored, &object)?;
    prepare::changed_metadata(write, &current, &mut object)?;
    prepare::restrict(write, &current, &mut object);
    defaults(write, &mut object);
    // Recorded before admission: what a webhook sets belongs to nobody.
    managed::on_update(write, &current, &mut object);
    let attributes = write.attributes("UPDATE", call.name(), Some(&current));
    if admission::mutate(api, call.request, &attributes, &mut object).await? {
        decode::by_schema(resource, &mut object)?;
        prepare::changed_metadata(write, &current, &mut object)?;
        prepare::restrict(write, &current, &mut object);
        defaults(write, &mut object);
    }
    builtin::prepare_update(api, resource, call.subresource(), &current, &mut object);
    prepare::generation(resource, &current, &mut object);
    validate(write, &current, &object)?;
    admission::validate(api, call.request, &attributes, Some(&object)).await?;
    let next = convert::to_stored(resource, object);
    if write.dry_run {
        return Ok(unstored(next));
    }
    if managed::unchanged(&stored.value, &next) && !is_finished(&next) {
        return Ok(stored);
    }
    let resized = call.subresource() == "resize";
    let _quota = resized
        .then(|| admission::quota::hold_change(api, resource, &stored.value, &next))
        .transpose()?;
    commit(write, &stored, next, pinned)
}

/// Stores the new state, or removes the object when its last finalizer is gone.
fn commit(write: &Write<'_>, stored: &Stored, next: Value, pinned: bool) -> Result<Arc<Stored>, Trouble> {
    let (api, resource) = (write.api(), write.resource());
    let removed = is_finished(&next) && !delete::waits_for_kubelet(resource, &next);
    let outcome = if removed {
        api.store.delete(&resource.key, &write.call.key(), stored.revision)
    } else {
        api.store.update(&resource.key, next, stored.revision)
    };
    match outcome {
        Ok(updated) if removed => {
            crd::removed(api, resource, &updated.value);
            api.cleanup.notify_one();
            Ok(updated)
        }
        Ok(updated) => {
            crd::stored(api, resource, &updated.value);
            Ok(updated)
        }
        Err(Refused::Conflict) if !pinned => Err(Trouble::Raced),
        Err(Refused::Absent) => Err(Trouble::Refused(write.call.not_found())),
        Err(Refused::Conflict | Refused::Exists) => {
            let error = ApiError::modified(&resource.group, &resource.plural, write.call.name());
            Err(Trouble::Refused(error))
        }
    }
}

/// Whether the client insists on a revision; refuses when it is not the current one.
fn check_revision(write: &Write<'_>, stored: &Stored, object: &Value) -> ApiResult<bool> {
    let resource = write.resource();
    let uid = object::uid(object);
    if !uid.is_empty() && uid != object::uid(&stored.value) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(&stored.value)
        );
        return Err(ApiError::conflict(
            &resource.group,
            &resource.plural,
            write.call.name(),
            &why,
        ));
    }
    let named = object::meta(object, "resourceVersion");
    if named.is_empty() {
        return Ok(false);
    }
    if named != stored.revision.to_string() {
        return Err(ApiError::modified(&resource.group, &resource.plural, write.call.name()));
    }
    // A patch carries the revision that it was computed from only because the object has one.
    Ok(write.call.request.method == http::Method::PUT)
}

fn defaults(write: &Write<'_>, object: &mut Value) {
    builtin::defaults(write.resource(), object);
    crd::defaults(write.resource(), object);
}

fn validate(write: &Write<'_>, current: &Value, object: &Value) -> ApiResult<()> {
    let resource = write.resource();
    let mut errors = builtin::validate_metadata(resource, object);
    errors.extend(builtin::validate_update(
        resource,
        write.call.subresource(),
        current,
        object,
    ));
    errors.extend(crd::validate(resource, object, Some(current)));
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(
        &resource.group,
        &resource.kind,
        object::name(object),
        &errors,
    ))
}
