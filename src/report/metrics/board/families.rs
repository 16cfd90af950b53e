//! The series that are made from the board: what they are called, what they say and what tells them apart.

use prometheus::proto::MetricType;

/// Series of one name.
pub struct Family {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// What a value means, with its unit.
    pub help: &'static str,
    /// Names of the labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
    /// Gauge or counter.
    pub kind: MetricType,
}

const WORKLOAD: &[&str] = &["namespace", "name"];
const CONTAINER: &[&str] = &["namespace", "name", "container_name"];
const OBJECTIVE: &[&str] = &["namespace", "name", "slo", "objective"];
const STATE: &[&str] = &["namespace", "name", "state"];
const SLO: &[&str] = &["namespace", "slo"];

/// A constant for each family and a list of them all, so that none can be told of and left out of the list.
macro_rules! families {
    ($($constant:ident: $kind:ident, $labels:ident, $name:literal, $help:literal;)+) => {
        $(pub const $constant: &Family = &Family {
            name: $name,
            help: $help,
            labels: $labels,
            kind: MetricType::$kind,
        };)+

        /// Every family, in the order in which they are told.
        pub const ALL: &[&Family] = &[$($constant),+];
    };
}

families! {
    RECOMMENDATIONS_CPU_REQUESTS: GAUGE, CONTAINER, "valence_recommendations_cpu_requests",
        "Recommended CPU request in cores.";
    RECOMMENDATIONS_CPU_LIMITS: GAUGE, CONTAINER, "valence_recommendations_cpu_limits",
        "Recommended CPU limit in cores.";
    RECOMMENDATIONS_MEMORY_REQUESTS: GAUGE, CONTAINER, "valence_recommendations_memory_requests",
        "Recommended memory request in bytes.";
    RECOMMENDATIONS_MEMORY_LIMITS: GAUGE, CONTAINER, "valence_recommendations_memory_limits",
        "Recommended memory limit in bytes.";
    RECOMMENDATIONS_REPLICAS: GAUGE, WORKLOAD, "valence_recommendations_replicas", "Recommended replicas.";
    ORIGINAL_CPU_REQUESTS: GAUGE, CONTAINER, "valence_original_cpu_requests",
        "CPU request in cores as the user wrote it.";
    ORIGINAL_CPU_LIMITS: GAUGE, CONTAINER, "valence_original_cpu_limits", "CPU limit in cores as the user wrote it.";
    ORIGINAL_MEMORY_REQUESTS: GAUGE, CONTAINER, "valence_original_memory_requests",
        "Memory request in bytes as the user wrote it.";
    ORIGINAL_MEMORY_LIMITS: GAUGE, CONTAINER, "valence_original_memory_limits",
        "Memory limit in bytes as the user wrote it.";
    ORIGINAL_REPLICAS: GAUGE, WORKLOAD, "valence_original_replicas", "Replicas as the user wrote them.";
    CURRENT_CPU_REQUESTS: GAUGE, CONTAINER, "valence_current_cpu_requests", "CPU request in cores in force.";
    CURRENT_CPU_LIMITS: GAUGE, CONTAINER, "valence_current_cpu_limits", "CPU limit in cores in force.";
    CURRENT_MEMORY_REQUESTS: GAUGE, CONTAINER, "valence_current_memory_requests", "Memory request in bytes in force.";
    CURRENT_MEMORY_LIMITS: GAUGE, CONTAINER, "valence_current_memory_limits", "Memory limit in bytes in force.";
    CURRENT_REPLICAS: GAUGE, WORKLOAD, "valence_current_replicas", "Replicas that the Deployment asks for.";
    OBSERVED_CPU_USAGE: GAUGE, CONTAINER, "valence_observed_cpu_usage",
        "CPU in use in cores, averaged over the pods that serve.";
    OBSERVED_MEMORY_USAGE: GAUGE, CONTAINER, "valence_observed_memory_usage",
        "Memory in use in bytes, of the pod that uses most.";
    CURRENT_READY_REPLICAS: GAUGE, WORKLOAD, "valence_current_ready_replicas", "Pods that serve.";
    SLO_HTTP_LATENCY: GAUGE, OBJECTIVE, "valence_slo_http_latency", "Response time of the objective in seconds.";
    SLO_HTTP_PERCENTILE: GAUGE, OBJECTIVE, "valence_slo_http_percentile", "Percentile of the objective.";
    SLO_HTTP_THROUGHPUT: GAUGE, OBJECTIVE, "valence_slo_http_throughput",
        "Throughput of the objective in queries per minute; absent where it holds at every throughput.";
    OBSERVED_HTTP_LATENCY: GAUGE, OBJECTIVE, "valence_observed_http_latency",
        "Observed response time in seconds at the percentile of the objective, over the last minutes.";
    OBSERVED_HTTP_THROUGHPUT: GAUGE, WORKLOAD, "valence_observed_http_throughput",
        "Observed throughput in queries per minute.";
    SLO_COMPLIANCE_RATIO: GAUGE, OBJECTIVE, "valence_slo_compliance_ratio",
        "Share of requests answered in time over the last hour.";
    SLO_ERROR_BUDGET_LEFT_RATIO: GAUGE, OBJECTIVE, "valence_slo_error_budget_left_ratio",
        "Share of the error budget of the last hour that is left; negative when overspent.";
    SLO_HTTP_REQUESTS_TOTAL: COUNTER, OBJECTIVE, "valence_slo_http_requests_total",
        "Requests that the objective was held against.";
    SLO_HTTP_REQUESTS_EXCEEDING_TOTAL: COUNTER, OBJECTIVE, "valence_slo_http_requests_exceeding_total",
        "Requests that took longer than the objective allows.";
    LIVE: GAUGE, WORKLOAD, "valence_live", "1 where the recommendation is written at admission.";
    MODEL_STATE: GAUGE, STATE, "valence_model_state", "1 for the state that the model is in.";
    SLO_READY: GAUGE, SLO, "valence_slo_ready", "1 where the ServiceLevelObjective is understood and in force.";
    SLO_MATCHED_DEPLOYMENTS: GAUGE, SLO, "valence_slo_matched_deployments",
        "Deployments that the ServiceLevelObjective selects.";
}
