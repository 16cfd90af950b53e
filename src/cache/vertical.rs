//! VerticalPodAutoscalers that change pods, in clusters that have the kind.

use std::sync::Arc;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};

use super::follow::Follow;
use super::index::Index;

/// A VerticalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveAutoscaler {
    /// Its name.
    pub name: String,
    /// The Deployment that it targets.
    pub deployment: Option<String>,
    /// Whether its mode changes pods.
    pub active: bool,
}

/// Follows the kind where the cluster serves it.
pub fn follow(
    client: &Client,
    config: watcher::Config,
    index: &Arc<Index<ActiveAutoscaler>>,
) -> Follow<DynamicObject, ActiveAutoscaler> {
    let kind = GroupVersionKind::gvk("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler");
    Follow {
        api: Api::all_with(client.clone(), &ApiResource::from_gvk(&kind)),
        config,
        index: Arc::clone(index),
        keep,
        optional: true,
        kind: "VerticalPodAutoscaler",
    }
}

fn keep(object: DynamicObject, _: Option<&ActiveAutoscaler>) -> ActiveAutoscaler {
    let spec = &object.data["spec"];
    let target = &spec["targetRef"];
    let deployment = (target["kind"] == "Deployment")
        .then(|| target["name"].as_str().map(str::to_owned))
        .flatten();
    // A missing mode means Auto.
    let mode = spec["updatePolicy"]["updateMode"].as_str().unwrap_or("Auto");
    ActiveAutoscaler {
        name: object.name_any(),
        deployment,
        active: mode != "Off",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_modes_that_change_pods_count() {
        let kept = |policy: serde_json::Value| {
            let object = json!({
                "apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"targetRef": {"kind": "Deployment", "name": "web"}, "updatePolicy": policy},
            });
            keep(serde_json::from_value(object).unwrap(), None)
        };
        assert!(kept(json!({})).active);
        assert!(kept(json!({"updateMode": "Initial"})).active);
        assert!(!kept(json!({"updateMode": "Off"})).active);
        assert_eq!(kept(json!({})).deployment.as_deref(), Some("web"));
    }
}
