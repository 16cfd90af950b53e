//! Takes newly selected Deployments on, from their checkpoints.

use futures::FutureExt;
use kube::ResourceExt;
use tracing::{info, warn};

use super::managed::Managed;
use super::subjects::{Key, Matched, Matches};
use super::{AT_ONCE, Recommender, about};
use crate::api::Recommendation;
use crate::concurrently::concurrently;

impl Recommender {
    /// One whose Recommendation cannot be read now is left for the next cycle, so that a model is never begun anew over
    /// one that exists.
    pub(super) async fn adopt(&mut self, matched: &Matches) {
        let unknown = matched.iter().filter(|(key, _)| !self.managed.contains_key(*key));
        let (writer, pulse) = (&self.writer, &self.pulse);
        let reads = unknown.map(|(key, one)| {
            async move {
                let found = writer.recommendation(&key.0, &key.1).await;
                pulse.beat();
                (key, one, found)
            }
            .boxed()
        });
        for (key, one, found) in concurrently(AT_ONCE, reads).await {
            match found {
                Ok(found) => self.take_on(key, one, found.as_ref()).await,
                Err(error) => warn!(namespace = key.0, name = key.1, %error, "the Recommendation could not be read"),
            }
        }
    }

    async fn take_on(&mut self, key: &Key, matched: &Matched, found: Option<&Recommendation>) {
        self.pulse.beat();
        if let Some(stale) = found.filter(|found| !is_owned_by(found, matched)) {
            return self.withdraw(key, stale).await;
        }
        let status = found.and_then(|found| found.status.as_ref());
        let checkpoint = status.map(|status| status.checkpoint.as_str()).unwrap_or_default();
        let (mut managed, problem) = Managed::new(matched, checkpoint, &self.options.settings);
        if let Some(status) = status {
            managed.continue_from(status);
        }
        self.managed.insert(key.clone(), managed);
        let (namespace, name) = key;
        if let Some(problem) = problem {
            warn!(
                namespace,
                name, problem, "the checkpoint is of no use; the model starts cold"
            );
            let note = format!("the checkpoint is of no use, so that the model starts cold: {problem}");
            self.events.warn(&about(matched), "CheckpointUnusable", &note);
        } else {
            info!(
                namespace,
                name,
                restored = !checkpoint.is_empty(),
                "managing the Deployment"
            );
        }
    }

    async fn withdraw(&self, (namespace, name): &Key, stale: &Recommendation) {
        info!(
            namespace,
            name, "the Deployment was made anew; its old Recommendation goes"
        );
        if let Err(error) = self.writer.delete(stale).await {
            warn!(namespace, name, %error, "the old Recommendation could not be deleted");
        }
    }
}

fn is_owned_by(recommendation: &Recommendation, matched: &Matched) -> bool {
    let mut owners = recommendation.owner_references().iter();
    owners.any(|owner| Some(&owner.uid) == matched.deployment.metadata.uid.as_ref())
}
