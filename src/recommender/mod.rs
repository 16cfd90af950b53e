//! The recommender: scrapes, learns, decides, writes Recommendations and asks for re-admission.
//!
//! One replica does this, the one that holds the Lease; it asks whether it still does before every write.

pub mod board;
mod conditions;
mod contain;
mod converge;
#[cfg(test)]
mod fencing;
pub mod lease;
mod managed;
mod measuring;
mod orphans;
pub mod pulse;
mod sidecars;
mod slo;
mod software;
mod status;
mod subjects;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::api::{Recommendation, RecommendationStatus, ServiceLevelObjectiveStatus};
use crate::cache::Cluster;
use crate::clock::Clock;
use crate::concurrently::concurrently;
use crate::core::Settings;
use crate::report::events::Events;
use crate::report::metrics::Metrics;
use crate::report::status::Board;
use crate::scrape::{Round, Scraper};
use contain::contained;
use converge::services::Readmission;
use converge::{Convergence, Converger};
use lease::Leadership;
use managed::Managed;
use measuring::{Measured, Measurer, Rounds};
use orphans::Orphans;
use pulse::Pulse;
use subjects::{Key, Matched};
use write::{WriteError, Writer};

/// Requests to the API server under way at any time.
const AT_ONCE: usize = 16;

/// A status whose decision did not change is written again after at most this many decision intervals: its measurements
/// moved, and a successor shall not relearn more than that.
const REFRESH_INTERVALS: u32 = 4;

