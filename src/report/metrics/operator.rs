//! The health of the operator itself.

use std::time::{Duration, Instant};

use prometheus::{Counter, Gauge, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

/// Health of the scrapes.
#[derive(Clone)]
pub struct ScrapeMetrics {
    scrapes: IntCounterVec,
    duration: Histogram,
    round: Histogram,
    targets: IntGauge,
    bytes: Counter,
    resource_metrics: IntCounterVec,
}

impl ScrapeMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            scrapes: counters(
                "valence_scrapes_total",
                "Scrapes of sidecars, by outcome.",
                &["outcome"],
            )?,
            duration: durations(
                "valence_scrape_duration_seconds",
                "Time to scrape and read one sidecar.",
            )?,
            round: durations(
                "valence_scrape_round_duration_seconds",
                "Time to scrape all sidecars once.",
            )?,
            targets: IntGauge::new("valence_scrape_targets", "Pods that the last round looked at.")?,
            bytes: Counter::new("valence_scrape_bytes_total", "Bytes of exposition read.")?,
            resource_metrics: counters(
                "valence_resource_metrics_total",
                "Requests to metrics.k8s.io, by outcome.",
                &["outcome"],
            )?,
        };
        registry.register(Box::new(metrics.scrapes.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.round.clone()))?;
        registry.register(Box::new(metrics.targets.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.resource_metrics.clone()))?;
        Ok(metrics)
    }

    /// A sidecar is asked. Dropped without having ended, it counts as one that did not answer in time.
    #[must_use]
    pub fn begin(&self) -> Scrape<'_> {
        Scrape {
            metrics: self,
            begun: Instant::now(),
            outcome: "timeout",
        }
    }

    /// Bytes were read.
    pub fn bytes(&self, count: usize) {
        self.bytes.inc_by(count as f64);
    }

    /// A round ended.
    pub fn round(&self, took: Duration, targets: usize) {
        self.round.observe(took.as_secs_f64());
        self.targets.set(i64::try_from(targets).unwrap_or(i64::MAX));
    }

    /// A namespace's resource metrics were asked for.
    pub fn resource_metrics(&self, answered: bool) {
        self.resource_metrics
            .with_label_values(&[if answered { "success" } else { "failure" }])
            .inc();
    }
}

/// One scrape under way.
pub struct Scrape<'m> {
    metrics: &'m ScrapeMetrics,
    begun: Instant,
    outcome: &'static str,
}

impl Scrape<'_> {
    /// It ended so.
    pub fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Scrape<'_> {
    fn drop(&mut self) {
        self.metrics.scrapes.with_label_values(&[self.outcome]).inc();
        self.metrics.duration.observe(self.begun.elapsed().as_secs_f64());
    }
}

/// Health of the recommender.
#[derive(Clone)]
pub struct CycleMetrics {
    duration: Histogram,
    last: Gauge,
    leader: IntGauge,
    workloads: IntGauge,
    writes: IntCounterVec,
    readmissions: IntCounterVec,
    evictions: IntCounterVec,
    slipped: IntGauge,
}

impl CycleMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            duration: durations(
                "valence_cycle_duration_seconds",
                "Time of one decision cycle, without its scrapes.",
            )?,
            last: Gauge::new(
                "valence_last_cycle_timestamp_seconds",
                "When the last decision cycle ended, since the Unix epoch.",
            )?,
            leader: IntGauge::new("valence_leader", "1 on the replica that recommends.")?,
            workloads: IntGauge::new("valence_workloads", "Deployments that are managed.")?,
            writes: counters(
                "valence_status_writes_total",
                "Writes of statuses, by kind and outcome.",
                &["kind", "outcome"],
            )?,
            readmissions: counters(
                "valence_readmissions_total",
                "Requests for re-admission, by resource and outcome.",
                &["resource", "outcome"],
            )?,
            evictions: counters(
                "valence_evictions_total",
                "Evictions where a resize was infeasible, by outcome.",
                &["outcome"],
            )?,
            slipped: IntGauge::new(
                "valence_pods_without_sidecar",
                "Pods that should carry the sidecar and do not.",
            )?,
        };
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.last.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.workloads.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(metrics.readmissions.clone()))?;
        registry.register(Box::new(metrics.evictions.clone()))?;
        registry.register(Box::new(metrics.slipped.clone()))?;
        Ok(metrics)
    }

    /// A cycle ended at `at_seconds` since the Unix epoch.
    pub fn cycle(&self, took: Duration, at_seconds: f64, workloads: usize) {
        self.duration.observe(took.as_secs_f64());
        self.last.set(at_seconds);
        self.workloads.set(i64::try_from(workloads).unwrap_or(i64::MAX));
    }

    /// This replica began or ceased to recommend.
    pub fn leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// A status was written, or not.
    pub fn wrote(&self, kind: &str, outcome: &str) {
        self.writes.with_label_values(&[kind, outcome]).inc();
    }

    /// Re-admission was asked for.
    pub fn readmission(&self, resource: &str, outcome: &str) {
        self.readmissions.with_label_values(&[resource, outcome]).inc();
    }

    /// A pod was evicted, or not.
    pub fn eviction(&self, outcome: &str) {
        self.evictions.with_label_values(&[outcome]).inc();
    }

    /// Pods that slipped by while admission was away.
    pub fn slipped(&self, pods: usize) {
        self.slipped.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn durations(name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let buckets = vec![
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
}
