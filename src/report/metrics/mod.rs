//! Metrics for Prometheus, on `/metrics`.

mod board;
pub mod certificates;
mod operator;
pub mod server;

pub use board::BoardCollector;
pub use operator::{CycleMetrics, ScrapeMetrics};

use std::sync::Arc;

use prometheus::{Encoder, GaugeVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::status::Board;

/// Everything that `/metrics` shows, apart from what the webhook registers itself.
#[derive(Clone)]
pub struct Metrics {
    /// The registry, for whoever has more to show.
    pub registry: Registry,
    /// Scrapes.
    pub scrapes: ScrapeMetrics,
    /// Cycles of the recommender and what they asked for.
    pub cycles: CycleMetrics,
    /// Events, by what became of them.
    pub events: IntCounterVec,
}

impl Metrics {
    /// Registers everything; series of workloads come from the board at every collection, so that none outlives its object.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new(board: Arc<Board>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(BoardCollector::new(board)?))?;
        let build = GaugeVec::new(
            Opts::new("valence_build_info", "Always 1; the version of this process."),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        registry.register(Box::new(build))?;
        let events = IntCounterVec::new(
            Opts::new("valence_events_total", "Kubernetes Events, by what became of them."),
            &["outcome"],
        )?;
        registry.register(Box::new(events.clone()))?;
        Ok(Self {
            scrapes: ScrapeMetrics::new(&registry)?,
            cycles: CycleMetrics::new(&registry)?,
            events,
            registry,
        })
    }

    /// The exposition.
    ///
    /// # Errors
    /// When a family cannot be written as text.
    pub fn exposition(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
