//! LimitRange: defaults for containers, and bounds for containers and pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Attributes;
use crate::apiserver::api::Api;
use crate::apiserver::builtin::{self, PodRequirements};
use crate::apiserver::object;
use crate::apiserver::quantity::Quantity;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::Stored;

type Quantities = BTreeMap<String, Quantity>;

fn ranges(api: &Api, namespace: &str) -> Vec<Arc<Stored>> {
    api.store.list(&api.core("limitranges"), Some(namespace)).0
}

fn items(range: &Stored) -> impl Iterator<Item = &Value> {
    range.value["spec"]["limits"].as_array().into_iter().flatten()
}

fn map(item: &Value, field: &str) -> Quantities {
    let entries = item[field].as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value)?)))
        .collect()
}

/// Fills in requests and limits of the containers of a new pod; whether anything was.
pub(super) fn default(api: &Api, attributes: &Attributes<'_>, pod: &mut Value) -> bool {
    if !attributes.is("", "pods", "") || attributes.operation != "CREATE" {
        return false;
    }
    let mut notes = Vec::new();
    for range in ranges(api, attributes.namespace) {
        for item in items(&range).filter(|item| item["type"] == "Container") {
            for list in ["containers", "initContainers"] {
                for container in pod["spec"]
                    .get_mut(list)
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    default_container(item, container, &mut notes);
                }
            }
        }
    }
    if notes.is_empty() {
        return false;
    }
    let text = format!("LimitRanger plugin set: {}", notes.join("; "));
    object::metadata_mut(pod);
    object::field_mut(&mut pod["metadata"], "annotations")
        .entry("kubernetes.io/limit-ranger")
        .or_insert_with(|| text.into());
    true
}

fn default_container(item: &Value, container: &mut Value, notes: &mut Vec<String>) {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    for (which, field, what) in [
        ("limits", "default", "limit"),
        ("requests", "defaultRequest", "request"),
    ] {
        for (resource, amount) in item.get(field).and_then(Value::as_object).into_iter().flatten() {
            object::field_mut(container, "resources");
            let present = container["resources"]
                .get(which)
                .is_some_and(|map| map.get(resource).is_some());
            if !present {
                let map = object::field_mut(&mut container["resources"], which);
                map.insert(resource.clone(), amount.clone());
                notes.push(format!("{resource} {what} for container {name}"));
            }
        }
    }
}

/// Refuses pods whose containers, or whose sum, are out of bounds.
pub(super) fn check(api: &Api, attributes: &Attributes<'_>, pod: &Value) -> ApiResult<()> {
    let concerned =
        (attributes.is("", "pods", "") && attributes.operation == "CREATE") || attributes.is("", "pods", "resize");
    if !concerned {
        return Ok(());
    }
    let mut errors = Vec::new();
    for range in ranges(api, attributes.namespace) {
        for item in items(&range) {
            match item["type"].as_str() {
                Some("Container") => {
                    for list in ["containers", "initContainers"] {
                        for container in pod["spec"][list].as_array().into_iter().flatten() {
                            let own = PodRequirements {
                                requests: builtin::quantities(container, "requests"),
                                limits: builtin::quantities(container, "limits"),
                            };
                            errors.extend(out_of_bounds(item, "Container", &own));
                        }
                    }
                }
                Some("Pod") => errors.extend(out_of_bounds(item, "Pod", &builtin::pod_requirements(&pod["spec"]))),
                _ => {}
            }
        }
    }
    match errors.as_slice() {
        [] => Ok(()),
        [only] => Err(ApiError::forbidden("", "pods", object::name(pod), only)),
        several => Err(ApiError::forbidden(
            "",
            "pods",
            object::name(pod),
            &format!("[{}]", several.join(", ")),
        )),
    }
}

fn out_of_bounds(item: &Value, kind: &str, own: &PodRequirements) -> Vec<String> {
    let mut errors = Vec::new();
    for (name, least) in map(item, "min") {
        let bound = format!("minimum {name} usage per {kind} is {least}");
        match own.requests.get(&name) {
            None => errors.push(format!("{bound}. No request is specified")),
            Some(request) if request.nanos < least.nanos => errors.push(format!("{bound}, but request is {request}")),
            Some(_) => {}
        }
        if let Some(limit) = own.limits.get(&name).filter(|limit| limit.nanos < least.nanos) {
            errors.push(format!("{bound}, but limit is {limit}"));
        }
    }
    for (name, most) in map(item, "max") {
        let bound = format!("maximum {name} usage per {kind} is {most}");
        match own.limits.get(&name) {
            None => errors.push(format!("{bound}. No limit is specified")),
            Some(limit) if limit.nanos > most.nanos => errors.push(format!("{bound}, but limit is {limit}")),
            Some(_) => {}
        }
        if let Some(request) = own.requests.get(&name).filter(|request| request.nanos > most.nanos) {
            errors.push(format!("{bound}, but request is {request}"));
        }
    }
    for (name, ratio) in map(item, "maxLimitRequestRatio") {
        errors.extend(ratio_error(&name, kind, ratio, own));
    }
    errors
}

fn ratio_error(name: &str, kind: &str, ratio: Quantity, own: &PodRequirements) -> Option<String> {
    let bound = format!("{name} max limit to request ratio per {kind} is {ratio}");
    let amount = |map: &Quantities| map.get(name).map(|quantity| quantity.nanos).filter(|nanos| *nanos > 0);
    match (amount(&own.requests), amount(&own.limits)) {
        (None, _) => Some(format!("{bound}, but no request is specified or request is 0")),
        (_, None) => Some(format!("{bound}, but no limit is specified or limit is 0")),
        (Some(request), Some(limit)) => {
            let found = limit as f64 / request as f64;
            (found > ratio.nanos as f64 / 1e9).then(|| format!("{bound}, but provided ratio is {found:.6}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn own(request: &str, limit: &str) -> PodRequirements {
        let container = json!({ "resources": { "requests": { "cpu": request }, "limits": { "cpu": limit } } });
        PodRequirements {
            requests: builtin::quantities(&container, "requests"),
            limits: builtin::quantities(&container, "limits"),
        }
    }

    #[test]
    fn bounds_are_named() {
        let item = json!({ "min": { "cpu": "100m" }, "max": { "cpu": "1" }, "maxLimitRequestRatio": { "cpu": "4" } });
        assert!(out_of_bounds(&item, "Container", &own("250m", "1")).is_empty());
        assert_eq!(
            out_of_bounds(&item, "Container", &own("50m", "150m")),
            ["minimum cpu usage per Container is 100m, but request is 50m"]
        );
        assert_eq!(
            out_of_bounds(&item, "Pod", &own("1", "2")),
            ["maximum cpu usage per Pod is 1, but limit is 2"]
        );
        assert_eq!(
            out_of_bounds(&item, "Container", &own("100m", "500m")),
            ["cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000"]
        );
    }
}
