//! A cluster as a test case describes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use valence_webhook::{ContainerResources, LatencyObjective, Plan, Plans, quantity};

/// A cluster as a test case describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cluster {
    /// Labels of the namespace.
    pub namespace_labels: BTreeMap<String, String>,
    /// Whether the caches are still being filled.
    pub starting: bool,
    /// Objectives with the labels that they select.
    pub objectives: Vec<Objective>,
    /// Plans by Deployment.
    pub plans: BTreeMap<String, PlanOf>,
    /// Names of VerticalPodAutoscalers by Deployment.
    pub vertical_pod_autoscalers: BTreeMap<String, String>,
    /// ReplicaSets with their Deployments.
    pub replica_sets: BTreeMap<String, String>,
    pub deployments: Vec<Value>,
    pub services: Vec<Value>,
    pub pods: Vec<Value>,
    pub limit_ranges: Vec<Value>,
    pub resource_quotas: Vec<Value>,
    pub horizontal_pod_autoscalers: Vec<Value>,
    pub network_policies: Vec<Value>,
}

/// An objective of a case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Objective {
    pub slo: String,
    pub selector: BTreeMap<String, String>,
    pub percentile: u8,
    pub response_time_seconds: f64,
}

/// A plan of a case.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PlanOf {
    pub replicas: Option<u32>,
    pub original_replicas: Option<u32>,
    pub containers: BTreeMap<String, AmountsOf>,
    pub sidecar: Option<AmountsOf>,
    pub target_utilisation: Option<f64>,
    pub reason: String,
}

/// Amounts of a plan.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AmountsOf {
    pub cpu_request: Option<String>,
    pub cpu_limit: Option<String>,
    pub memory_request: Option<String>,
    pub memory_limit: Option<String>,
    pub memory_in_use: Option<String>,
}

impl AmountsOf {
    fn resources(&self) -> ContainerResources {
        let cpu = |text: &Option<String>| text.as_deref().map(|text| quantity::millicores(text).unwrap());
        let memory = |text: &Option<String>| text.as_deref().map(|text| quantity::bytes(text).unwrap());
        ContainerResources {
            cpu_request_millicores: cpu(&self.cpu_request),
            cpu_limit_millicores: cpu(&self.cpu_limit),
            memory_request_bytes: memory(&self.memory_request),
            memory_limit_bytes: memory(&self.memory_limit),
            memory_in_use_bytes: memory(&self.memory_in_use),
        }
    }
}

fn typed<T: DeserializeOwned>(objects: &[Value]) -> Vec<Arc<T>> {
    let parse = |object: &Value| Arc::new(serde_json::from_value(object.clone()).unwrap());
    objects.iter().map(parse).collect()
}

impl Plans for Cluster {
    fn synced(&self) -> bool {
        !self.starting
    }

    fn namespace_labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        (namespace != "kube-system").then(|| Arc::new(self.namespace_labels.clone()))
    }

    fn deployment_of_replica_set(&self, _: &str, replica_set: &str) -> Option<String> {
        self.replica_sets.get(replica_set).cloned()
    }

    fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let mut all = self.deployments(namespace).into_iter();
        all.find(|deployment| deployment.metadata.name.as_deref() == Some(name))
    }

    fn deployments(&self, namespace: &str) -> Vec<Arc<Deployment>> {
        let mut all = typed::<Deployment>(&self.deployments);
        all.retain(|deployment| {
            deployment
                .metadata
                .namespace
                .as_deref()
                .is_none_or(|own| own == namespace)
        });
        all
    }

    fn objectives(&self, _: &str, labels: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
        let selects = |objective: &&Objective| {
            objective
                .selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        };
        let objective = |objective: &Objective| LatencyObjective {
            slo: objective.slo.clone(),
            percentile: objective.percentile,
            response_time_seconds: objective.response_time_seconds,
        };
        self.objectives.iter().filter(selects).map(objective).collect()
    }

    fn plan(&self, _: &str, deployment: &str) -> Option<Arc<Plan>> {
        let plan = self.plans.get(deployment)?;
        let containers = plan.containers.iter();
        Some(Arc::new(Plan {
            replicas: plan.replicas,
            original_replicas: plan.original_replicas,
            containers: containers
                .map(|(name, amounts)| (name.clone(), amounts.resources()))
                .collect(),
            sidecar: plan.sidecar.as_ref().map(AmountsOf::resources),
            target_utilisation: plan.target_utilisation,
            reason: plan.reason.clone(),
        }))
    }

    fn services(&self, _: &str) -> Vec<Arc<Service>> {
        typed(&self.services)
    }

    fn selected_pods(&self, _: &str, selector: &[(&str, &str)]) -> Vec<Pod> {
        let mut pods: Vec<Arc<Pod>> = typed(&self.pods);
        pods.retain(|pod| {
            let labels = pod.metadata.labels.as_ref();
            let holds = |(key, value): &(&str, &str)| {
                labels
                    .and_then(|labels| labels.get(*key))
                    .is_some_and(|held| held == value)
            };
            selector.iter().all(holds)
        });
        pods.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    fn limit_ranges(&self, _: &str) -> Vec<Arc<LimitRange>> {
        typed(&self.limit_ranges)
    }

    fn resource_quotas(&self, _: &str) -> Vec<Arc<ResourceQuota>> {
        typed(&self.resource_quotas)
    }

    fn horizontal_pod_autoscalers(&self, _: &str) -> Vec<Arc<HorizontalPodAutoscaler>> {
        typed(&self.horizontal_pod_autoscalers)
    }

    fn network_policies(&self, _: &str) -> Vec<Arc<NetworkPolicy>> {
        typed(&self.network_policies)
    }

    fn active_vertical_pod_autoscaler(&self, _: &str, deployment: &str) -> Option<String> {
        self.vertical_pod_autoscalers.get(deployment).cloned()
    }
}
