//! Acts on what was decided: tells users, and asks for re-admission.

use futures::FutureExt;

use super::subjects::{Matched, Matches};
use super::{AT_ONCE, Recommender, about};
use crate::concurrently::concurrently;

impl Recommender {
    /// Asks for what is to change in the cluster, and tells users what they should look at.
    pub(super) async fn act(&mut self, matched: &Matches) {
        self.tell(matched);
        self.converge(matched).await;
        let (cluster, pulse, requests) = (&self.cluster, &self.pulse, self.converger.requests());
        self.services.look(cluster, matched, &self.events, pulse).await;
        self.orphans
            .release(cluster, &self.writer, &requests, matched, pulse)
            .await;
    }

    fn tell(&self, matched: &Matches) {
        for one in matched.values() {
            self.pulse.beat();
            self.tell_of_sidecars(one);
            self.tell_of_annotations(one);
        }
        let missing = matched.values().map(|one| one.sidecars.missing.len());
        self.metrics.cycles.slipped(missing.sum());
    }

    fn tell_of_sidecars(&self, matched: &Matched) {
        match matched.sidecars.missing.len() {
            0 => self.events.settle(&about(matched), "SidecarMissing"),
            pods => {
                let note = format!(
                    "{pods} pods carry no sidecar, though new ones would: restart the Deployment (of a live one, those that admission missed are re-created one by one)"
                );
                self.events.warn(&about(matched), "SidecarMissing", &note);
            }
        }
    }

    fn tell_of_annotations(&self, matched: &Matched) {
        if matched.ignored.is_empty() {
            return self.events.settle(&about(matched), "AnnotationIgnored");
        }
        let ignored: Vec<String> = matched.ignored.iter().map(ToString::to_string).collect();
        let note = format!("ignored: {}", ignored.join("; "));
        self.events.warn(&about(matched), "AnnotationIgnored", &note);
    }

    async fn converge(&mut self, matched: &Matches) {
        let (converger, pulse, now_seconds) = (&self.converger, &self.pulse, self.clock.now_seconds());
        let jobs = self.managed.iter_mut().filter_map(|(key, managed)| {
            let one = matched.get(key).filter(|one| one.bounds.live)?;
            let decision = managed.decision.clone()?;
            let (key, memory) = (key.clone(), std::mem::take(&mut managed.convergence));
            let convergence = async move {
                let memory = converger.converge(one, &decision, memory, now_seconds).await;
                pulse.beat();
                (key, memory)
            };
            Some(convergence.boxed())
        });
        for (key, convergence) in concurrently(AT_ONCE, jobs).await {
            if let Some(managed) = self.managed.get_mut(&key) {
                managed.convergence = convergence;
            }
        }
    }
}
