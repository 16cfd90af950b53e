//! What admission asks of the rest of Valence.
//!
//! Everything here is answered from memory: an implementation that would wait for the network has no place behind
//! [`Plans`], because a pod waits for the answer.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;

/// The view of the cluster and of the recommender that admission decides from.
///
/// Methods return `None` or an empty list for what is not known; admission then leaves the object as it came.
pub trait Plans: Send + Sync {
    /// Whether every cache has been filled once. Until then admission changes nothing.
    fn synced(&self) -> bool;

    /// Labels of a namespace.
    fn namespace_labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>>;

    /// Name of the Deployment that controls a ReplicaSet.
    fn deployment_of_replica_set(&self, namespace: &str, replica_set: &str) -> Option<String>;

    /// A Deployment as last seen by the watch.
    fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>>;

    /// Deployments of a namespace as last seen by the watch.
    fn deployments(&self, namespace: &str) -> Vec<Arc<Deployment>>;

    /// The latency objectives whose selector matches the labels of a Deployment.
    fn objectives(&self, namespace: &str, deployment_labels: &BTreeMap<String, String>) -> Vec<LatencyObjective>;

    /// The objects that [`objectives`](Self::objectives) of a namespace are taken from: while these are the same, so are
    /// the objectives of any labels. `None` where nobody can tell.
    fn objective_sources(&self, namespace: &str) -> Option<Vec<ObjectiveSource>> {
        let _ = namespace;
        None
    }

    /// What the recommender last decided for a Deployment, whether it is live or not.
    fn plan(&self, namespace: &str, deployment: &str) -> Option<Arc<Plan>>;

    /// Services of a namespace.
    fn services(&self, namespace: &str) -> Vec<Arc<Service>>;

    /// Services of a namespace for pods that carry these labels: all that select them, and perhaps others.
    fn services_for(&self, namespace: &str, labels: &[(&str, &str)]) -> Vec<Arc<Service>> {
        let _ = labels;
        self.services(namespace)
    }

    /// Pods of a namespace that carry all labels of a selector (managed fields and environment dropped by the cache).
    fn selected_pods(&self, namespace: &str, selector: &[(&str, &str)]) -> Vec<Pod>;

    /// LimitRanges of a namespace.
    fn limit_ranges(&self, namespace: &str) -> Vec<Arc<LimitRange>>;

    /// ResourceQuotas of a namespace.
    fn resource_quotas(&self, namespace: &str) -> Vec<Arc<ResourceQuota>>;

    /// HorizontalPodAutoscalers of a namespace.
    fn horizontal_pod_autoscalers(&self, namespace: &str) -> Vec<Arc<HorizontalPodAutoscaler>>;

    /// NetworkPolicies of a namespace. Where they are not known, a policy that admits traffic to the application's port by
    /// its number goes unnoticed.
    fn network_policies(&self, namespace: &str) -> Vec<Arc<NetworkPolicy>> {
        let _ = namespace;
        Vec::new()
    }

    /// Name of a VerticalPodAutoscaler in a mode that changes pods (`Auto`, `Recreate`, `Initial`, `InPlaceOrRecreate`)
    /// and that targets the Deployment.
    fn active_vertical_pod_autoscaler(&self, namespace: &str, deployment: &str) -> Option<String>;
}

/// An object that objectives are taken from, whatever it is.
pub type ObjectiveSource = Arc<dyn Any + Send + Sync>;

/// One latency objective, as far as admission needs it: the histogram of the sidecar gets an edge at `response_time_seconds`.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyObjective {
    /// Name of the ServiceLevelObjective.
    pub slo: String,
    /// Percentile in percent: 99, 95, 90, 75 or 50.
    pub percentile: u8,
    /// Response time to keep, in seconds.
    pub response_time_seconds: f64,
}

