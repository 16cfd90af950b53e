//! What a user asks for: a percentile of response times, at a throughput or at all.

/// A latency objective of a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Name of the ServiceLevelObjective it comes from.
    pub slo: String,
    /// Share of requests that must be answered within `response_time_seconds`, 0 to 1 (p99 is 0.99).
    pub percentile: f64,
    /// Response time in seconds.
    pub response_time_seconds: f64,
    /// Throughput in queries per second for which the objective is to hold; `None` means at every throughput.
    pub throughput_per_second: Option<f64>,
}
