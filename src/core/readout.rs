//! What a page or a command shows of the model.

use serde::Serialize;

use super::objective::Objective;

/// What the measurements say about an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Verdict {
    /// It holds, at 95% confidence.
    Met,
    /// It does not hold, at 95% confidence.
    Violated,
    /// Too few requests to say.
    Unknown,
}

/// How an objective has been kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Compliance {
    /// The objective.
    pub objective: Objective,
    /// What the last five minutes or less say.
    pub verdict: Verdict,
    /// Requests in those minutes.
    pub recent_requests: u64,
    /// Requests of those that took longer than the response time.
    pub recent_exceeding: u64,
    /// The observed latency in seconds at the objective's percentile over those minutes; `None` without requests.
    pub recent_latency_seconds: Option<f64>,
    /// Share of requests within the response time over the last hour (older ones fade), 0 to 1; `None` without requests.
    pub compliance: Option<f64>,
    /// Share of the error budget of that hour that is left; negative when overspent.
    pub error_budget_left: f64,
}

/// Latency against load for one objective, at the present replicas and pod size.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The objective.
    pub objective: Objective,
    /// The model's curve, ascending in load; empty while the model knows nothing.
    pub points: Vec<CurvePoint>,
    /// What was seen, ascending in load.
    pub observed: Vec<ObservedPoint>,
    /// Load in requests per second at which the upper bound reaches the response time.
    pub safe_load_per_second: Option<f64>,
}

/// One point of the model's curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Load of the whole Deployment in requests per second.
    pub load_per_second: f64,
    /// Predicted latency in seconds at the objective's percentile.
    pub latency_seconds: f64,
    /// Upper bound of that latency in seconds (95%).
    pub upper_bound_seconds: f64,
}

/// What was seen near one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ObservedPoint {
    /// Load of the whole Deployment in requests per second, at the present replicas and pod size.
    pub load_per_second: f64,
    /// Latency in seconds at the objective's percentile.
    pub latency_seconds: f64,
    /// Share of requests above the response time, 0 to 1.
    pub share_exceeding: f64,
    /// Requests behind it (older ones fade).
    pub requests: f64,
}
