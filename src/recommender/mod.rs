//! The recommender: scrapes, learns, decides, writes Recommendations and asks for re-admission.
//!
//! One replica does this, the one that holds the Lease; it asks whether it still does before every write.

mod acting;
mod adoption;
pub mod board;
mod conditions;
mod contain;
mod converge;
#[cfg(test)]
mod fencing;
pub mod lease;
mod managed;
mod measuring;
mod objectives;
mod orphans;
mod publication;
pub mod pulse;
mod sidecars;
mod slo;
mod software;
mod status;
mod subjects;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::cache::Cluster;
use crate::clock::Clock;
use crate::core::Settings;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::report::status::Board;
use crate::scrape::{Round, Scraper};
use contain::contained;
use converge::Converger;
use converge::services::Readmission;
use lease::Leadership;
use managed::Managed;
use measuring::{Measured, Measurer, Rounds};
use orphans::Orphans;
use pulse::Pulse;
use subjects::{Key, Matched, Matches};
use write::Writer;

/// Requests to the API server under way at any time.
const AT_ONCE: usize = 16;

/// A status whose decision did not change is written again after at most this many decision intervals: its measurements
/// moved, and a successor shall not relearn more than that.
const REFRESH_INTERVALS: u32 = 4;

/// The loop is taken for dead when it has not got on for so many intervals, and for at least so long.
const PATIENCE_INTERVALS: u32 = 4;
const LEAST_PATIENCE: Duration = Duration::from_secs(60);

/// What the recommender is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often sidecars are scraped.
    pub scrape_interval: Duration,
    /// How often decisions are made.
    pub decision_interval: Duration,
    /// Paces and margins of the model.
    pub settings: Settings,
    /// Whether pods may be evicted whose resize is infeasible.
    pub evict: bool,
    /// Whether Services may be sent an empty patch.
    pub readmit_services: bool,
}

/// The recommender of this replica.
pub struct Recommender {
    cluster: Arc<Cluster>,
    leadership: Leadership,
    writer: Writer,
    converger: Converger,
    services: Readmission,
    orphans: Orphans,
    rounds: Rounds,
    events: Events,
    board: Arc<Board>,
    metrics: Metrics,
    options: Options,
    clock: Clock,
    managed: BTreeMap<Key, Managed>,
    decided: Option<Instant>,
    /// When the status of each ServiceLevelObjective was last written.
    objectives_written: Mutex<BTreeMap<Key, Instant>>,
    /// Term of the Lease that `managed` was learnt in.
    term: u64,
    /// Beat while this loop gets on, and while it is measured.
    pulse: Pulse,
    measuring: Pulse,
}

impl Recommender {
    /// A recommender that acts while `leadership` holds.
    ///
    /// To be called within a runtime: measuring starts at once.
    #[must_use]
    pub fn new(
        client: &Client,
        cluster: Arc<Cluster>,
        leadership: Leadership,
        board: Arc<Board>,
        metrics: Metrics,
        events: Events,
        options: Options,
    ) -> Self {
        let refresh = options.decision_interval * REFRESH_INTERVALS;
        let cycles = metrics.cycles.clone();
        let converger = Converger::new(client.clone(), leadership.clone(), cycles, options.evict, refresh);
        let patience = LEAST_PATIENCE.max(PATIENCE_INTERVALS * options.scrape_interval.max(options.decision_interval));
        let clock = Clock::start();
        let measuring = Pulse::new(patience);
        let measurer = Measurer {
            cluster: Arc::clone(&cluster),
            leadership: leadership.clone(),
            scraper: Scraper::new(client.clone(), options.scrape_interval, metrics.scrapes.clone()),
            clock,
            interval: options.scrape_interval,
            software: BTreeMap::new(),
            pulse: measuring.clone(),
        };
        Self {
            rounds: measurer.start(),
            writer: Writer::new(client.clone(), leadership.clone()),
            services: Readmission::new(converger.requests(), options.readmit_services, refresh),
            converger,
            orphans: Orphans::default(),
            events,
            cluster,
            leadership,
            board,
            metrics,
            options,
            clock,
            managed: BTreeMap::new(),
            decided: None,
            objectives_written: Mutex::default(),
            pulse: Pulse::new(patience),
            measuring,
            term: 0,
        }
    }

