//! What a pod must look like, and what of it may change.

use std::collections::HashSet;

use serde_json::Value;

use super::{names, resources, services};
use crate::apiserver::object;
use crate::apiserver::quantity::Quantity;
use crate::apiserver::status::FieldError;

/// Validates a pod specification.
pub(super) fn spec(path: &str, spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let containers = spec["containers"].as_array().cloned().unwrap_or_default();
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    let volumes: HashSet<&str> = spec["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    let mut seen = HashSet::new();
    for list in ["initContainers", "containers"] {
        for (at, container) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.{list}[{at}]");
            let name = container["name"].as_str().unwrap_or_default();
            errors.extend(names::label(&format!("{path}.name"), name).filter(|_| !name.is_empty()));
            if !name.is_empty() && !seen.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &container["name"]));
            }
            errors.extend(self::container(&path, container, &volumes, list == "initContainers"));
        }
    }
    let policies = ["Always", "OnFailure", "Never"];
    if !spec["restartPolicy"]
        .as_str()
        .is_none_or(|policy| policies.contains(&policy))
    {
        let field = format!("{path}.restartPolicy");
        errors.push(FieldError::not_supported(
            field,
            &spec["restartPolicy"],
            &policies.map(str::to_owned),
        ));
    }
    if let Some(seconds) = spec["terminationGracePeriodSeconds"]
        .as_i64()
        .filter(|seconds| *seconds < 0)
    {
        let field = format!("{path}.terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(
            field,
            &seconds.into(),
            "must be greater than or equal to 0",
        ));
    }
    errors
}

fn container(path: &str, container: &Value, volumes: &HashSet<&str>, init: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if container["image"].as_str().unwrap_or_default().is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    }
    errors.extend(ports(path, container));
    errors.extend(requirements(&format!("{path}.resources"), &container["resources"]));
    for (at, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let name = mount["name"].as_str().unwrap_or_default();
        if !volumes.contains(name) {
            let field = format!("{path}.volumeMounts[{at}].name");
            let detail = format!("Not found: \"{name}\"");
            errors.push(FieldError {
                field,
                reason: "FieldValueNotFound",
                detail,
            });
        }
    }
    let restarts = container["restartPolicy"] == "Always";
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            if init && !restarts {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(format!("{path}.{probe}"), detail));
            }
            errors.extend(self::probe(&format!("{path}.{probe}"), &container[probe]));
        }
    }
    errors
}

fn ports(path: &str, container: &Value) -> Vec<FieldError> {
    let (mut errors, mut seen) = (Vec::new(), HashSet::new());
    for (at, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        let path = format!("{path}.ports[{at}]");
        if !port["containerPort"]
            .as_i64()
            .is_some_and(|number| (1..=65535).contains(&number))
        {
            let detail = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(
                format!("{path}.containerPort"),
                &port["containerPort"],
                detail,
            ));
        }
        if let Some(name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            errors.extend(services::port_name(&format!("{path}.name"), name));
            if !seen.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(format!("{path}.name"), &port["name"]));
            }
        }
    }
    errors
}

/// Requests may not exceed limits.
fn requirements(path: &str, resources: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let quantity = |which: &str, name: &str| Quantity::from_value(&resources[which][name]);
    for which in ["requests", "limits"] {
        for (name, value) in resources[which].as_object().into_iter().flatten() {
            if Quantity::from_value(value).is_some_and(|quantity| quantity.nanos < 0) {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(format!("{path}.{which}[{name}]"), value, detail));
            }
        }
    }
    for (name, value) in resources["requests"].as_object().into_iter().flatten() {
        if let (Some(request), Some(limit)) = (quantity("requests", name), quantity("limits", name))
            && request.nanos > limit.nanos
        {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.push(FieldError::invalid(format!("{path}.requests"), value, &detail));
        }
    }
    errors
}

fn probe(path: &str, probe: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let actions: Vec<&str> = ["exec", "httpGet", "tcpSocket", "grpc"]
        .into_iter()
        .filter(|action| probe[action].is_object())
        .collect();
    if actions.is_empty() {
        errors.push(FieldError::required(path, "must specify a handler type"));
    }
    for extra in actions.iter().skip(1) {
        errors.push(FieldError::forbidden(
            format!("{path}.{extra}"),
            "may not specify more than 1 handler type",
        ));
    }
    for action in ["httpGet", "tcpSocket"] {
        errors.extend(services::target_port(
            &format!("{path}.{action}.port"),
            &probe[action]["port"],
        ));
    }
    errors
}

