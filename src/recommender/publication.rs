//! Decides about every Deployment and writes the Recommendations that say something new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jiff::Timestamp;
use tracing::{info, warn};

use super::contain::contained;
use super::managed::Managed;
use super::subjects::{self, Key, Matched, Matches};
use super::write::{WriteError, Writer, outcome};
use super::{AT_ONCE, REFRESH_INTERVALS, Recommender, conditions, status};
use crate::api::RecommendationStatus;
use crate::cache::Cluster;
use crate::concurrently::concurrently;

/// No more than this share of what a young model has learnt goes unwritten. A kill then costs a model of a quarter of an
/// hour a minute, one of two minutes a window, and a write for every workload and interval is only paid for while it is
/// young.
const MOST_RELEARNT: f64 = 1.0 / 16.0;

/// What is to be written, by Deployment.
type Statuses = Vec<(Key, RecommendationStatus)>;

impl Recommender {
    /// Decides about every Deployment; what is to be written comes back, which is nothing while this replica may not act.
    pub(super) async fn statuses(
        &mut self,
        matched: &Matches,
        without_resource_metrics: &BTreeMap<String, String>,
        acts: bool,
    ) -> Statuses {
        let (now, now_seconds) = (Timestamp::now(), self.clock.now_seconds());
        let (mut statuses, mut faulty) = (Vec::new(), Vec::new());
        for (index, (key, managed)) in self.managed.iter_mut().enumerate() {
            let Some(one) = matched.get(key) else { continue };
            let without = without_resource_metrics.get(&key.0);
            let Some(status) = contained(key, || decided(managed, one, without, now, now_seconds)) else {
                faulty.push(key.clone());
                continue;
            };
            let learnt_seconds = managed.advisor().learnt_seconds(now_seconds);
            let refresh = refresh(learnt_seconds, self.options.decision_interval);
            if acts && (is_due(managed, &status, refresh) || was_changed(&self.cluster, key, managed)) {
                statuses.push((key.clone(), with_checkpoint(status, managed)));
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

    pub(super) async fn write(&mut self, matched: &Matches, statuses: Statuses) {
        let (writer, cluster, pulse) = (&self.writer, &self.cluster, &self.pulse);
        let jobs = statuses.into_iter().filter_map(|(key, status)| {
            let one = matched.get(&key)?;
            let write = async move {
                let result = write_status(writer, cluster, one, &key, &status).await;
                pulse.beat();
                (key, status, result)
            };
            Some(write.boxed())
        });
        for (key, status, result) in concurrently(AT_ONCE, jobs).await {
            self.metrics.cycles.wrote("Recommendation", outcome(&result));
            match result {
                Ok(()) => self.remember(&key, status),
                Err(error) => warn!(namespace = key.0, name = key.1, %error, "the Recommendation could not be written"),
            }
        }
    }

    /// The checkpoint is not kept: it is large, and nobody asks for it.
    fn remember(&mut self, key: &Key, mut status: RecommendationStatus) {
        if let Some(managed) = self.managed.get_mut(key) {
            status.checkpoint = String::new();
            managed.written = Some((status, Instant::now()));
        }
    }

    /// Writes what was learnt since the last write, so that a successor continues from here.
    pub(super) async fn flush(&mut self) {
        let matched = subjects::matched(&self.cluster);
        let now = Timestamp::now();
        let last = |(key, managed): (&Key, &Managed)| {
            let status = status::compose(managed, matched.get(key)?, managed.decision.as_ref()?, now);
            Some((key.clone(), with_checkpoint(status, managed)))
        };
        let pending: Statuses = self.managed.iter().filter_map(last).collect();
        if self.leadership.holds() && !pending.is_empty() {
            info!(workloads = pending.len(), "writing what was learnt");
            let _ = tokio::time::timeout(Duration::from_secs(5), self.write(&matched, pending)).await;
        }
    }
}

fn decided(
    managed: &mut Managed,
    matched: &Matched,
    without_resource_metrics: Option<&String>,
    now: Timestamp,
    now_seconds: f64,
) -> RecommendationStatus {
    let decision = &managed.decide(now_seconds).clone();
    let facts = conditions::Facts {
        matched,
        decision,
        without_resource_metrics,
        now,
    };
    conditions::update(managed, &facts);
    status::compose(managed, matched, decision, now)
}

fn with_checkpoint(status: RecommendationStatus, managed: &Managed) -> RecommendationStatus {
    RecommendationStatus {
        checkpoint: managed.advisor().checkpoint(),
        ..status
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
