//! What the server refuses of its own kinds.

use serde_json::Value;

use super::{names, pods, services};
use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::registry::Resource;
use crate::apiserver::schema;
use crate::apiserver::status::FieldError;
use crate::apiserver::store::LabelSelector;

/// Names, labels, annotations and owners, of any kind.
pub(crate) fn validate_metadata(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let name = object::name(object);
    let mut errors = Vec::new();
    errors.extend(match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces" | "services") => names::label("metadata.name", name),
        // Names of roles and bindings are path segments, no more.
        ("rbac.authorization.k8s.io", _) => None,
        _ => names::subdomain("metadata.name", name),
    });
    let metadata = &object["metadata"];
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        errors.extend(names::qualified("metadata.labels", key));
        errors.extend(names::label_value(
            "metadata.labels",
            value.as_str().unwrap_or_default(),
        ));
    }
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        errors.extend(names::qualified("metadata.annotations", &key.to_lowercase()));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > 256 * 1024 {
        errors.push(FieldError {
            field: "metadata.annotations".into(),
            reason: "FieldValueTooLong",
            detail: "Too long: may not be more than 262144 bytes".into(),
        });
    }
    for (at, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                errors.push(FieldError::required(
                    format!("metadata.ownerReferences[{at}].{field}"),
                    "must not be empty",
                ));
            }
        }
    }
    errors
}

/// What a new object of a built-in kind must be.
pub(crate) fn validate_create(_: &Api, resource: &Resource, object: &Value) -> Vec<FieldError> {
    specification(resource, object)
}

/// What a changed object of a built-in kind must be, and what may not change.
pub(crate) fn validate_update(
    resource: &Resource,
    subresource: &str,
    current: &Value,
    object: &Value,
) -> Vec<FieldError> {
    if resource.custom().is_some() || subresource == "status" {
        return Vec::new();
    }
    let mut errors = specification(resource, object);
    match (resource.group.as_str(), resource.plural.as_str(), subresource) {
        ("", "pods", "resize") => errors.extend(pods::resize(current, object)),
        ("", "pods", "") => errors.extend(pods::update(current, object)),
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets", _) => {
            errors.extend(immutable(
                "spec.selector",
                &current["spec"]["selector"],
                &object["spec"]["selector"],
            ));
        }
        ("", "services", _) if current["spec"]["type"] == object["spec"]["type"] => {
            let (before, now) = (&current["spec"]["clusterIP"], &object["spec"]["clusterIP"]);
            errors.extend(immutable("spec.clusterIPs[0]", before, now).map(|mut error| {
                error.detail = error.detail.replace("field is immutable", "may not change once set");
                error
            }));
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings", _) => {
            errors.extend(
                immutable("roleRef", &current["roleRef"], &object["roleRef"]).map(|mut error| {
                    error.detail = error.detail.replace("field is immutable", "cannot change roleRef");
                    error
                }),
            );
        }
        ("", "configmaps" | "secrets", _) if current["immutable"] == true => {
            for field in ["data", "binaryData", "immutable"] {
                if current.get(field) != object.get(field) {
                    errors.push(FieldError::forbidden(
                        field,
                        "field is immutable when `immutable` is set",
                    ));
                }
            }
        }
        _ => {}
    }
    errors
}

fn immutable(field: &str, before: &Value, now: &Value) -> Option<FieldError> {
    (before != now).then(|| FieldError::invalid(field, now, "field is immutable"))
}

fn specification(resource: &Resource, object: &Value) -> Vec<FieldError> {
    if resource.custom().is_some() {
        return Vec::new();
    }
    let mut errors = required(resource, object);
    let spec = &object["spec"];
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => errors.extend(pods::spec("spec", spec)),
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") => errors.extend(workload(spec)),
        ("batch", "jobs") => errors.extend(pods::spec("spec.template.spec", &spec["template"]["spec"])),
        ("", "services") => errors.extend(services::validate(spec)),
        ("autoscaling", "horizontalpodautoscalers") => errors.extend(autoscaler(spec)),
        ("", "configmaps") => {
            for key in object["data"].as_object().into_iter().flatten().map(|(key, _)| key) {
                let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
                if key.is_empty() || !key.chars().all(fits) {
                    let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
                    errors.push(FieldError::invalid(
                        format!("data[{key}]"),
                        &Value::from(key.as_str()),
                        detail,
                    ));
                }
            }
        }
        ("admissionregistration.k8s.io", _) => errors.extend(webhooks(object)),
        ("apiextensions.k8s.io", _) => errors.extend(definition(object)),
        _ => {}
    }
    errors
}

/// Fields that the published schema requires, outside the status (which controllers fill in bit by bit).
fn required(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let Some(shared) = &resource.schema else {
        return Vec::new();
    };
    if resource.plural == "events" {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for (field, value) in object.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "metadata" | "status" | "apiVersion" | "kind")
            && let Some(schema) = shared.root().field(field)
        {
            schema::required(schema, value, field, &mut errors);
        }
    }
    errors.extend(
        shared
            .root()
            .node
            .required
            .iter()
            .filter(|field| object.get(*field).is_none() && *field != "metadata")
            .map(|field| FieldError::required(field.clone(), "")),
    );
    errors
}

