//! Whether a webhook is asked about a request.

use std::sync::Arc;

use serde_json::Value;

use super::Attributes;
use super::configuration::Webhook;
use super::expressions::{self, Variables};
use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::registry::Resource;
use crate::apiserver::store::ObjectKey;

/// The form in which a webhook is to see a request.
pub(super) enum Shown {
    AsSent,
    /// In another version (or group) of the same resource, which is the one that its rules name.
    As(Arc<Resource>),
}

/// Rules and selectors; conditions are the caller's next question.
pub(super) fn selects(api: &Api, webhook: &Webhook, attributes: &Attributes<'_>, object: &Value) -> Option<Shown> {
    // Webhooks cannot lock an administrator out of the configuration of webhooks.
    if attributes.resource.group == "admissionregistration.k8s.io" {
        return None;
    }
    let shown = shown(api, webhook, attributes)?;
    let selected = namespace_fits(api, webhook, attributes, object) && object_fits(webhook, attributes, object);
    selected.then_some(shown)
}

fn shown(api: &Api, webhook: &Webhook, attributes: &Attributes<'_>) -> Option<Shown> {
    let fits = |resource: &Resource| webhook.rules.iter().any(|rule| rule_fits(rule, attributes, resource));
    if fits(attributes.resource) {
        return Some(Shown::AsSent);
    }
    // Subresources of another kind (scale) have one version only.
    if !webhook.equivalent || attributes.kind.2 != attributes.resource.kind {
        return None;
    }
    let served = api.registry.served();
    let other = served
        .iter()
        .find(|other| other.key == attributes.resource.key && fits(other))?;
    Some(Shown::As(other.clone()))
}

fn rule_fits(rule: &Value, attributes: &Attributes<'_>, resource: &Resource) -> bool {
    let lists = |field: &str, wanted: &str| {
        rule[field]
            .as_array()
            .into_iter()
            .flatten()
            .any(|value| value == wanted || value == "*")
    };
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => resource.namespaced && !resource.is("", "namespaces"),
        Some("Cluster") => !resource.namespaced,
        _ => true,
    };
    scope
        && lists("operations", attributes.operation)
        && lists("apiGroups", &resource.group)
        && lists("apiVersions", &resource.version)
        && object::strings(&rule["resources"])
            .iter()
            .any(|pattern| resource_fits(pattern, attributes))
}

/// `pods`, `pods/resize`, `pods/*`, `*/scale`, `*`, `*/*`.
fn resource_fits(pattern: &str, attributes: &Attributes<'_>) -> bool {
    let fits = |pattern: &str, name: &str| pattern == "*" || pattern == name;
    match pattern.split_once('/') {
        None => attributes.subresource.is_empty() && fits(pattern, &attributes.resource.plural),
        Some((plural, subresource)) => {
            let either = pattern == "*/*" || !attributes.subresource.is_empty();
            either && fits(plural, &attributes.resource.plural) && fits(subresource, attributes.subresource)
        }
    }
}

/// By the labels of the object's namespace, or of the namespace that is itself the object.
fn namespace_fits(api: &Api, webhook: &Webhook, attributes: &Attributes<'_>, object: &Value) -> bool {
    if webhook.namespaces.is_empty() {
        return true;
    }
    if attributes.resource.is("", "namespaces") {
        let either = if object.is_null() {
            attributes.old.unwrap_or(object)
        } else {
            object
        };
        return webhook.namespaces.matches(&either["metadata"]["labels"]);
    }
    if !attributes.resource.namespaced {
        return true;
    }
    let namespace = api
        .store
        .get(&api.core("namespaces"), &ObjectKey::new("", attributes.namespace));
    namespace.is_some_and(|namespace| webhook.namespaces.matches(&namespace.value["metadata"]["labels"]))
}

/// By the labels of the object before or after.
fn object_fits(webhook: &Webhook, attributes: &Attributes<'_>, object: &Value) -> bool {
    let fits = |object: &Value| object.is_object() && webhook.objects.matches(&object["metadata"]["labels"]);
    webhook.objects.is_empty() || fits(object) || attributes.old.is_some_and(fits)
}

/// The answer of the match conditions.
pub(super) enum Conditions {
    Hold,
    DoNotHold,
    /// One cannot be evaluated, and none is false.
    Broken(String),
}

pub(super) fn conditions(webhook: &Webhook, variables: &Variables) -> Conditions {
    let mut broken = None;
    for condition in &webhook.conditions {
        let answer = match &condition.program {
            Ok(program) => expressions::holds(program, variables),
            Err(error) => Err(error.clone()),
        };
        match answer {
            Ok(true) => {}
            Ok(false) => return Conditions::DoNotHold,
            Err(error) => broken = Some(format!("match condition '{}': {error}", condition.name)),
        }
    }
    broken.map_or(Conditions::Hold, Conditions::Broken)
}