/// The recommender's decision about one Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Replicas to run; `None` while the recommender does not know.
    pub replicas: Option<u32>,
    /// Replicas that the user asked for before the Deployment went live, where the recommender knows them: a Scale has
    /// no annotations to write them down in.
    pub original_replicas: Option<u32>,
    /// Requests and limits by container name. A container that is not named here is left as it is.
    pub containers: BTreeMap<String, ContainerResources>,
    /// Requests and limits of the injected sidecar, once learnt from its own usage.
    pub sidecar: Option<ContainerResources>,
    /// CPU utilisation (of the request, 0 to 1) at which the model says that the objective holds; for an HPA's target.
    pub target_utilisation: Option<f64>,
    /// One line that says why, shown in warnings and annotations.
    pub reason: String,
}

/// Requests and limits of one container. `None` leaves that value as the user wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerResources {
    /// CPU request in thousandths of a core.
    pub cpu_request_millicores: Option<u64>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit_millicores: Option<u64>,
    /// Memory request in bytes.
    pub memory_request_bytes: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Most memory that a running container of this name was last seen to use, in bytes: a limit is never lowered
    /// below it in place.
    pub memory_in_use_bytes: Option<u64>,
}

/// Fixed names that Valence shares with its users: labels, annotations and ports.
pub mod names {
    /// Namespace label that turns injection on when its value is `enabled`; also an annotation of a pod template.
    pub const INJECTION: &str = "valence.io/injection";
    /// Deployment annotation: `"true"` makes Valence write its recommendation at admission.
    pub const CONFIGURE: &str = "valence.io/optimizer.configure";
    /// Service label of a Service whose 8181 port serves the sidecar's metrics.
    pub const PROMETHEUS: &str = "valence.net/prometheus";
    /// Deployment annotation: least replicas to recommend.
    pub const MIN_REPLICAS: &str = "valence.io/optimizer.min-replicas";
    /// Deployment annotation: most replicas to recommend.
    pub const MAX_REPLICAS: &str = "valence.io/optimizer.max-replicas";
    /// Deployment annotation: least CPU request to recommend, a quantity.
    pub const MIN_CPU_REQUESTS: &str = "valence.io/optimizer.min-cpu-requests";
    /// Deployment annotation: most CPU request to recommend, a quantity.
    pub const MAX_CPU_REQUESTS: &str = "valence.io/optimizer.max-cpu-requests";
    /// Deployment annotation: least memory request to recommend, a quantity.
    pub const MIN_MEMORY_REQUESTS: &str = "valence.io/optimizer.min-memory-requests";
    /// Deployment annotation: most memory request to recommend, a quantity.
    pub const MAX_MEMORY_REQUESTS: &str = "valence.io/optimizer.max-memory-requests";
    /// Pod template annotation: the application's port that the sidecar fronts, by number or by the name of a container port.
    pub const PORT: &str = "valence.io/port";
    /// Pod template annotation: protocol of that port where neither appProtocol nor the port's name tells: `http`, `http2`, `grpc` or `tcp`.
    pub const PROTOCOL: &str = "valence.io/protocol";
    /// Pod annotation written at injection: what was injected, as JSON (`port`, `name`, `form`).
    pub const INJECTED: &str = "valence.io/injected";
    /// Annotation written at admission: the values that the user asked for, as JSON.
    pub const ORIGINAL: &str = "valence.io/original";
    /// Annotation written at admission: the values that Valence wrote in their place, as JSON.
    pub const EFFECTIVE: &str = "valence.io/effective";
    /// Deployment annotation: `leave` (default: an HPA keeps the replicas) or `manage` (the HPA's bounds follow the model).
    pub const HORIZONTAL_POD_AUTOSCALER: &str = "valence.io/optimizer.horizontal-pod-autoscaler";
    /// Deployment annotation: `stand-back` (default) or `override`, where a VPA changes the same pods.
    pub const VERTICAL_POD_AUTOSCALER: &str = "valence.io/optimizer.vertical-pod-autoscaler";
    /// Service annotation: `"true"` adds the metrics port to a Service of type LoadBalancer too, `"false"` to none.
    pub const EXPOSE_METRICS: &str = "valence.io/expose-metrics";
    /// Name of the sidecar container, injected or written by hand.
    pub const SIDECAR_CONTAINER: &str = "envoy";
    /// Port on which the sidecar takes traffic.
    pub const TRAFFIC_PORT: i32 = 8081;
    /// Port on which the sidecar serves `/stats/prometheus`.
    pub const METRICS_PORT: i32 = 8181;
}