/// Nor more than this share of what a young model has learnt. A kill then costs a model of a quarter of an hour a minute,
/// one of two minutes a window, and a write for every workload and interval is only paid for while it is young.
const MOST_RELEARNT: f64 = 1.0 / 16.0;

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
        let converger = Converger::new(
            client.clone(),
            leadership.clone(),
            metrics.cycles.clone(),
            options.evict,
            options.decision_interval * REFRESH_INTERVALS,
        );
        let patience = LEAST_PATIENCE.max(PATIENCE_INTERVALS * options.scrape_interval.max(options.decision_interval));
        let (pulse, measuring) = (Pulse::new(patience), Pulse::new(patience));
        let clock = Clock::start();
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
            services: Readmission::new(
                converger.requests(),
                options.readmit_services,
                options.decision_interval * REFRESH_INTERVALS,
            ),
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
            pulse,
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
        let Some((without_resource_metrics, matched)) = last else {
            return;
        };
        let due = self
            .decided
            .is_none_or(|at| at.elapsed() + self.options.scrape_interval / 2 >= self.options.decision_interval);
        if due {
            self.decided = Some(Instant::now());
            self.decide(&matched, &without_resource_metrics, acts).await;
        }
    }

    /// Takes newly matched Deployments on, from their checkpoints. One whose Recommendation cannot be read now is left
    /// for the next cycle, so that a model is never begun anew over one that exists.
    async fn adopt(&mut self, matched: &BTreeMap<Key, Matched>) {
        let unknown: Vec<(&Key, &Matched)> = matched
            .iter()
            .filter(|(key, _)| !self.managed.contains_key(*key))
            .collect();
        let (writer, pulse) = (&self.writer, &self.pulse);
        let reads = unknown.into_iter().map(|(key, one)| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let found = writer.recommendation(&key.0, &key.1).await;
                pulse.beat();
                (key, one, found)
            })
        });
        let read = concurrently(AT_ONCE, reads.collect()).await;
        for (key, one, found) in read {
            match found {
                Ok(found) => {
                    self.pulse.beat();
                    self.take_on(key, one, found.as_ref()).await;
                }
                Err(error) => warn!(namespace = key.0, name = key.1, %error, "the Recommendation could not be read"),
            }
        }
    }

    async fn take_on(&mut self, key: &Key, matched: &Matched, found: Option<&Recommendation>) {
        if let Some(stale) = found.filter(|found| !is_owned_by(found, matched)) {
            info!(
                namespace = key.0,
                name = key.1,
                "the Deployment was made anew; its old Recommendation goes"
            );
            if let Err(error) = self.writer.delete(stale).await {
                warn!(namespace = key.0, name = key.1, %error, "the old Recommendation could not be deleted");
            }
            return;
        }
        let status = found.and_then(|found| found.status.as_ref());
        let checkpoint = status.map(|status| status.checkpoint.as_str()).unwrap_or_default();
        let (mut managed, problem) = Managed::new(matched, checkpoint, &self.options.settings);
        if let Some(status) = status {
            managed.continue_from(status);
        }
        match problem {
            Some(problem) => {
                warn!(
                    namespace = key.0,
                    name = key.1,
                    problem,
                    "the checkpoint is of no use; the model starts cold"
                );
                let note = format!("the checkpoint is of no use, so that the model starts cold: {problem}");
                self.events.warn(&about(matched), "CheckpointUnusable", &note);
            }
            None => info!(
                namespace = key.0,
                name = key.1,
                restored = !checkpoint.is_empty(),
                "managing the Deployment"
            ),
        }
        self.managed.insert(key.clone(), managed);
    }

    /// Gives every model its window; the round is in the order of `matched`. Why the CPU and memory in use are not known
    /// comes back, by namespace.
    fn observe(&mut self, matched: &BTreeMap<Key, Matched>, round: Round) -> BTreeMap<String, String> {
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

    async fn decide(
        &mut self,
        matched: &BTreeMap<Key, Matched>,
        without_resource_metrics: &BTreeMap<String, String>,
        acts: bool,
    ) {
        let begun = Instant::now();
        let statuses = self.statuses(matched, without_resource_metrics, acts).await;
        if acts {
            self.write(matched, statuses).await;
            self.tell(matched);
            self.metrics
                .cycles
                .slipped(matched.values().map(|one| one.sidecars.missing.len()).sum());
            self.converge(matched).await;
            self.services
                .look(&self.cluster, matched, &self.events, &self.pulse)
                .await;
            let requests = self.converger.requests();
            self.orphans
                .release(&self.cluster, &self.writer, &requests, matched, &self.pulse)
                .await;
        }
        self.objectives(matched, acts).await;
        let at_seconds = Timestamp::now().as_millisecond() as f64 / 1000.0;
        self.metrics
            .cycles
            .cycle(begun.elapsed(), at_seconds, self.managed.len());
    }

    /// Decides about every Deployment; what is to be written comes back, which is nothing while this replica may not act.
    async fn statuses(
        &mut self,
        matched: &BTreeMap<Key, Matched>,
        without_resource_metrics: &BTreeMap<String, String>,
        acts: bool,
    ) -> Vec<(Key, RecommendationStatus)> {
        let now = Timestamp::now();
        let now_seconds = self.clock.now_seconds();
        let (mut statuses, mut faulty) = (Vec::new(), Vec::new());
        for (index, (key, managed)) in self.managed.iter_mut().enumerate() {
            let Some(one) = matched.get(key) else { continue };
            let composed = contained(key, || {
                let decision = managed.decide(now_seconds).clone();
                conditions::update(
                    managed,
                    &conditions::Facts {
                        matched: one,
                        decision: &decision,
                        without_resource_metrics: without_resource_metrics.get(&key.0),
                        now,
                    },
                );
                status::compose(managed, one, &decision, now)
            });
            let Some(mut status) = composed else {
                faulty.push(key.clone());
                continue;
            };
            let learnt_seconds = managed.advisor().learnt_seconds(now_seconds);
            let refresh = refresh(learnt_seconds, self.options.decision_interval);
            if acts && (is_due(managed, &status, refresh) || was_changed(&self.cluster, key, managed)) {
                status.checkpoint = managed.advisor().checkpoint();
                statuses.push((key.clone(), status));
            }
            if index % 32 == 31 {
                // Admission shares these threads.
                tokio::task::yield_now().await;
            }
        }
        for key in faulty {
            self.metrics.cycles.wrote("Recommendation", "fault");
            self.managed.remove(&key);
        }
        statuses
    }

    async fn write(&mut self, matched: &BTreeMap<Key, Matched>, statuses: Vec<(Key, RecommendationStatus)>) {
        let (writer, cluster, pulse) = (&self.writer, &self.cluster, &self.pulse);
        let jobs = statuses
            .into_iter()
            .filter_map(|(key, status)| Some((matched.get(&key)?, key, status)));
        let writes = jobs.map(|(one, key, status)| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let result = write_status(writer, cluster, one, &key, &status).await;
                pulse.beat();
                (key, status, result)
            })
        });
        let written = concurrently(AT_ONCE, writes.collect()).await;
        for (key, status, result) in written {
            self.metrics.cycles.wrote(
                "Recommendation",
                result.as_ref().map_or_else(WriteError::outcome, |()| "success"),
            );
            match result {
                Ok(()) => {
                    if let Some(managed) = self.managed.get_mut(&key) {
                        // It is large, and nobody asks for it.
                        let status = RecommendationStatus {
                            checkpoint: String::new(),
                            ..status
                        };
                        managed.written = Some((status, Instant::now()));
                    }
                }
                Err(error) => warn!(namespace = key.0, name = key.1, %error, "the Recommendation could not be written"),
            }
        }
    }

    /// Tells users by Events what they should look at.
    fn tell(&self, matched: &BTreeMap<Key, Matched>) {
        for one in matched.values() {
            self.pulse.beat();
            let about = about(one);
            match one.sidecars.missing.len() {
                0 => self.events.settle(&about, "SidecarMissing"),
                pods => {
                    let note = format!(
                        "{pods} pods carry no sidecar, though new ones would: restart the Deployment (of a live one, those that admission missed are re-created one by one)"
                    );
                    self.events.warn(&about, "SidecarMissing", &note);
                }
            }
            if one.ignored.is_empty() {
                self.events.settle(&about, "AnnotationIgnored");
            } else {
                let ignored: Vec<String> = one.ignored.iter().map(ToString::to_string).collect();
                let note = format!("ignored: {}", ignored.join("; "));
                self.events.warn(&about, "AnnotationIgnored", &note);
            }
        }
    }

    async fn converge(&mut self, matched: &BTreeMap<Key, Matched>) {
        let (converger, pulse, now_seconds) = (&self.converger, self.pulse.clone(), self.clock.now_seconds());
        let pulse = &pulse;
        let mut jobs: Vec<BoxFuture<'_, (Key, Convergence)>> = Vec::new();
        for (key, managed) in &mut self.managed {
            let one = matched.get(key).filter(|one| one.bounds.live);
            if let (Some(one), Some(decision)) = (one, managed.decision.clone()) {
                let (key, memory) = (key.clone(), std::mem::take(&mut managed.convergence));
                jobs.push(Box::pin(async move {
                    let memory = converger.converge(one, &decision, memory, now_seconds).await;
                    pulse.beat();
                    (key, memory)
                }));
            }
        }
        let done = concurrently(AT_ONCE, jobs).await;
        for (key, convergence) in done {
            if let Some(managed) = self.managed.get_mut(&key) {
                managed.convergence = convergence;
            }
        }
    }

    async fn objectives(&mut self, matched: &BTreeMap<Key, Matched>, acts: bool) {
        let mut known = Vec::new();
        for namespace in self.cluster.objectives.namespaces() {
            let mut of_namespace = self.cluster.objectives.of(&namespace);
            of_namespace.sort_by(|a, b| a.name.cmp(&b.name));
            known.extend(of_namespace.into_iter().map(|one| (namespace.to_string(), one)));
        }
        let there: BTreeSet<Key> = known
            .iter()
            .map(|(namespace, one)| (namespace.clone(), one.name.clone()))
            .collect();
        self.objectives_written.get_mut().retain(|key, _| there.contains(key));
        let selected = slo::selected(known, matched, &self.managed);
        let now = Timestamp::now();
        let writes = selected
            .iter()
            .filter(|_| acts)
            .map(|one| -> BoxFuture<'_, ()> { Box::pin(self.objective(one, now)) });
        concurrently(AT_ONCE, writes.collect()).await;
        self.board.publish(board::of_leader(matched, &self.managed, &selected));
    }

    async fn objective(&self, selected: &slo::Selected<'_>, now: Timestamp) {
        self.pulse.beat();
        let Some(object) = &selected.known.object else { return };
        let about = object.object_ref(&());
        match &selected.known.error {
            Some(error) => self.events.warn(&about, "InvalidSpec", &error.to_string()),
            None => self.events.settle(&about, "InvalidSpec"),
        }
        let status = selected.status(object.status.as_ref(), now);
        let key = (selected.namespace.clone(), selected.known.name.clone());
        if !self.is_news(&key, object.status.as_ref(), &status) {
            return;
        }
        let result = self.writer.objective_status(object, &status).await;
        self.metrics.cycles.wrote(
            "ServiceLevelObjective",
            result.as_ref().map_or_else(WriteError::outcome, |_| "success"),
        );
        if result.is_ok() {
            self.objectives_written.lock().insert(key, Instant::now());
        }
        if let Err(error) = result {
            debug!(namespace = selected.namespace, name = selected.known.name, %error, "the status could not be written");
        }
    }

    /// Whether the status of a ServiceLevelObjective is to be written: it says something else, or its numbers are a while old.
    fn is_news(
        &self,
        key: &Key,
        before: Option<&ServiceLevelObjectiveStatus>,
        status: &ServiceLevelObjectiveStatus,
    ) -> bool {
        let refresh = self.options.decision_interval * REFRESH_INTERVALS;
        let is_fresh = || {
            let written = self.objectives_written.lock();
            written.get(key).is_some_and(|at| at.elapsed() < refresh)
        };
        before.is_none_or(|before| before != status && (!slo::same_essence(before, status) || !is_fresh()))
    }

    /// Writes what was learnt since the last write, so that a successor continues from here.
    async fn flush(&mut self) {
        let matched = subjects::matched(&self.cluster);
        let now = Timestamp::now();
        let pending: Vec<(Key, RecommendationStatus)> = self
            .managed
            .iter()
            .filter_map(|(key, managed)| {
                let decision = managed.decision.as_ref()?;
                let status = RecommendationStatus {
                    checkpoint: managed.advisor().checkpoint(),
                    ..status::compose(managed, matched.get(key)?, decision, now)
                };
                Some((key.clone(), status))
            })
            .collect();
        if self.leadership.holds() && !pending.is_empty() {
            info!(workloads = pending.len(), "writing what was learnt");
            let _ = tokio::time::timeout(Duration::from_secs(5), self.write(&matched, pending)).await;
        }
    }
}

