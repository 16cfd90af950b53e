//! Binds pods to the one node as long as their requests fit it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::node::NodeOptions;
use super::quantity::{Resources, pod_requests};
use crate::controllers::events::Events;
use crate::controllers::informer::Informers;
use crate::controllers::objects::{condition, is_active, now};
use crate::tasks::Tasks;

/// Starts the scheduler.
pub fn start(informers: &Arc<Informers>, tasks: &Tasks, client: Client, options: NodeOptions) {
    let scheduler = Scheduler {
        events: Events::new(client.clone(), "default-scheduler", None),
        informers: Arc::clone(informers),
        client,
        options,
    };
    tasks.spawn(async move { scheduler.run().await });
}

struct Scheduler {
    client: Client,
    events: Events,
    informers: Arc<Informers>,
    options: NodeOptions,
}

impl Scheduler {
    async fn run(&self) {
        let mut changes = self.informers.pods.subscribe();
        loop {
            tokio::select! {
                change = changes.recv() => if change.is_none() { return },
                () = tokio::time::sleep(Duration::from_secs(2)) => {}
            }
            while changes.try_recv().is_ok() {}
            self.pass().await;
        }
    }

    /// Binds every pod that waits and fits, oldest first.
    async fn pass(&self) {
        let pods = self.informers.pods.store().state();
        let bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let mut waiting: Vec<&Arc<Pod>> = pods.iter().filter(|pod| !bound(pod) && is_ours(pod)).collect();
        if waiting.is_empty() {
            return;
        }
        waiting.sort_by_key(|pod| (pod.creation_timestamp(), pod.name_any()));
        let mut placed: Vec<&Arc<Pod>> = pods.iter().filter(|pod| bound(pod)).collect();
        for pod in waiting {
            match unfit(pod, &placed, &self.options) {
                None => {
                    if let Err(error) = self.bind(pod).await {
                        tracing::debug!(%error, pod = pod.name_any(), "not bound");
                    } else {
                        placed.push(pod);
                    }
                }
                Some(why) => self.refuse(pod, &why).await,
            }
        }
    }

    async fn bind(&self, pod: &Arc<Pod>) -> kube::Result<()> {
        let node = &self.options.name;
        let namespace = pod.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name_any()),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".into()),
                name: Some(node.clone()),
                ..ObjectReference::default()
            },
        };
        match api
            .create_subresource::<_, Value>("binding", &pod.name_any(), &PostParams::default(), &binding)
            .await
        {
            Ok(_) => {
                let message = format!("Successfully assigned {namespace}/{} to {node}", pod.name_any());
                self.events.normal(pod.as_ref(), "Scheduled", message).await;
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn refuse(&self, pod: &Arc<Pod>, why: &str) {
        let known = condition(pod, "PodScheduled").is_some_and(|condition| condition.message.as_deref() == Some(why));
        if known {
            return;
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let unscheduled = json!({"status": {"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why,
            "lastTransitionTime": now(),
        }]}});
        let written = api
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(unscheduled))
            .await;
        if written.is_ok() {
            self.events.warning(pod.as_ref(), "FailedScheduling", why).await;
        }
    }
}

fn is_ours(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    let gated = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()));
    is_active(pod) && !gated && matches!(scheduler, None | Some("default-scheduler"))
}

/// What pods have been given in all.
pub fn total<'a>(pods: impl IntoIterator<Item = &'a Arc<Pod>>) -> Resources {
    let mut sum = (0.0, 0.0);
    for pod in pods
        .into_iter()
        .filter(|pod| !matches!(crate::controllers::objects::phase(pod), "Succeeded" | "Failed"))
    {
        let requests = pod_requests(pod);
        sum.0 += requests.cpu.unwrap_or(0.0);
        sum.1 += requests.memory.unwrap_or(0.0);
    }
    Resources {
        cpu: Some(sum.0),
        memory: Some(sum.1),
    }
}

/// Why a pod does not fit beside those that are there.
fn unfit(pod: &Pod, placed: &[&Arc<Pod>], options: &NodeOptions) -> Option<String> {
    let taken = total(placed.iter().copied());
    let wanted = pod_requests(pod);
    let exceeds = |wanted: Option<f64>, taken: Option<f64>, has: f64| {
        wanted.unwrap_or(0.0) > 0.0 && wanted.unwrap_or(0.0) + taken.unwrap_or(0.0) > has + 1e-9
    };
    let what = if exceeds(wanted.cpu, taken.cpu, options.capacity.cpu_cores) {
        "Insufficient cpu"
    } else if exceeds(wanted.memory, taken.memory, options.capacity.memory_bytes as f64) {
        "Insufficient memory"
    } else if placed.len() as u32 >= options.capacity.pods {
        "Too many pods"
    } else {
        return None;
    };
    Some(format!("0/1 nodes are available: 1 {what}."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(cpu: &str) -> Arc<Pod> {
        let resources = json!({"requests": {"cpu": cpu}});
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "resources": resources}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn pods_fit_as_long_as_their_requests_do() {
        let mut options = NodeOptions::default();
        options.capacity.cpu_cores = 2.0;
        let (one, half) = (pod("1"), pod("500m"));
        assert_eq!(unfit(&one, &[&half, &half], &options), None);
        let why = unfit(&one, &[&half, &one], &options).unwrap();
        assert_eq!(why, "0/1 nodes are available: 1 Insufficient cpu.");
        options.capacity.pods = 2;
        assert!(
            unfit(&half, &[&half, &half], &options)
                .unwrap()
                .contains("Too many pods")
        );
    }
}
