//! The ReplicaSet controller: keeps as many pods of one template as are asked for.

use std::cmp::Reverse;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::events::Events;
use super::informer::Informers;
use super::objects::{
    controlled_by, controller_of, is_active, is_available, is_ready, now, phase, ready_for, selects, suffix,
    unless_gone,
};
use super::queue::{Key, key};

/// Brings replica sets to the number of pods that they declare.
#[derive(Clone)]
pub struct Controller {
    client: Client,
    events: Events,
}

/// The replica sets that a pod without a controller could belong to.
pub fn could_adopt(informers: &Informers, pod: &Pod) -> Vec<Key> {
    let same_namespace = |set: &ReplicaSet| set.namespace() == pod.namespace();
    let matching = |set: &ReplicaSet| same_namespace(set) && selects(&set.spec.selector, pod.labels());
    informers
        .replica_sets
        .store()
        .state_filter(matching)
        .iter()
        .map(|set| key(set.as_ref()))
        .collect()
}

impl Controller {
    /// The controller, acting through the client.
    pub fn new(client: Client) -> Self {
        let events = Events::new(client.clone(), "replicaset-controller", None);
        Self { client, events }
    }

    /// Creates or deletes the pods that are missing or too many, then writes the status.
    ///
    /// # Errors
    /// Those of the API, after which it is tried again.
    pub async fn reconcile(self, (namespace, name): Key) -> anyhow::Result<Option<Duration>> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &namespace);
        let pods_api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let Some(set) = api.get_opt(&name).await? else {
            return Ok(None);
        };
        let mut pods = self.pods_of(&pods_api, &set).await?;
        let mut failure = None;
        if set.metadata.deletion_timestamp.is_none() {
            failure = self.balance(&pods_api, &set, &mut pods).await?;
        }
        write_status(&api, &set, &pods, failure.as_deref()).await?;
        anyhow::ensure!(failure.is_none(), "{}", failure.unwrap_or_default());
        Ok(next_look(&set, &pods))
    }

    /// The pods that the set controls; orphans that its selector matches are adopted.
    async fn pods_of(&self, api: &Api<Pod>, set: &ReplicaSet) -> anyhow::Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for pod in api.list(&ListParams::default()).await? {
            match controller_of(&pod) {
                Some(owner) if Some(&owner.uid) == set.metadata.uid.as_ref() => pods.push(pod),
                None if is_active(&pod) && selects(&set.spec.selector, pod.labels()) => {
                    let patch = json!({"metadata": {"ownerReferences": [controlled_by(set)]}});
                    let adopted = api
                        .patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))
                        .await;
                    pods.extend(unless_gone(adopted)?);
                }
                _ => {}
            }
        }
        Ok(pods)
    }

    /// Makes the number of pods right; tells why a pod could not be created.
    async fn balance(&self, api: &Api<Pod>, set: &ReplicaSet, pods: &mut Vec<Pod>) -> anyhow::Result<Option<String>> {
        let active = pods.iter().filter(|pod| is_active(pod)).count();
        let wanted = set.spec.replicas.unwrap_or(1).max(0) as usize;
        for _ in active..wanted {
            match api.create(&PostParams::default(), &pod_from(set)).await {
                Ok(pod) => {
                    let message = format!("Created pod: {}", pod.name_any());
                    self.events.normal(set, "SuccessfulCreate", message).await;
                    pods.push(pod);
                }
                Err(error) => {
                    let message = format!("Error creating: {error}");
                    self.events.warning(set, "FailedCreate", message.clone()).await;
                    return Ok(Some(message));
                }
            }
        }
        let surplus = active.saturating_sub(wanted);
        for pod in surplus_of(pods, surplus) {
            let only_this = Preconditions {
                uid: pod.uid(),
                ..Preconditions::default()
            };
            let params = DeleteParams {
                preconditions: Some(only_this),
                ..DeleteParams::default()
            };
            if unless_gone(api.delete(&pod.name_any(), &params).await)?.is_some() {
                self.events
                    .normal(set, "SuccessfulDelete", format!("Deleted pod: {}", pod.name_any()))
                    .await;
            }
        }
        Ok(None)
    }
}

/// A pod of the set's template.
fn pod_from(set: &ReplicaSet) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    from_template(&template, &set.name_any(), set.namespace(), controlled_by(set))
}

/// A pod of a template, with the name of its owner and a random suffix.
pub fn from_template(
    template: &PodTemplateSpec,
    owner_name: &str,
    namespace: Option<String>,
    owner: Option<OwnerReference>,
) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            name: Some(format!("{owner_name}-{}", suffix(rand::random(), 5))),
            generate_name: Some(format!("{owner_name}-")),
            namespace,
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The pods to delete first: those that serve least, then those that have served for the shortest time.
fn surplus_of(pods: &[Pod], surplus: usize) -> Vec<Pod> {
    let mut active: Vec<&Pod> = pods.iter().filter(|pod| is_active(pod)).collect();
    active.sort_by_key(|pod| {
        let assigned = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let running = phase(pod) == "Running";
        let cost: i64 = pod
            .annotations()
            .get("controller.kubernetes.io/pod-deletion-cost")
            .and_then(|cost| cost.parse().ok())
            .unwrap_or(0);
        let ready_seconds = ready_for(pod).map(|time| time.as_secs());
        (
            assigned,
            running,
            is_ready(pod),
            cost,
            ready_seconds,
            Reverse(restarts(pod)),
            Reverse(pod.creation_timestamp()),
        )
    });
    active.into_iter().take(surplus).cloned().collect()
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|status| status.restart_count)
        .max()
        .unwrap_or(0)
}

