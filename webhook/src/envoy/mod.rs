//! The configuration of the Envoy sidecar, and the names of the metrics that it exposes.
//!
//! Everything is built as JSON values. What a user writes reaches the configuration as a number only.

mod bootstrap;
mod buckets;
mod listeners;
mod stats;

pub use bootstrap::{ADMIN_SOCKET_PREFIX, Proxy, bootstrap};
pub use buckets::{LONGEST_MILLISECONDS, RATIO, edges_milliseconds};
pub use stats::{
    ACTIVE_REQUESTS, CLUSTER, CLUSTER_LABEL, COMPLETED_BY_CLASS, CONNECTION_FAILURES, GRPC_BY_STATUS_PREFIX,
    GRPC_FAILURE, GRPC_SERVER_ERRORS, GRPC_SUCCESS, GRPC_TOTAL, LISTENER_LABEL, REQUEST_TIME, REQUESTS,
    REQUESTS_COMPLETED, REQUESTS_RESET_BY_CLIENT, RESPONSE_CLASS_LABEL, UPTIME_SECONDS,
};
