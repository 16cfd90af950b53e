//! Recommendations whose Deployment no ServiceLevelObjective selects any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use tracing::{debug, info, warn};
use valence_webhook::Plans;

use super::converge::requests::{Outcome, Requests};
use super::pulse::Pulse;
use super::status::{self, noted_replicas};
use super::subjects::{Key, Matches, desired_replicas, horizontal};
use super::write::{WriteError, Writer};
use crate::api::conditions;
use crate::cache::Cluster;
use crate::cache::keep::KnownRecommendation;
use crate::concurrently::concurrently;

/// How long one is kept, with what was learnt, before it is deleted: a label that was lost may come back.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// How long the API server is asked for a workload's own replicas before what is recommended is withdrawn all the same:
/// with that goes the number to give back.
const GIVES_UP: Duration = Duration::from_secs(120);

/// Orphans that are looked after at any time.
const AT_ONCE: usize = 16;

/// Withdraws what is recommended for Deployments that are no longer selected, and later deletes it.
#[derive(Default)]
pub struct Orphans {
    /// Workloads that do not have their own replicas again yet, and since when.
    waiting: HashMap<Key, Instant>,
}

impl Orphans {
    /// Looks after all of them, a few at a time. A live workload gets its own replicas back first.
    pub async fn release(
        &mut self,
        cluster: &Cluster,
        writer: &Writer,
        requests: &Requests,
        matched: &Matches,
        pulse: &Pulse,
    ) {
        let mut unselected = unselected(cluster, matched);
        self.waiting
            .retain(|key, _| unselected.iter().any(|orphan| orphan.key == *key));
        for orphan in unselected.iter_mut().filter(|orphan| orphan.owed.is_some()) {
            orphan.since = *self.waiting.entry(orphan.key.clone()).or_insert_with(Instant::now);
        }
        let jobs = unselected.into_iter().map(|orphan| {
            async move {
                let settled = orphan.has_own_replicas(requests).await;
                if settled && let Err(error) = one(&orphan.known, writer).await {
                    let (namespace, name) = &orphan.key;
                    debug!(namespace, name, %error, "an orphan could not be released");
                }
                pulse.beat();
                (orphan.key, settled)
            }
            .boxed()
        });
        for (key, settled) in concurrently(AT_ONCE, jobs).await {
            if settled {
                self.waiting.remove(&key);
            }
        }
    }
}

/// A Recommendation that nothing selects any more.
struct Orphan {
    key: Key,
    known: Arc<KnownRecommendation>,
    /// Replicas of its workload and the workload's own number, where that is to be given back.
    owed: Option<(u32, u32)>,
    since: Instant,
}

fn unselected(cluster: &Cluster, matched: &Matches) -> Vec<Orphan> {
    let unsure = namespaces_in_doubt(cluster);
    let orphan = |known: Arc<KnownRecommendation>| {
        let key = (known.object.namespace().unwrap_or_default(), known.object.name_any());
        if matched.contains_key(&key) || unsure.contains(key.0.as_str()) {
            return None;
        }
        // Where the Deployment is gone, the garbage collector takes the Recommendation with it.
        let deployment = cluster.deployment(&key.0, &key.1)?;
        let steered = horizontal(cluster, &key.0, &key.1).is_some();
        Some(Orphan {
            owed: owed(&known, &deployment).filter(|_| !steered),
            key,
            known,
            since: Instant::now(),
        })
    };
    cluster.recommendations.all().into_iter().filter_map(orphan).collect()
}

impl Orphan {
    /// Asks for re-admission of the scale until the Deployment has its own number, or it is clear that it gets none.
    async fn has_own_replicas(&self, requests: &Requests) -> bool {
        let Some((present, own)) = self.owed else { return true };
        let (namespace, name) = &self.key;
        match requests.scale(namespace, name, present).await {
            Outcome::Done => {
                info!(
                    namespace,
                    name, own, "no longer selected; it has its own replicas again"
                );
                true
            }
            Outcome::Refused(error) => {
                warn!(namespace, name, own, error, "its own replicas could not be given back");
                true
            }
            // A replica of the webhook that has not seen yet that nothing selects it, a rollout, or no answer.
            Outcome::Unchanged | Outcome::NotAdmitted | Outcome::Failed(_) => self.since.elapsed() > GIVES_UP,
        }
    }
}

/// Namespaces with a ServiceLevelObjective that cannot be used: nobody knows what it is meant to select.
fn namespaces_in_doubt(cluster: &Cluster) -> HashSet<Arc<str>> {
    let mut namespaces = cluster.objectives.namespaces();
    namespaces.retain(|namespace| {
        let objectives = cluster.objectives.of(namespace);
        objectives.iter().any(|known| known.error.is_some())
    });
    namespaces.into_iter().collect()
}

/// The replicas of a Deployment and its own number, where that is to be given back.
fn owed(known: &KnownRecommendation, deployment: &Deployment) -> Option<(u32, u32)> {
    let status = known.object.status.as_ref().filter(|status| status.live)?;
    let original = status.original.as_ref()?.replicas?;
    let own = noted_replicas(deployment).or_else(|| u32::try_from(original).ok())?;
    let present = desired_replicas(deployment);
    let same = known.owner == deployment.metadata.uid;
    (same && present != 0 && present != own).then_some((present, own))
}

async fn one(known: &Arc<KnownRecommendation>, writer: &Writer) -> Result<(), WriteError> {
    let now = Timestamp::now();
    let status = known.object.status.clone().unwrap_or_default();
    let since = conditions::find(&status.conditions, "Ready").filter(|ready| ready.reason == "NotSelected");
    match since {
        Some(ready) if now.duration_since(ready.last_transition_time.0) > KEPT => writer.delete(&known.object).await,
        Some(_) => Ok(()),
        None => {
            let (namespace, name) = (known.object.namespace().unwrap_or_default(), known.object.name_any());
            // The cache keeps no checkpoints, and this one is not to be lost.
            let Some(whole) = writer.recommendation(&namespace, &name).await? else {
                return Ok(());
            };
            info!(namespace, name, "no longer selected; the recommendation is withdrawn");
            let released = status::unselected(&whole.status.clone().unwrap_or_default(), now);
            writer.recommendation_status(&whole, &released).await.map(|_| ())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn known(live: bool) -> KnownRecommendation {
        let object = json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "Recommendation",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
            "status": {"replicas": 5, "live": live, "original": {"replicas": 2}},
        });
        KnownRecommendation {
            object: Arc::new(serde_json::from_value(object).unwrap()),
            plan: None,
            owner: Some("uid".to_owned()),
        }
    }

    fn deployment(replicas: u32, uid: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": uid},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        }))
        .unwrap()
    }

    #[test]
    fn a_live_workload_is_owed_its_own_replicas() {
        assert_eq!(owed(&known(true), &deployment(5, "uid")), Some((5, 2)));
        assert_eq!(owed(&known(true), &deployment(2, "uid")), None, "it has them");
        assert_eq!(owed(&known(true), &deployment(0, "uid")), None, "somebody stopped it");
        assert_eq!(owed(&known(true), &deployment(5, "other")), None, "it was made anew");
        assert_eq!(owed(&known(false), &deployment(5, "uid")), None, "they are its own");
        let mut noted = deployment(5, "uid");
        let record = (
            valence_webhook::names::ORIGINAL.to_owned(),
            json!({"replicas": 3}).to_string(),
        );
        noted.metadata.annotations = Some([record].into());
        assert_eq!(owed(&known(true), &noted), Some((5, 3)));
    }
}
