//! Pods that should carry a sidecar and do not: admission was away when they were made, or they are older than the wish.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use valence_webhook::Prospect;

use crate::cache::Cluster;
use crate::scrape::{PodSummary, Subject};

/// How the pods of a Deployment stand to their sidecars.
#[derive(Clone, Debug, Default)]
pub struct Sidecars {
    /// What would become of a new pod; not asked where every pod carries a sidecar.
    pub prospect: Option<Prospect>,
    /// Pods of the template in force that carry none, though a new one would.
    pub missing: Vec<Arc<PodSummary>>,
    /// When the oldest pod that was injected was made, in seconds since the Unix epoch.
    pub injected_since: Option<f64>,
}

impl Sidecars {
    /// Looks at the pods, and asks admission where some of them are plain.
    #[must_use]
    pub fn of(cluster: &Cluster, deployment: &Deployment, subject: &Subject) -> Self {
        let current = || {
            let pods = subject.pods.iter();
            pods.filter(|pod| pod.is_current(&subject.template))
        };
        let injected = current().filter(|pod| pod.is_injected);
        let mut sidecars = Self {
            injected_since: injected.map(|pod| pod.created_at_seconds).reduce(f64::min),
            ..Self::default()
        };
        let plain: Vec<_> = current().filter(|pod| pod.metrics_port.is_none()).cloned().collect();
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
    pub fn slipped(&self, wished_since: Option<f64>) -> impl Iterator<Item = &PodSummary> {
        self.missing.iter().map(AsRef::as_ref).filter(move |pod| {
            let made = pod.created_at_seconds;
            wished_since.is_some_and(|since| made > since) || self.injected_since.is_some_and(|since| made >= since)
        })
    }
}
