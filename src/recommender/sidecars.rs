//! Pods that should carry a sidecar and do not: admission was away when they were made, or they are older than the wish.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use valence_webhook::{Prospect, names};

use crate::cache::Cluster;
use crate::core::observation::PodPhase;
use crate::scrape::{Subject, pods};

/// How the pods of a Deployment stand to their sidecars.
#[derive(Clone, Debug, Default)]
pub struct Sidecars {
    /// What would become of a new pod; not asked where every pod carries a sidecar.
    pub prospect: Option<Prospect>,
    /// Pods of the template in force that carry none, though a new one would.
    pub missing: Vec<Arc<Pod>>,
    /// When the oldest pod that was injected was made, in seconds since the Unix epoch.
    pub injected_since: Option<f64>,
}

impl Sidecars {
    /// Looks at the pods, and asks admission where some of them are plain.
    #[must_use]
    pub fn of(cluster: &Cluster, deployment: &Deployment, subject: &Subject) -> Self {
        let current = || {
            let pods = subject.pods.iter().filter(|pod| is_current(pod, &subject.template));
            pods.filter(|pod| pods::phase(pod, 0.0) != PodPhase::Terminating)
        };
        let injected = current().filter(|pod| pod.annotations().contains_key(names::INJECTED));
        let mut sidecars = Self {
            injected_since: injected.map(|pod| pods::created_at_seconds(pod)).reduce(f64::min),
            ..Self::default()
        };
        let plain: Vec<_> = current()
            .filter(|pod| pods::metrics_port(pod).is_none())
            .cloned()
            .collect();
        if !plain.is_empty() {
            let prospect = Prospect::of(cluster, &subject.namespace, deployment);
            if prospect == Prospect::Sidecar {
                sidecars.missing = plain;
            }
            sidecars.prospect = Some(prospect);
        }
        sidecars
    }

    /// Those of the pods without a sidecar that were made when they should have got one: after the wish for it was first
    /// seen, or beside a pod that got it.
    pub fn slipped(&self, wished_since: Option<f64>) -> impl Iterator<Item = &Pod> {
        self.missing.iter().map(AsRef::as_ref).filter(move |pod| {
            let made = pods::created_at_seconds(pod);
            wished_since.is_some_and(|since| made > since) || self.injected_since.is_some_and(|since| made >= since)
        })
    }
}

/// Whether a pod is of a template; others will be replaced by the rollout anyway.
#[must_use]
pub fn is_current(pod: &Pod, template: &str) -> bool {
    pod.labels()
        .get("pod-template-hash")
        .is_none_or(|own| own.as_str() == template)
}
