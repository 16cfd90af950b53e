//! The Deployment that a pod belongs to.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;

use crate::plans::Plans;
use crate::view::Metadata;

/// Label that the Deployment controller gives to pods, and appends to the names of ReplicaSets.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The Deployment that a pod belongs to.
pub(super) struct Owner {
    /// Its name, where there is one.
    pub name: Option<String>,
    /// Itself, where the watch has seen it.
    pub deployment: Option<Arc<Deployment>>,
}

impl Owner {
    /// Follows the owner references of a pod: ReplicaSet, then Deployment.
    pub fn find(plans: &dyn Plans, namespace: &str, metadata: &Metadata<'_>) -> Self {
        let name = replica_set(metadata).and_then(|replica_set| {
            let known = plans.deployment_of_replica_set(namespace, replica_set);
            known.or_else(|| from_replica_set_name(replica_set, metadata))
        });
        let deployment = name.as_deref().and_then(|name| plans.deployment(namespace, name));
        Self { name, deployment }
    }

    /// Whether there is a Deployment that has not been seen yet.
    pub fn is_missing(&self) -> bool {
        self.name.is_some() && self.deployment.is_none()
    }
}

fn replica_set<'m>(metadata: &'m Metadata<'_>) -> Option<&'m str> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller.unwrap_or_default())?;
    (controller.kind.as_deref() == Some("ReplicaSet")).then_some(controller.name.as_deref()?)
}

/// A ReplicaSet that the watch has not seen: its name is the Deployment's, a dash and the hash of the template.
fn from_replica_set_name(replica_set: &str, metadata: &Metadata<'_>) -> Option<String> {
    let hash = metadata.label(TEMPLATE_HASH)?;
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    (!name.is_empty()).then(|| name.to_owned())
}
