//! Writing the replica count that a scale subresource was given.

use serde_json::Value;

use super::{Outcome, Write, prepare, unstored};
use crate::apiserver::registry::ScalePaths;
use crate::apiserver::status::ApiError;
use crate::apiserver::{crd, managed};

/// Sets the replica count of the workload that the call names, as long as it still has the revision `expected`.
/// Admission has been asked about the scale; the workload itself is not admitted again. The author of the write owns
/// the count only as far as `asked` differs from what there was: what a webhook sets belongs to nobody.
pub(crate) fn set_replicas(
    write: &Write<'_>,
    paths: &ScalePaths,
    asked: i64,
    admitted: i64,
    expected: &str,
) -> Outcome {
    let (call, resource) = (write.call, write.resource());
    let stored = call.current()?;
    let raced = || ApiError::modified(&resource.group, &resource.plural, call.name());
    if stored.revision.to_string() != expected {
        return Err(raced());
    }
    let mut next = stored.value.clone();
    let before = stored
        .value
        .pointer(&paths.replicas)
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if asked != before {
        set(&mut next, &paths.replicas, asked);
        managed::on_update(write, &stored.value, &mut next);
    }
    if admitted != before || asked != before {
        set(&mut next, &paths.replicas, admitted);
    }
    prepare::generation(resource, &stored.value, &mut next);
    let errors = crd::validate(resource, &next, Some(&stored.value));
    if !errors.is_empty() {
        return Err(ApiError::invalid(&resource.group, &resource.kind, call.name(), &errors));
    }
    if write.dry_run {
        return Ok(unstored(next));
    }
    if managed::unchanged(&stored.value, &next) {
        return Ok(stored);
    }
    write
        .api()
        .store
        .update(&resource.key, next, stored.revision)
        .map_err(|_| raced())
}

fn set(object: &mut Value, pointer: &str, replicas: i64) {
    let mut slot = object;
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        if !slot.is_object() {
            *slot = serde_json::json!({});
        }
        slot = &mut slot[part];
    }
    *slot = replicas.into();
}
