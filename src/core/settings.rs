//! Paces and margins of the model. The defaults are what the benchmark is run with; a demonstration may shorten the times.

/// What tunes the model, apart from what the user declares about a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Time between two observations, in seconds.
    pub scrape_interval_seconds: f64,
    /// Time between two decisions, in seconds.
    pub decision_interval_seconds: f64,
    /// Least time between two changes of the pod size, in seconds.
    pub size_interval_seconds: f64,
    /// How long a smaller number of replicas must have been enough before it is decided, in seconds.
    pub scale_in_hold_seconds: f64,
    /// Time without a usable observation after which metrics count as missing, in seconds.
    pub metrics_missing_seconds: f64,
    /// Least time of measurements before anything may shrink, in seconds.
    pub learning_seconds: f64,
    /// Samples of latency before the model may be confident.
    pub least_samples: u32,
    /// Requests of a sample, as a multiple of 1 / (1 - percentile): with 3, a sample of p99 has 300 requests.
    pub requests_per_sample: f64,
    /// Span over which load is averaged before it is set against CPU, which a metrics server averages and delays, in seconds.
    pub cpu_lag_seconds: f64,
    /// Time for which a pod that became ready is not taken to be at its full speed, in seconds.
    pub warm_up_seconds: f64,
    /// Share of the CPU request that may be in use at the planned load, 0 to 1. The rest is for what the mean hides.
    pub request_utilisation: f64,
    /// Share of the cost that a new pod size must save before pods are restarted for it, 0 to 1.
    pub least_saving: f64,
    /// Least that a CPU limit may be, as a multiple of its request.
    pub least_limit_ratio: f64,
    /// Most that a CPU limit may be, as a multiple of its request.
    pub most_limit_ratio: f64,
    /// Cost of a GiB of requested memory in cores of requested CPU.
    pub gibibyte_in_cores: f64,
    /// Period of the daily profile in seconds.
    pub season_seconds: f64,
    /// Name of the sidecar's container: its CPU is not the application's.
    pub sidecar: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            scrape_interval_seconds: 15.0,
            decision_interval_seconds: 15.0,
            size_interval_seconds: 1800.0,
            scale_in_hold_seconds: 90.0,
            metrics_missing_seconds: 60.0,
            learning_seconds: 120.0,
            least_samples: 8,
            requests_per_sample: 3.0,
            cpu_lag_seconds: 60.0,
            warm_up_seconds: 30.0,
            request_utilisation: 0.95,
            least_saving: 0.1,
            least_limit_ratio: 2.5,
            most_limit_ratio: 3.0,
            gibibyte_in_cores: 0.13,
            season_seconds: 86_400.0,
            sidecar: "envoy".to_owned(),
        }
    }
}

impl Settings {
    /// Settings for a demonstration of a few minutes: the same model with shortened waits.
    #[must_use]
    pub fn hurried() -> Self {
        Self {
            scrape_interval_seconds: 5.0,
            decision_interval_seconds: 5.0,
            size_interval_seconds: 60.0,
            scale_in_hold_seconds: 20.0,
            metrics_missing_seconds: 20.0,
            learning_seconds: 20.0,
            least_samples: 4,
            requests_per_sample: 1.0,
            cpu_lag_seconds: 20.0,
            warm_up_seconds: 5.0,
            ..Self::default()
        }
    }
}
