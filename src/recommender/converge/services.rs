//! Services that would lead to Envoy if they were admitted once more.
//!
//! A Service that was written with a number is led to the sidecars by the name of their port, once every pod has that
//! name; until then its admission leaves it. Its next admission would come with its next change, which may be never.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use valence_webhook::{Pending, Plans};

use super::requests::{Outcome, Requests};
use crate::cache::Cluster;
use crate::recommender::pulse::Pulse;
use crate::recommender::subjects::Matches;
use crate::report::events::Events;

/// Most Services that are asked about at one look.
const AT_A_LOOK: usize = 10;

/// Reason of the Event that asks the owner of a Service to touch it.
const PAST_ENVOY: &str = "PastEnvoy";

/// Asks for the re-admission of Services, or tells their owners to.
pub struct Readmission {
    requests: Requests,
    /// Whether it may ask itself.
    may_patch: bool,
    between_looks: Duration,
    looked: Option<Instant>,
}

impl Readmission {
    /// Asks with the rights to do so, and only tells without.
    #[must_use]
    pub fn new(requests: Requests, may_patch: bool, between_looks: Duration) -> Self {
        Self {
            requests,
            may_patch,
            between_looks,
            looked: None,
        }
    }

    /// Looks at the Services next to managed Deployments, now and then.
    pub async fn look(&mut self, cluster: &Cluster, matched: &Matches, events: &Events, pulse: &Pulse) {
        if self.looked.is_some_and(|at| at.elapsed() < self.between_looks) {
            return;
        }
        self.looked = Some(Instant::now());
        let mut namespaces: Vec<&str> = matched.keys().map(|(namespace, _)| namespace.as_str()).collect();
        namespaces.dedup();
        let mut asked = 0;
        let services = namespaces.into_iter().flat_map(|namespace| cluster.services(namespace));
        for service in services.filter(|service| has_number(service)) {
            pulse.beat();
            let about = service.object_ref(&());
            if !Pending::of_service(cluster, &service).leads_elsewhere() {
                events.settle(&about, PAST_ENVOY);
            } else if !self.may_patch {
                events.warn(&about, PAST_ENVOY, &advice(&service));
            } else if asked < AT_A_LOOK {
                asked += 1;
                self.ask(&service, events).await;
            }
            // Admission shares these threads.
            tokio::task::yield_now().await;
        }
    }

    async fn ask(&self, service: &Arc<Service>, events: &Events) {
        let namespace = service.namespace().unwrap_or_default();
        let spec = |service: Service| service.spec;
        let outcome = self.requests.object(&namespace, &service.name_any(), spec).await;
        if let Outcome::Refused(error) | Outcome::Failed(error) = outcome {
            let note = format!("{} (asked for and not done: {error})", advice(service));
            events.warn(&service.object_ref(&()), PAST_ENVOY, &note);
        }
    }
}

/// Whether one of its ports is written with a number.
fn has_number(service: &Service) -> bool {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let selects = service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
    selects
        && ports
            .into_iter()
            .any(|port| !matches!(port.target_port, Some(IntOrString::String(_))))
}

fn advice(service: &Service) -> String {
    format!(
        "it sends past Envoy, and would send to it if it was admitted once more: kubectl -n {} patch service {} -p '{{}}'",
        service.namespace().unwrap_or_default(),
        service.name_any(),
    )
}
