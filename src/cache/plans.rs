//! What admission asks, answered from the caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use valence_webhook::{LatencyObjective, ObjectiveSource, Plan, Plans};

use super::{Cluster, objectives, selectors};
use crate::core::objective::Objective;

impl Plans for Cluster {
    fn synced(&self) -> bool {
        self.filled()
    }

    fn namespace_labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        self.namespaces.get("", namespace)
    }

    fn deployment_of_replica_set(&self, namespace: &str, replica_set: &str) -> Option<String> {
        self.replica_sets.get(namespace, replica_set)?.deployment.clone()
    }

    fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        Some(Arc::clone(&self.deployments.get(namespace, name)?.object))
    }

    fn deployments(&self, namespace: &str) -> Vec<Arc<Deployment>> {
        let known = self.deployments.of(namespace);
        known.iter().map(|known| Arc::clone(&known.object)).collect()
    }

    fn objectives(&self, namespace: &str, deployment_labels: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
        let matching = objectives::matching(&self.objectives_in_force(namespace), deployment_labels);
        matching.objectives.iter().map(latency_objective).collect()
    }

    fn objective_sources(&self, namespace: &str) -> Option<Vec<ObjectiveSource>> {
        let sources = self.objectives.of(namespace).into_iter();
        Some(sources.map(|known| known as ObjectiveSource).collect())
    }

    fn plan(&self, namespace: &str, deployment: &str) -> Option<Arc<Plan>> {
        let known = self.recommendations.get(namespace, deployment)?;
        // A Deployment that was deleted and made anew is not the one that the plan was learnt from.
        let deployment = self.deployments.get(namespace, deployment)?;
        known
            .plan
            .clone()
            .filter(|_| known.owner == deployment.object.metadata.uid)
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services.of(namespace)
    }

    fn services_for(&self, namespace: &str, labels: &[(&str, &str)]) -> Vec<Arc<Service>> {
        let marks: Vec<_> = labels.iter().map(|(key, value)| selectors::mark(key, value)).collect();
        self.services.with_marks(namespace, marks.iter().map(String::as_str))
    }

    fn selected_pods(&self, namespace: &str, selector: &[(&str, &str)]) -> Vec<Pod> {
        let selected = self.pods.of_where(namespace, |pod| pod.carries(selector));
        selected.iter().filter_map(|pod| pod.unpack()).collect()
    }

    fn limit_ranges(&self, namespace: &str) -> Vec<Arc<LimitRange>> {
        self.limit_ranges.of(namespace)
    }

    fn resource_quotas(&self, namespace: &str) -> Vec<Arc<ResourceQuota>> {
        self.resource_quotas.of(namespace)
    }

    fn horizontal_pod_autoscalers(&self, namespace: &str) -> Vec<Arc<HorizontalPodAutoscaler>> {
        self.horizontal_pod_autoscalers.of(namespace)
    }

    fn network_policies(&self, namespace: &str) -> Vec<Arc<NetworkPolicy>> {
        self.network_policies.of(namespace)
    }

    fn active_vertical_pod_autoscaler(&self, namespace: &str, deployment: &str) -> Option<String> {
        let autoscalers = self.vertical_pod_autoscalers.of(namespace);
        let active = autoscalers
            .iter()
            .find(|one| one.active && one.deployment.as_deref() == Some(deployment));
        active.map(|one| one.name.clone())
    }
}

fn latency_objective(objective: &Objective) -> LatencyObjective {
    LatencyObjective {
        slo: objective.slo.clone(),
        percentile: (objective.percentile * 100.0).round() as u8,
        response_time_seconds: objective.response_time_seconds,
    }
}
