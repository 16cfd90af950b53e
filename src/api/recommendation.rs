//! `Recommendation`: what Valence decided about one Deployment, and what it knows.

// The derive repeats its attributes for every column.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::Condition;

/// Which object a Recommendation is about.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "optimizer.valence.io",
    version = "v1alpha1",
    kind = "Recommendation",
    plural = "recommendations",
    shortname = "vrec",
    category = "valence",
    namespaced,
    status = "RecommendationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A Recommendation carries what Valence decided about the Deployment of the same name: replicas, requests and limits, and why. Valence writes it; every replica of the admission webhook reads it.",
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.state",
        description = "How much the model knows"
    ),
    printcolumn(
        name = "Live",
        type_ = "boolean",
        json_path = ".status.live",
        description = "Whether it is written at admission"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Recommended replicas"
    ),
    printcolumn(
        name = "Current",
        type_ = "integer",
        json_path = ".status.currentReplicas",
        description = "Replicas that the Deployment asks for now"
    ),
    printcolumn(
        name = "CPU",
        type_ = "string",
        json_path = ".status.containers[0].requests.cpu",
        description = "CPU request of the first container"
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".status.containers[0].requests.memory",
        description = "Memory request of the first container"
    ),
    printcolumn(
        name = "Latency",
        type_ = "string",
        json_path = ".status.observed.latency",
        description = "Observed response time at the objective's percentile"
    ),
    printcolumn(
        name = "Objective",
        type_ = "string",
        json_path = ".status.objectives[0].responseTime",
        description = "Response time of the objective"
    ),
    printcolumn(
        name = "Compliance",
        type_ = "string",
        json_path = ".status.observed.compliance",
        description = "Share of requests answered in time",
        priority = 1
    ),
    printcolumn(
        name = "Bound",
        type_ = "string",
        json_path = ".status.bound",
        description = "The term that decided",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.reason",
        description = "Why",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RecommendationSpec {
    /// The Deployment that this is about.
    pub target_ref: TargetReference,
}

/// A reference to an object of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetReference {
    /// API version of the object: `apps/v1`.
    pub api_version: String,
    /// Kind of the object: `Deployment`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// What Valence decided and from what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecommendationStatus {
    /// Generation of the Deployment that this was decided from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas to run; absent while too little is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Replicas that the Deployment asks for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub current_replicas: Option<i32>,
    /// Requests and limits by container, the application's first, the sidecar as `envoy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub containers: Vec<ContainerRecommendation>,
    /// Requests, limits and replicas as the user wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Original>,
    /// How much the model knows: Cold, Learning, Confident, Drift, MetricsMissing or Unattainable.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Whether the Deployment asks that this be written at admission.
    #[serde(default)]
    pub live: bool,
    /// The objectives that hold for the Deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objectives: Vec<ObjectiveSummary>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// The model in numbers, each in the unit that its name ends with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub model: BTreeMap<String, f64>,
    /// The term that decided: Latency, Use, Knee, Memory, Limit, Forecast, TrustRegion or State.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bound: String,
    /// Why, in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The inputs of the decision, and what the next smaller choice would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<ExplanationSummary>,
    /// Utilisation of the CPU request, 0 to 1, up to which the objective is predicted to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_utilisation: Option<f64>,
    /// `Ready`: a recommendation is in force. Others say what stands in its way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Time>,
    /// The model, compact, from which a restarted recommender continues.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16384))]
    pub checkpoint: String,
}

/// Requests and limits of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRecommendation {
    /// Name of the container.
    pub name: String,
    /// Requests.
    #[serde(default)]
    pub requests: ResourceAmounts,
    /// Limits.
    #[serde(default)]
    pub limits: ResourceAmounts,
    /// Most memory that a running container of this name was last seen to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_in_use: Option<String>,
}

/// Amounts as Kubernetes quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// CPU in cores, as `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Memory in bytes, as `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
}

/// What the user wrote, before Valence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Original {
    /// Replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// Requests and limits by container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub containers: Vec<ContainerRecommendation>,
}

/// An objective that holds for the Deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveSummary {
    /// Name of the ServiceLevelObjective.
    pub slo: String,
    /// Percentile in percent.
    pub percentile: i64,
    /// Response time, as `100ms`.
    pub response_time: String,
    /// Queries per minute; absent means every throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput: Option<i64>,
}

/// What was measured over the last minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Requests answered, in queries per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throughput_per_minute: Option<f64>,
    /// Response time at `percentile`, as `87ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<String>,
    /// The percentile of `latency` in percent: that of the strictest objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<i64>,
    /// Share of requests answered within the objective's response time, as `99.87%`; absent without an objective or
    /// without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance: Option<String>,
}

/// A decision explained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExplanationSummary {
    /// Inputs by name, each in the unit that its name ends with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, f64>,
    /// What the next smaller choice would have done; empty where there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next_smaller: String,
}
