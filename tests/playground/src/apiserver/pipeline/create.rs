//! Creating an object.

use serde_json::Value;

use super::{Outcome, Write, decode, prepare, unstored};
use crate::apiserver::admission::Attributes;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::Refused;
use crate::apiserver::{admission, builtin, convert, crd, managed, object};

/// How many names are tried for `generateName`.
const ATTEMPTS: usize = 8;

/// Creates an object from what a client sent.
pub(crate) async fn create(write: &Write<'_>, mut object: Value) -> Outcome {
    decode::from_client(write, &mut object)?;
    prepare::namespace(write, &mut object)?;
    prepare::namespace_accepts(write)?;
    prepare::new_metadata(write, &mut object)?;
    prepare::new_status(write.resource(), &mut object);
    let generated = object::meta(&object, "generateName").to_owned();
    for _ in 1..ATTEMPTS {
        match attempt(write, object.clone()).await {
            Err(error) if error.reason == "AlreadyExists" && !generated.is_empty() => {
                let name = format!("{generated}{}", object::name_suffix());
                object::metadata_mut(&mut object).insert("name".into(), name.into());
            }
            outcome => return outcome,
        }
    }
    attempt(write, object).await
}

async fn attempt(write: &Write<'_>, mut object: Value) -> Outcome {
    let (api, resource) = (write.api(), write.resource());
    let name = object::name(&object).to_owned();
    // Recorded before admission: what a webhook sets belongs to nobody. Who applies owns what the configuration names, who
    // creates owns the defaults too.
    let applied = write.operation == "Apply";
    if applied {
        managed::on_create(write, &mut object);
    }
    defaults(write, &mut object);
    if !applied {
        managed::on_create(write, &mut object);
    }
    let attributes = write.attributes("CREATE", &name, None);
    if mutate(write, &attributes, &mut object).await? {
        decode::by_schema(resource, &mut object)?;
        defaults(write, &mut object);
    }
    builtin::prepare_create(api, resource, &mut object)?;
    validate(write, &object)?;
    admission::validate(api, write.call.request, &attributes, Some(&object)).await?;
    let stored = convert::to_stored(resource, object);
    if write.dry_run {
        if api
            .store
            .get(
                &resource.key,
                &crate::apiserver::store::ObjectKey::new(write.call.namespace(), &name),
            )
            .is_some()
        {
            return Err(ApiError::already_exists(&resource.group, &resource.plural, &name));
        }
        return Ok(unstored(stored));
    }
    let _quota = admission::quota::hold(api, resource, &stored)?;
    let created = api
        .store
        .create(&resource.key, stored)
        .map_err(|refused| match refused {
            Refused::Exists | Refused::Absent | Refused::Conflict => {
                ApiError::already_exists(&resource.group, &resource.plural, &name)
            }
        })?;
    crd::stored(api, resource, &created.value);
    Ok(created)
}

/// Mutating admission sees an object that has neither uid nor creation time yet, nor a name when it is generated.
async fn mutate(write: &Write<'_>, attributes: &Attributes<'_>, object: &mut Value) -> ApiResult<bool> {
    let mut hidden = vec!["uid", "creationTimestamp", "generation"];
    let generated = !object::meta(object, "generateName").is_empty();
    if generated {
        hidden.push("name");
    }
    let metadata = object::metadata_mut(object);
    let kept: Vec<_> = hidden
        .iter()
        .filter_map(|field| Some((*field, metadata.remove(*field)?)))
        .collect();
    let name = if generated { "" } else { attributes.name };
    let changed = admission::mutate(
        write.api(),
        write.call.request,
        &Attributes {
            name,
            ..attributes.clone()
        },
        object,
    )
    .await;
    let metadata = object::metadata_mut(object);
    for (field, value) in kept {
        metadata.insert(field.into(), value);
    }
    changed
}

fn defaults(write: &Write<'_>, object: &mut Value) {
    builtin::defaults(write.resource(), object);
    crd::defaults(write.resource(), object);
}

fn validate(write: &Write<'_>, object: &Value) -> ApiResult<()> {
    let resource = write.resource();
    let mut errors = builtin::validate_metadata(resource, object);
    errors.extend(builtin::validate_create(write.api(), resource, object));
    errors.extend(crd::validate(resource, object, None));
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
