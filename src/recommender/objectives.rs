//! Writes the statuses of ServiceLevelObjectives, and lays out on the board what is known.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::FutureExt;
use jiff::Timestamp;
use kube::Resource;
use tracing::debug;

use super::slo::{self, Selected};
use super::subjects::{Key, Matches};
use super::write::outcome;
use super::{AT_ONCE, REFRESH_INTERVALS, Recommender, board};
use crate::api::ServiceLevelObjectiveStatus;
use crate::concurrently::concurrently;

impl Recommender {
    pub(super) async fn objectives(&mut self, matched: &Matches, acts: bool) {
        let mut known = Vec::new();
        for namespace in self.cluster.objectives.namespaces() {
            let mut of_namespace = self.cluster.objectives.of(&namespace);
            of_namespace.sort_by(|a, b| a.name.cmp(&b.name));
            known.extend(of_namespace.into_iter().map(|one| (namespace.to_string(), one)));
        }
        let selected = slo::selected(known, matched, &self.managed);
        let there: BTreeSet<Key> = selected.iter().map(Selected::key).collect();
        self.objectives_written.get_mut().retain(|key, _| there.contains(key));
        if acts {
            let now = Timestamp::now();
            let writes = selected.iter().map(|one| self.objective(one, now).boxed());
            concurrently(AT_ONCE, writes).await;
        }
        self.board.publish(board::of_leader(matched, &self.managed, &selected));
    }

    async fn objective(&self, selected: &Selected<'_>, now: Timestamp) {
        self.pulse.beat();
        let Some(object) = &selected.known.object else { return };
        let about = object.object_ref(&());
        match &selected.known.error {
            Some(error) => self.events.warn(&about, "InvalidSpec", &error.to_string()),
            None => self.events.settle(&about, "InvalidSpec"),
        }
        let status = selected.status(object.status.as_ref(), now);
        let key = selected.key();
        if !self.is_news(&key, object.status.as_ref(), &status) {
            return;
        }
        let result = self.writer.objective_status(object, &status).await;
        self.metrics.cycles.wrote("ServiceLevelObjective", outcome(&result));
        match result {
            Ok(_) => drop(self.objectives_written.lock().insert(key, Instant::now())),
            Err(error) => debug!(namespace = key.0, name = key.1, %error, "the status could not be written"),
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
}