/// A change through the pod itself: little of the specification may change.
pub(super) fn update(current: &Value, object: &Value) -> Vec<FieldError> {
    let mut allowed = object["spec"].clone();
    let before = &current["spec"];
    for list in ["containers", "initContainers"] {
        let earlier = before[list].as_array().cloned().unwrap_or_default();
        if let Some(containers) = allowed.get_mut(list).and_then(Value::as_array_mut)
            && containers.len() == earlier.len()
        {
            for (container, earlier) in containers.iter_mut().zip(&earlier) {
                object::set_or_remove(container, "image", earlier["image"].clone());
            }
        }
    }
    for field in [
        "activeDeadlineSeconds",
        "tolerations",
        "terminationGracePeriodSeconds",
        "schedulingGates",
        "nodeName",
    ] {
        let kept = before.get(field).cloned().unwrap_or_default();
        // A pod is bound once.
        if field != "nodeName" || kept.is_null() {
            object::set_or_remove(&mut allowed, field, kept);
        }
    }
    if allowed == *before {
        return Vec::new();
    }
    let detail = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                  `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                  `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    vec![FieldError::forbidden("spec", detail)]
}

/// A change through `pods/resize`: CPU and memory of containers, and never the quality of service.
pub(super) fn resize(current: &Value, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for list in ["containers", "initContainers"] {
        let count = |pod: &Value| pod["spec"][list].as_array().map_or(0, Vec::len);
        if count(current) != count(object) {
            let detail = format!("{list} may not be added or removed on resize");
            return vec![FieldError::forbidden(format!("spec.{list}"), &detail)];
        }
    }
    let (before, after) = (
        resources::qos_class(&current["spec"]),
        resources::qos_class(&object["spec"]),
    );
    if before != after {
        let detail = format!("Pod QOS Class may not change as a result of resizing (was {before}, would be {after})");
        errors.push(FieldError::invalid("spec", &Value::from(after), &detail));
    }
    for list in ["containers", "initContainers"] {
        let containers = object["spec"][list].as_array().into_iter().flatten();
        for (at, container) in containers.enumerate() {
            let earlier = &current["spec"][list][at];
            let path = format!("spec.{list}[{at}].resources");
            if list == "initContainers"
                && container["restartPolicy"] != "Always"
                && earlier["resources"] != container["resources"]
            {
                errors.push(FieldError::forbidden(
                    path.clone(),
                    "resources for non-sidecar init containers are immutable",
                ));
            }
            errors.extend(resized(&path, &earlier["resources"], &container["resources"]));
        }
    }
    if matches!(current["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        errors.push(FieldError::forbidden(
            "spec",
            "pods in a terminal phase cannot be resized",
        ));
    }
    errors
}

fn resized(path: &str, before: &Value, after: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for which in ["requests", "limits"] {
        let names: HashSet<&String> = [before, after]
            .iter()
            .flat_map(|side| side[which].as_object().into_iter().flatten())
            .map(|(name, _)| name)
            .collect();
        for name in names {
            let (was, is) = (before[which].get(name), after[which].get(name));
            let (was_amount, is_amount) = (was.and_then(Quantity::from_value), is.and_then(Quantity::from_value));
            if was_amount.map(|amount| amount.nanos) == is_amount.map(|amount| amount.nanos) {
                continue;
            }
            let field = format!("{path}.{which}");
            if !matches!(name.as_str(), "cpu" | "memory") {
                errors.push(FieldError::forbidden(
                    field,
                    "only cpu and memory resources are mutable",
                ));
            } else if is.is_none() {
                errors.push(FieldError::forbidden(
                    field,
                    &format!("resource {which} cannot be removed"),
                ));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(resources: Value) -> Value {
        json!({ "spec": { "containers": [{ "name": "a", "image": "a:1", "resources": resources }] } })
    }

    #[test]
    fn a_resize_keeps_the_quality_of_service() {
        let burstable = pod(json!({ "requests": { "cpu": "1" } }));
        assert!(resize(&burstable, &pod(json!({ "requests": { "cpu": "2" } }))).is_empty());
        assert!(!resize(&burstable, &pod(json!({}))).is_empty());
        let both = json!({ "cpu": "1", "memory": "1Gi" });
        assert!(!resize(&burstable, &pod(json!({ "requests": both, "limits": both }))).is_empty());
    }

    #[test]
    fn a_pod_changes_its_image_but_not_its_command() {
        let before = pod(json!({}));
        let mut image = before.clone();
        image["spec"]["containers"][0]["image"] = "a:2".into();
        assert!(update(&before, &image).is_empty());
        let mut command = before.clone();
        command["spec"]["containers"][0]["command"] = json!(["x"]);
        assert_eq!(update(&before, &command)[0].field, "spec");
    }

    #[test]
    fn requests_stay_within_limits() {
        let wrong = pod(json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } }));
        let errors = spec("spec", &wrong["spec"]);
        assert_eq!(errors[0].field, "spec.containers[0].resources.requests");
        assert!(
            errors[0]
                .detail
                .contains("must be less than or equal to cpu limit of 1"),
            "{}",
            errors[0].detail
        );
    }
}
