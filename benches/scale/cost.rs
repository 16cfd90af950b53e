//! What the work costs, as `benches/cycle` and `tests/allocations` measured it, and what that costs in money.

use super::sharding::{Deployment, PODS};

/// Seconds between two scrapes of a pod, and between two decisions.
pub const INTERVAL_SECONDS: f64 = 15.0;

/// Costs and prices.
pub struct Cost {
    scrape_cpu_seconds: f64,
    decision_cpu_seconds: f64,
    /// Of a pod that is cached: every replica caches all.
    cached_pod_bytes: f64,
    /// Of everything else that is cached, by Deployment: itself, its ReplicaSet, Service and Recommendation.
    cached_deployment_bytes: f64,
    /// Of a pod that is scraped: what is known of it during a round, and its counters.
    scraped_pod_bytes: f64,
    model_bytes: f64,
    program_bytes: f64,
    exposition_bytes: f64,
    core_hour: f64,
    gib_hour: f64,
}

/// What one replica carries.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// Deployments.
    pub deployments: usize,
    /// Their pods.
    pub pods: usize,
}

impl Load {
    /// Takes on a Deployment.
    pub fn add(&mut self, deployment: &Deployment) {
        self.deployments += 1;
        self.pods += deployment.pods;
    }
}

impl Cost {
    /// From SCRAPE_MICROSECONDS and the like, where they are set.
    pub fn from_environment() -> Self {
        let number = |name: &str, usual: f64| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(usual)
        };
        Self {
            scrape_cpu_seconds: number("SCRAPE_MICROSECONDS", 150.0) * 1e-6,
            decision_cpu_seconds: number("DECISION_MICROSECONDS", 400.0) * 1e-6,
            cached_pod_bytes: number("CACHED_POD_BYTES", 2_300.0),
            cached_deployment_bytes: number("CACHED_DEPLOYMENT_BYTES", 8_000.0),
            scraped_pod_bytes: number("SCRAPED_POD_BYTES", 2_000.0),
            model_bytes: number("MODEL_BYTES", 60_000.0),
            program_bytes: number("PROGRAM_BYTES", 15_000_000.0),
            exposition_bytes: number("EXPOSITION_BYTES", 7_000.0),
            core_hour: number("PRICE_PER_CORE_HOUR", 0.03),
            gib_hour: number("PRICE_PER_GIB_HOUR", 0.004),
        }
    }

    /// Cores that scrapes and decisions take.
    pub fn cores(&self, load: Load) -> f64 {
        (load.pods as f64 * self.scrape_cpu_seconds + load.deployments as f64 * self.decision_cpu_seconds)
            / INTERVAL_SECONDS
    }

    /// Megabytes of a replica's own: models and what is scraped.
    pub fn own_megabytes(&self, load: Load) -> f64 {
        (load.pods as f64 * self.scraped_pod_bytes + load.deployments as f64 * self.model_bytes) / 1e6
    }

    /// Megabytes that every replica has, whatever it carries: the program, and the caches that admission answers from.
    pub fn common_megabytes(&self, deployments: usize) -> f64 {
        (self.program_bytes + PODS as f64 * self.cached_pod_bytes + deployments as f64 * self.cached_deployment_bytes)
            / 1e6
    }

    /// Bytes of exposition in a second.
    pub fn bytes_per_second(&self, load: Load) -> f64 {
        load.pods as f64 * self.exposition_bytes / INTERVAL_SECONDS
    }

    /// What so many replicas cost in a month of 730 hours, each with requests for what the busiest one takes, and a half more.
    pub fn monthly(&self, replicas: usize, cores: f64, megabytes: f64) -> f64 {
        let each = 1.5 * (cores * self.core_hour + megabytes / 1_073.741_824 * self.gib_hour);
        replicas as f64 * each * 730.0
    }
}
