//! Whether injection was asked for.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;

use crate::plans::{Plans, names};

/// What an annotation or a label says: `enabled` or `disabled`, or a boolean as other meshes have it; nothing else.
#[must_use]
pub(crate) fn wish(value: &str) -> Option<bool> {
    match value {
        "enabled" | "true" => Some(true),
        "disabled" | "false" => Some(false),
        _ => None,
    }
}

/// Whether a namespace asks for it.
#[must_use]
pub(crate) fn namespace_wish(plans: &dyn Plans, namespace: &str) -> bool {
    let labels = plans.namespace_labels(namespace);
    let value = labels.as_ref().and_then(|labels| labels.get(names::INJECTION));
    value.and_then(|value| wish(value)).unwrap_or_default()
}

/// Whether the pods of a Deployment get sidecars.
#[must_use]
pub(crate) fn is_due(plans: &dyn Plans, namespace: &str, deployment: &Deployment) -> bool {
    let nothing = BTreeMap::new();
    let labels = deployment.metadata.labels.as_ref().unwrap_or(&nothing);
    let template = deployment.spec.template.metadata.as_ref();
    let annotation = template.and_then(|template| template.annotations.as_ref()?.get(names::INJECTION));
    annotation
        .and_then(|value| wish(value))
        .unwrap_or_else(|| namespace_wish(plans, namespace) && !plans.objectives(namespace, labels).is_empty())
}
