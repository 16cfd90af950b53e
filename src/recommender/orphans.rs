//! Recommendations whose Deployment no ServiceLevelObjective selects any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tracing::{debug, info};

use super::status;
use super::subjects::{Key, Matched};
use super::write::{WriteError, Writer};
use crate::api::conditions;
use crate::cache::Cluster;
use crate::cache::keep::KnownRecommendation;

/// How long one is kept, with what was learnt, before it is deleted: a label that was lost may come back.
const KEPT: SignedDuration = SignedDuration::from_hours(1);

/// Withdraws what is recommended for Deployments that are no longer selected, and later deletes it.
pub async fn release(cluster: &Cluster, writer: &Writer, matched: &BTreeMap<Key, Matched>) {
    for known in cluster.recommendations.all() {
        let key = (known.object.namespace().unwrap_or_default(), known.object.name_any());
        // Where the Deployment is gone, the garbage collector takes the Recommendation with it.
        let orphaned = !matched.contains_key(&key) && cluster.deployments.get(&key.0, &key.1).is_some();
        if orphaned && let Err(error) = one(&known, writer).await {
            debug!(namespace = key.0, name = key.1, %error, "an orphan could not be released");
        }
    }
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
