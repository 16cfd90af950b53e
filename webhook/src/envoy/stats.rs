//! Which statistics the sidecar keeps, and what they are called in its exposition.
//!
//! Latency is `upstream_rq_time`: from the whole request having arrived to the last byte of the response, in
//! milliseconds. It holds what the application and its queues take, retries included, and leaves out how slowly a
//! client sends its request. Answers that Envoy gives in the application's place (it is down, it hangs up) have no
//! latency; they are in [`COMPLETED_BY_CLASS`] as class 5.

use serde_json::{Value, json};

use super::buckets::edges_milliseconds;

/// Name of the cluster that is the application, and of the HTTP connection manager that fronts it.
pub const CLUSTER: &str = "app";
/// Label whose value is [`CLUSTER`] in metrics of the application side (`envoy_cluster_...`).
pub const CLUSTER_LABEL: &str = "envoy_cluster_name";
/// Label whose value is [`CLUSTER`] in metrics of the client side (`envoy_http_...`).
pub const LISTENER_LABEL: &str = "envoy_http_conn_manager_prefix";
/// Label with the first digit of the HTTP status in [`COMPLETED_BY_CLASS`]: `1` to `5`.
pub const RESPONSE_CLASS_LABEL: &str = "envoy_response_code_class";
/// Histogram of response times in milliseconds; see the module's text.
pub const REQUEST_TIME: &str = "envoy_cluster_upstream_rq_time";
/// Counter of requests that arrived.
pub const REQUESTS: &str = "envoy_http_downstream_rq_total";
/// Counter of requests that were answered.
pub const REQUESTS_COMPLETED: &str = "envoy_http_downstream_rq_completed";
/// Counter of answers by class of status, those of Envoy itself included.
pub const COMPLETED_BY_CLASS: &str = "envoy_http_downstream_rq_xx";
/// Counter of requests that clients gave up.
pub const REQUESTS_RESET_BY_CLIENT: &str = "envoy_http_downstream_rq_rx_reset";
/// Gauge of requests in progress.
pub const ACTIVE_REQUESTS: &str = "envoy_http_downstream_rq_active";
/// Counter of connections that the application did not accept.
pub const CONNECTION_FAILURES: &str = "envoy_cluster_upstream_cx_connect_fail";
/// Counter of gRPC calls that ended with status 0.
pub const GRPC_SUCCESS: &str = "envoy_cluster_grpc_success";
/// Counter of gRPC calls that ended with another status than 0, mistakes of the caller included.
pub const GRPC_FAILURE: &str = "envoy_cluster_grpc_failure";
/// Counter of gRPC calls.
pub const GRPC_TOTAL: &str = "envoy_cluster_grpc_total";
/// A counter for each gRPC status: this prefix, then the number of the status.
pub const GRPC_BY_STATUS_PREFIX: &str = "envoy_cluster_grpc_";
/// gRPC statuses that are the server's failure, as 5xx are in HTTP: UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED,
/// UNIMPLEMENTED, INTERNAL, UNAVAILABLE and DATA_LOSS.
pub const GRPC_SERVER_ERRORS: [u8; 7] = [2, 4, 8, 12, 13, 14, 15];
/// Gauge of seconds since Envoy started.
pub const UPTIME_SECONDS: &str = "envoy_server_uptime";

/// `stats_config`: the statistics to keep, all others are never allocated, and the edges of the histogram.
pub(super) fn stats_config(objectives_seconds: &[f64]) -> Value {
    json!({
        "stats_matcher": {"inclusion_list": {"patterns": patterns()}},
        "histogram_bucket_settings": [{
            "match": {"exact": format!("cluster.{CLUSTER}.upstream_rq_time")},
            "buckets": edges_milliseconds(objectives_seconds),
        }],
    })
}

fn patterns() -> Vec<Value> {
    let client_side = [
        "total",
        "completed",
        "1xx",
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "rx_reset",
        "active",
    ];
    let application_side = ["upstream_rq_time", "upstream_cx_connect_fail"];
    let mut patterns = vec![json!({"exact": "server.uptime"})];
    patterns.extend(client_side.map(|name| json!({"exact": format!("http.{CLUSTER}.downstream_rq_{name}")})));
    patterns.extend(application_side.map(|name| json!({"exact": format!("cluster.{CLUSTER}.{name}")})));
    let grpc = format!(r"cluster\.{CLUSTER}\.grpc\.(success|failure|total|[0-9]+)");
    patterns.push(json!({"safe_regex": {"regex": grpc}}));
    patterns
}
