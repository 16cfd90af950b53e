//! The Deployment controller: one replica set for each template, rolled from the old to the new.

mod plan;
mod revision;
mod status;

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::events::Events;
use super::objects::{controller_of, selects, unless_gone};
use super::queue::Key;
use plan::{Bounds, Resize, wanted};

/// Brings Deployments to what they declare.
#[derive(Clone)]
pub struct Controller {
    client: Client,
    events: Events,
}

/// A Deployment with its replica sets, oldest first.
struct Rollout {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
}

impl Rollout {
    fn new_set(&self) -> Option<&ReplicaSet> {
        revision::current(&self.deployment, &self.sets)
    }

    fn old_sets(&self) -> Vec<&ReplicaSet> {
        let new = self.new_set().and_then(ReplicaSet::uid);
        self.sets.iter().filter(|set| set.uid() != new).collect()
    }

    fn latest_old_revision(&self) -> i64 {
        self.old_sets().into_iter().map(revision::revision).max().unwrap_or(0)
    }
}

impl Controller {
    /// The controller, acting through the client.
    pub fn new(client: Client) -> Self {
        let events = Events::new(client.clone(), "deployment-controller", None);
        Self { client, events }
    }

    /// One step towards what the Deployment declares.
    ///
    /// # Errors
    /// Those of the API, after which the step is tried again.
    pub async fn reconcile(self, (namespace, name): Key) -> anyhow::Result<Option<Duration>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &namespace);
        let Some(deployment) = api.get_opt(&name).await? else {
            return Ok(None);
        };
        let sets = self.sets_of(&deployment).await?;
        let mut rollout = Rollout { deployment, sets };
        if rollout.deployment.metadata.deletion_timestamp.is_none() {
            self.advance(&mut rollout).await?;
        }
        self.write_status(&api, &rollout).await
    }

    fn sets_api(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        Api::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default())
    }

    /// The replica sets that the Deployment controls; orphans that its selector matches are adopted.
    async fn sets_of(&self, deployment: &Deployment) -> anyhow::Result<Vec<ReplicaSet>> {
        let api = self.sets_api(deployment);
        let mut sets = Vec::new();
        for set in api.list(&ListParams::default()).await? {
            match controller_of(&set) {
                Some(owner) if Some(&owner.uid) == deployment.metadata.uid.as_ref() => sets.push(set),
                None if selects(&deployment.spec.selector, set.labels())
                    && set.metadata.deletion_timestamp.is_none() =>
                {
                    let owners = json!({"metadata": {"ownerReferences": [super::objects::controlled_by(deployment)]}});
                    sets.push(
                        api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(owners))
                            .await?,
                    );
                }
                _ => {}
            }
        }
        sets.sort_by_key(|set| (set.creation_timestamp(), revision::revision(set)));
        Ok(sets)
    }

    async fn advance(&self, rollout: &mut Rollout) -> anyhow::Result<()> {
        let bounds = Bounds::of(&rollout.deployment);
        let paused = rollout.deployment.spec.paused == Some(true);
        let recreate = plan::is_recreate(&rollout.deployment);
        self.renew_revision(rollout).await?;
        let old = rollout.old_sets();
        let all: Vec<&ReplicaSet> = rollout.sets.iter().collect();
        if paused || plan::was_scaled(bounds, &all) {
            let steps = plan::spread(bounds, rollout.new_set(), &old);
            return self.resize(rollout, bounds, steps).await;
        }
        let Some(new) = rollout.new_set() else {
            return self.start_rollout(rollout, bounds, recreate).await;
        };
        let steps = if recreate {
            plan::recreate(bounds, Some(new), &old)
        } else {
            plan::roll(bounds, new, &old)
        };
        self.resize(rollout, bounds, steps).await?;
        self.forget_old(rollout).await
    }

    /// Gives the current set the next revision when its template has come back, and the Deployment its number.
    async fn renew_revision(&self, rollout: &mut Rollout) -> anyhow::Result<()> {
        let latest_old = rollout.latest_old_revision();
        let Some(new) = rollout.new_set() else { return Ok(()) };
        let changed = revision::renewed(&rollout.deployment, new, latest_old);
        let mut number = revision::revision(new);
        if !changed.is_empty() {
            let patch = json!({"metadata": {"annotations": changed}});
            let api = self.sets_api(&rollout.deployment);
            let new = api
                .patch(&new.name_any(), &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            number = revision::revision(&new);
            for set in &mut rollout.sets {
                if set.uid() == new.uid() {
                    *set = new.clone();
                }
            }
        }
        self.number(&rollout.deployment, number).await
    }

    async fn number(&self, deployment: &Deployment, number: i64) -> anyhow::Result<()> {
        let number = number.to_string();
        if deployment.annotations().get(revision::REVISION) == Some(&number) {
            return Ok(());
        }
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &deployment.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"annotations": {revision::REVISION: number}}});
        api.patch(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn start_rollout(&self, rollout: &mut Rollout, bounds: Bounds, recreate: bool) -> anyhow::Result<()> {
        let old = rollout.old_sets();
        if recreate {
            let steps = plan::recreate(bounds, None, &old);
            if !steps.is_empty() || old.iter().any(|set| plan::existing(set) > 0) {
                return self.resize(rollout, bounds, steps).await;
            }
        }
        let total = old.iter().map(|set| wanted(set)).sum();
        let size = plan::size_of_new(bounds, recreate, 0, total);
        let number = rollout.latest_old_revision() + 1;
        let set = revision::fresh(&rollout.deployment, size, number);
        let set = self
            .sets_api(&rollout.deployment)
            .create(&PostParams::default(), &set)
            .await?;
        self.number(&rollout.deployment, number).await?;
        let message = format!("Scaled up replica set {} from 0 to {size}", set.name_any());
        self.events
            .normal(&rollout.deployment, "ScalingReplicaSet", message)
            .await;
        rollout.sets.push(set);
        Ok(())
    }

    async fn resize(&self, rollout: &Rollout, bounds: Bounds, steps: Vec<Resize>) -> anyhow::Result<()> {
        let api = self.sets_api(&rollout.deployment);
        for step in &steps {
            let patch = json!({
                "metadata": {"annotations": revision::sizing(bounds)},
                "spec": {"replicas": step.to},
            });
            api.patch(&step.set, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            let direction = if step.to > step.from { "up" } else { "down" };
            let message = format!(
                "Scaled {direction} replica set {} from {} to {}",
                step.set, step.from, step.to
            );
            self.events
                .normal(&rollout.deployment, "ScalingReplicaSet", message)
                .await;
        }
        self.note_sizes(rollout, bounds, &steps).await
    }

    /// Sets that keep their size still learn the Deployment's new one.
    async fn note_sizes(&self, rollout: &Rollout, bounds: Bounds, steps: &[Resize]) -> anyhow::Result<()> {
        let sizing = revision::sizing(bounds);
        for set in rollout.sets.iter().filter(|set| wanted(set) > 0) {
            let noted = sizing
                .iter()
                .all(|(key, value)| set.annotations().get(key) == Some(value));
            if noted || steps.iter().any(|step| step.set == set.name_any()) {
                continue;
            }
            let patch = json!({"metadata": {"annotations": sizing}});
            self.sets_api(&rollout.deployment)
                .patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        Ok(())
    }

    /// Deletes empty old sets beyond the history that is kept.
    async fn forget_old(&self, rollout: &Rollout) -> anyhow::Result<()> {
        let kept = rollout.deployment.spec.revision_history_limit.unwrap_or(10);
        let mut old = rollout.old_sets();
        old.retain(|set| wanted(set) == 0 && plan::existing(set) == 0 && set.metadata.deletion_timestamp.is_none());
        old.sort_by_key(|set| revision::revision(set));
        let surplus = old.len().saturating_sub(kept.max(0) as usize);
        for set in &old[..surplus] {
            let gone = self
                .sets_api(&rollout.deployment)
                .delete(&set.name_any(), &Default::default())
                .await;
            unless_gone(gone)?;
        }
        Ok(())
    }

    async fn write_status(&self, api: &Api<Deployment>, rollout: &Rollout) -> anyhow::Result<Option<Duration>> {
        let deployment = &rollout.deployment;
        let failure = rollout.sets.iter().find_map(|set| {
            let conditions = set.status.as_ref()?.conditions.as_ref()?;
            conditions
                .iter()
                .find(|condition| condition.type_.as_deref() == Some("ReplicaFailure"))?
                .message
                .clone()
        });
        let status = status::status(deployment, rollout.new_set(), &rollout.sets, failure.as_deref());
        let able = status.available_replicas.unwrap_or(0);
        let total = status.replicas.unwrap_or(0);
        let complete = status::is_complete(Bounds::of(deployment), rollout.new_set(), total, able);
        if deployment.status.as_ref() != Some(&status) {
            let mut body = json!({"status": status});
            super::clear_absent(&mut body["status"], &serde_json::to_value(&deployment.status)?);
            let patch = Patch::Merge(body);
            unless_gone(
                api.patch_status(&deployment.name_any(), &PatchParams::default(), &patch)
                    .await,
            )?;
        }
        Ok((!complete).then(|| status::deadline(deployment).min(Duration::from_secs(10))))
    }
}