fn status_of(set: &ReplicaSet, pods: &[Pod], failure: Option<&str>) -> ReplicaSetStatus {
    let active: Vec<&Pod> = pods.iter().filter(|pod| is_active(pod)).collect();
    let count = |holds: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| holds(pod)).count() as i32;
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let labels = set
        .spec
        .template
        .as_ref()
        .and_then(|template| template.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let fully_labelled = |pod: &Pod| labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value));
    let leaving = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_some())
        .count() as i32;
    ReplicaSetStatus {
        replicas: active.len() as i32,
        fully_labeled_replicas: Some(count(&fully_labelled)),
        ready_replicas: Some(count(&is_ready)),
        available_replicas: Some(count(&|pod| is_available(pod, min_ready))),
        terminating_replicas: Some(leaving),
        observed_generation: set.metadata.generation,
        conditions: failure.map(|message| vec![replica_failure(set, message)]),
    }
}

fn replica_failure(set: &ReplicaSet, message: &str) -> ReplicaSetCondition {
    let before = set
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref()?.first().cloned());
    let since = before.and_then(|condition| condition.last_transition_time);
    ReplicaSetCondition {
        type_: Some("ReplicaFailure".into()),
        status: Some("True".into()),
        reason: Some("FailedCreate".into()),
        message: Some(message.to_owned()),
        last_transition_time: since.or_else(|| Some(now())),
    }
}

async fn write_status(
    api: &Api<ReplicaSet>,
    set: &ReplicaSet,
    pods: &[Pod],
    failure: Option<&str>,
) -> anyhow::Result<()> {
    let status = status_of(set, pods, failure);
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut body = json!({"status": status});
    super::clear_absent(&mut body["status"], &serde_json::to_value(&set.status)?);
    unless_gone(
        api.patch_status(&set.name_any(), &PatchParams::default(), &Patch::Merge(body))
            .await,
    )?;
    Ok(())
}

/// When the next pod will have been ready for long enough to count as available.
fn next_look(set: &ReplicaSet, pods: &[Pod]) -> Option<Duration> {
    let min_ready = set.spec.min_ready_seconds.unwrap_or(0);
    let waiting = pods
        .iter()
        .filter(|pod| is_active(pod) && is_ready(pod) && !is_available(pod, min_ready));
    waiting
        .filter_map(ready_for)
        .map(|so_far| Duration::from_secs(min_ready.max(0) as u64).saturating_sub(so_far) + Duration::from_millis(100))
        .min()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(name: &str, phase: &str, ready_since: Option<&str>) -> Pod {
        let ready = ready_since.map(|since| json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]));
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app": "web"}, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [], "nodeName": "node"},
            "status": {"phase": phase, "conditions": ready},
        }))
        .unwrap()
    }

    fn set(replicas: i32, min_ready: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "generation": 2},
            "spec": {
                "replicas": replicas, "minReadySeconds": min_ready, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            },
        }))
        .unwrap()
    }

    fn names(pods: &[Pod]) -> Vec<String> {
        pods.iter().map(ResourceExt::name_any).collect()
    }

    #[test]
    fn pods_that_serve_least_are_deleted_first() {
        let pods = [
            pod("old", "Running", Some("2026-01-01T00:01:00Z")),
            pod("pending", "Pending", None),
            pod("new", "Running", Some("2026-01-01T09:00:00Z")),
            pod("unready", "Running", None),
        ];
        assert_eq!(names(&surplus_of(&pods, 3)), ["pending", "unready", "new"]);
    }

    #[test]
    fn a_cheap_pod_is_deleted_before_a_newer_one() {
        let mut cheap = pod("cheap", "Running", Some("2026-01-01T00:01:00Z"));
        cheap
            .annotations_mut()
            .insert("controller.kubernetes.io/pod-deletion-cost".into(), "-5".into());
        let pods = [pod("new", "Running", Some("2026-01-01T09:00:00Z")), cheap];
        assert_eq!(names(&surplus_of(&pods, 1)), ["cheap"]);
    }

    #[test]
    fn pods_that_leave_do_not_count() {
        let mut leaving = pod("leaving", "Running", Some("2026-01-01T00:01:00Z"));
        leaving.metadata.deletion_timestamp = Some(now());
        let pods = [
            leaving,
            pod("failed", "Failed", None),
            pod("good", "Running", Some("2026-01-01T00:01:00Z")),
        ];
        let status = status_of(&set(1, 0), &pods, None);
        assert_eq!((status.replicas, status.available_replicas), (1, Some(1)));
        assert_eq!(status.terminating_replicas, Some(1));
        assert_eq!(status.observed_generation, Some(2));
    }

    #[test]
    fn a_pod_becomes_available_only_after_its_minimum_time() {
        let ready = [pod("fresh", "Running", Some(&Timestamped::now()))];
        let set = set(1, 30);
        assert_eq!(status_of(&set, &ready, None).available_replicas, Some(0));
        let look = next_look(&set, &ready).unwrap();
        assert!(look > Duration::from_secs(25) && look < Duration::from_secs(31));
    }

    struct Timestamped;
    impl Timestamped {
        fn now() -> String {
            now().0.to_string()
        }
    }

    #[test]
    fn a_pod_belongs_to_its_set() {
        let pod = pod_from(&set(1, 0));
        assert!(pod.name_any().starts_with("web-1-"));
        assert_eq!(controller_of(&pod).unwrap().name, "web-1");
        assert_eq!(pod.labels()["app"], "web");
    }
}