/// How long what was learnt may go unwritten.
fn refresh(learnt_seconds: f64, decision_interval: Duration) -> Duration {
    let interval = decision_interval.as_secs_f64();
    // Decisions come on ticks: half of one earlier is the tick that is meant.
    let wanted = (learnt_seconds * MOST_RELEARNT).clamp(interval, f64::from(REFRESH_INTERVALS) * interval);
    Duration::from_secs_f64(wanted - interval / 2.0)
}

/// Whether a status is to be written: its decision changed, or the last write is a while ago.
fn is_due(managed: &Managed, status: &RecommendationStatus, refresh: Duration) -> bool {
    match &managed.written {
        Some((written, at)) => at.elapsed() >= refresh || !status::same_decision(written, status),
        None => true,
    }
}

/// Whether somebody else changed or deleted what was written.
fn was_changed(cluster: &Cluster, key: &Key, managed: &Managed) -> bool {
    let Some((written, _)) = &managed.written else {
        return false;
    };
    let known = cluster.recommendations.get(&key.0, &key.1);
    let status = known.as_ref().and_then(|known| known.object.status.as_ref());
    status.is_none_or(|status| !status::same_decision(written, status))
}

async fn write_status(
    writer: &Writer,
    cluster: &Cluster,
    matched: &Matched,
    key: &Key,
    status: &RecommendationStatus,
) -> Result<(), WriteError> {
    let known = cluster.recommendations.get(&key.0, &key.1);
    let read = match known {
        Some(known) => Ok(Arc::clone(&known.object)),
        None => writer.create(&matched.deployment).await.map(Arc::new),
    };
    let first = match read {
        Ok(read) => writer.recommendation_status(&read, status).await,
        Err(error) => Err(error),
    };
    match first {
        Err(WriteError::Conflict) => {
            // What the cache has is older than what is there. Nothing in it is lost: this replica decides what it says.
            let fresh = writer.recommendation(&key.0, &key.1).await?.ok_or(WriteError::Gone)?;
            writer.recommendation_status(&fresh, status).await.map(|_| ())
        }
        // Deleted by hand; made anew in the next cycle.
        result => result.map(|_| ()),
    }
}

fn is_owned_by(recommendation: &Recommendation, matched: &Matched) -> bool {
    recommendation
        .owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == matched.deployment.metadata.uid.as_ref())
}

fn about(matched: &Matched) -> ObjectReference {
    matched.deployment.object_ref(&())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_costs_a_young_model_little() {
        let interval = Duration::from_secs(15);
        let ticks = |learnt: f64| (refresh(learnt, interval).as_secs_f64() / 15.0).ceil();
        assert_eq!(ticks(0.0), 1.0);
        assert_eq!(ticks(240.0), 1.0);
        assert_eq!(ticks(600.0), 2.0);
        assert_eq!(ticks(960.0), 4.0);
        assert_eq!(ticks(1e9), 4.0);
    }
}