fn workload(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(replicas) = spec["replicas"].as_i64().filter(|replicas| *replicas < 0) {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid("spec.replicas", &replicas.into(), detail));
    }
    let selector = &spec["selector"];
    let labels = &spec["template"]["metadata"]["labels"];
    if selector.is_object() && LabelSelector::from_object(selector).is_empty() {
        errors.push(FieldError::invalid(
            "spec.selector",
            selector,
            "empty selector is invalid for deployment",
        ));
    } else if selector.is_object() && !LabelSelector::from_object(selector).matches(labels) {
        let detail = "`selector` does not match template `labels`";
        errors.push(FieldError {
            field: "spec.template.metadata.labels".into(),
            reason: "FieldValueInvalid",
            detail: format!("Invalid value: {labels}: {detail}"),
        });
    }
    let template = &spec["template"]["spec"];
    if template.is_object() {
        errors.extend(pods::spec("spec.template.spec", template));
        if template["restartPolicy"] != "Always" {
            let supported = ["Always".to_owned()];
            let field = "spec.template.spec.restartPolicy";
            errors.push(FieldError::not_supported(field, &template["restartPolicy"], &supported));
        }
    } else if spec["template"].is_object() {
        errors.push(FieldError::required("spec.template.spec.containers", ""));
    }
    let rolling = &spec["strategy"]["rollingUpdate"];
    if spec["strategy"]["type"] == "Recreate" && rolling.is_object() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        errors.push(FieldError::forbidden("spec.strategy.rollingUpdate", detail));
    }
    let zero = |value: &Value| *value == 0 || *value == "0%";
    if zero(&rolling["maxSurge"]) && zero(&rolling["maxUnavailable"]) {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            &rolling["maxUnavailable"],
            detail,
        ));
    }
    errors
}

fn autoscaler(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (least, most) = (
        spec["minReplicas"].as_i64().unwrap_or(1),
        spec["maxReplicas"].as_i64().unwrap_or(0),
    );
    if least < 1 {
        errors.push(FieldError::invalid(
            "spec.minReplicas",
            &least.into(),
            "must be greater than or equal to 1",
        ));
    }
    if most < 1 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            &most.into(),
            "must be greater than 0",
        ));
    } else if most < least {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            &most.into(),
            "must be greater than or equal to `minReplicas`",
        ));
    }
    errors
}

fn webhooks(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, webhook) in object["webhooks"].as_array().into_iter().flatten().enumerate() {
        let path = format!("webhooks[{at}]");
        if webhook["name"].as_str().is_some_and(|name| name.split('.').count() < 3) {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(format!("{path}.name"), &webhook["name"], detail));
        }
        let effects = ["None", "NoneOnDryRun"];
        if !webhook["sideEffects"]
            .as_str()
            .is_some_and(|effect| effects.contains(&effect))
        {
            let field = format!("{path}.sideEffects");
            errors.push(FieldError::not_supported(
                field,
                &webhook["sideEffects"],
                &effects.map(str::to_owned),
            ));
        }
        let versions = object::strings(&webhook["admissionReviewVersions"]);
        if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
            let detail = "must include at least one of v1, v1beta1";
            let field = format!("{path}.admissionReviewVersions");
            errors.push(FieldError::invalid(field, &webhook["admissionReviewVersions"], detail));
        }
        let (url, service) = (&webhook["clientConfig"]["url"], &webhook["clientConfig"]["service"]);
        if url.is_string() == service.is_object() {
            errors.push(FieldError::required(
                format!("{path}.clientConfig"),
                "exactly one of url or service is required",
            ));
        }
        for (at, condition) in webhook["matchConditions"].as_array().into_iter().flatten().enumerate() {
            let expression = condition["expression"].as_str().unwrap_or_default();
            if let Err(why) = crate::apiserver::admission::compile_expression(expression) {
                let field = format!("{path}.matchConditions[{at}].expression");
                errors.push(FieldError::invalid(
                    field,
                    &condition["expression"],
                    &format!("compilation failed: {why}"),
                ));
            }
        }
        if webhook["timeoutSeconds"]
            .as_i64()
            .is_some_and(|seconds| !(1..=30).contains(&seconds))
        {
            let detail = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(
                format!("{path}.timeoutSeconds"),
                &webhook["timeoutSeconds"],
                detail,
            ));
        }
    }
    errors
}

fn definition(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let expected = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if object::name(object) != expected {
        let detail = format!("must be spec.names.plural+\".\"+spec.group ({expected})");
        errors.push(FieldError::invalid(
            "metadata.name",
            &object["metadata"]["name"],
            &detail,
        ));
    }
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(
            "spec.versions",
            &Value::Array(versions.clone()),
            detail,
        ));
    }
    for (at, version) in versions.iter().enumerate() {
        let schema = &version["schema"]["openAPIV3Schema"];
        let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
        if !schema.is_object() {
            errors.push(FieldError::required(path, "schemas are required"));
            continue;
        }
        if schema["type"] != "object" {
            errors.push(FieldError::required(
                format!("{path}.type"),
                "must not be empty at the root",
            ));
        }
        errors.extend(crate::apiserver::crd::check_schema(&path, schema));
    }
    errors
}