    /// Beat while this replica gets on.
    #[must_use]
    pub fn pulses(&self) -> Vec<Pulse> {
        vec![self.pulse.clone(), self.measuring.clone()]
    }

    /// Runs until told to stop; the last state of every model is written then. Ends earlier only by a fault.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let measured = tokio::select! {
                () = stop.cancelled() => break,
                measured = self.rounds.next() => measured,
            };
            let Some(measured) = measured else {
                error!("nothing is measured any more");
                break;
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.tick(measured) => {}
            }
        }
        self.flush().await;
    }

    async fn tick(&mut self, measured: Measured) {
        self.pulse.beat();
        let leads = self.leadership.holds();
        self.metrics.cycles.leader(leads);
        if !self.cluster.filled() {
            debug!(missing = ?self.cluster.missing(), "the caches are not filled yet");
        } else if leads || self.leadership.has_lapsed() {
            self.cycle(leads, measured).await;
        } else {
            // What was learnt belongs to the new leader now, which continues from the checkpoints.
            self.managed.clear();
            self.board.publish(board::of_follower(&self.cluster));
        }
    }

    /// Measures and decides, and acts on it unless the Lease has lapsed: while the API server is away nothing that is
    /// measured shall be lost.
    async fn cycle(&mut self, acts: bool, first: Measured) {
        // Another replica recommended in between: its checkpoints know more.
        if self.term != self.leadership.term() {
            self.term = self.leadership.term();
            self.managed.clear();
        }
        let mut next = Some(first);
        let mut last = None;
        while let Some(Measured { matched, round }) = next {
            // Measured before this replica led, it says nothing of what is selected.
            if let Some(matched) = matched {
                self.managed.retain(|key, _| matched.contains_key(key));
                if acts {
                    self.adopt(&matched).await;
                }
                last = Some((self.observe(&matched, round), matched));
            }
            next = self.rounds.waiting();
        }
        if let Some((without_resource_metrics, matched)) = last.filter(|_| self.decision_is_due()) {
            self.decided = Some(Instant::now());
            self.decide(&matched, &without_resource_metrics, acts).await;
        }
    }

    /// Decisions come on rounds: half of one earlier is the round that is meant.
    fn decision_is_due(&self) -> bool {
        let early = self.options.scrape_interval / 2;
        self.decided
            .is_none_or(|at| at.elapsed() + early >= self.options.decision_interval)
    }

    /// Gives every model its window; the round is in the order of `matched`. Why the CPU and memory in use are not known
    /// comes back, by namespace.
    fn observe(&mut self, matched: &Matches, round: Round) -> BTreeMap<String, String> {
        let windows = round.observations.into_iter().zip(round.failures);
        for ((key, one), (observation, failures)) in matched.iter().zip(windows) {
            if let Some(managed) = self.managed.get_mut(key) {
                let observed = contained(key, || {
                    managed.follow(one);
                    managed.observe(observation, failures);
                });
                if observed.is_none() {
                    self.managed.remove(key);
                }
            }
        }
        round.without_resource_metrics
    }

    async fn decide(&mut self, matched: &Matches, without_resource_metrics: &BTreeMap<String, String>, acts: bool) {
        let begun = Instant::now();
        let statuses = self.statuses(matched, without_resource_metrics, acts).await;
        if acts {
            self.write(matched, statuses).await;
            self.act(matched).await;
        }
        self.objectives(matched, acts).await;
        let at_seconds = Timestamp::now().as_millisecond() as f64 / 1000.0;
        let cycles = &self.metrics.cycles;
        cycles.cycle(begun.elapsed(), at_seconds, self.managed.len());
    }
}

fn about(matched: &Matched) -> ObjectReference {
    matched.deployment.object_ref(&())
}
