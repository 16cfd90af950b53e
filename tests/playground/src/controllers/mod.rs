//! The controllers of workloads: each compares what is declared with what is there and takes the next step.
//!
//! They act through the API like anybody else, so that admission webhooks see all that they do.

mod autoscaler;
mod deployment;
mod disruption;
mod endpoints;
pub mod events;
pub mod informer;
mod job;
pub mod objects;
mod queue;
mod replicaset;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Resource, ResourceExt};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::tasks::Tasks;
use informer::Informers;
use queue::{Key, Queue, key, work};

/// Starts all controllers. Each acts with the client of its own service account, which `client_of` makes.
///
/// # Errors
/// When a client cannot be made.
pub fn start(
    informers: &Arc<Informers>,
    tasks: &Tasks,
    client_of: impl Fn(&str) -> anyhow::Result<Client>,
) -> anyhow::Result<()> {
    deployments(informers, tasks, client_of("deployment-controller")?);
    replica_sets(informers, tasks, client_of("replicaset-controller")?);
    jobs(informers, tasks, client_of("job-controller")?);
    endpoints::start(informers, tasks, client_of("endpoint-controller")?);
    disruption::start(informers, tasks, client_of("disruption-controller")?);

    autoscaler::start(informers, tasks, client_of("horizontal-pod-autoscaler")?);
    Ok(())
}

fn deployments(informers: &Arc<Informers>, tasks: &Tasks, client: Client) {
    let controller = deployment::Controller::new(client);
    let queue = run("deployment", tasks, move |key| controller.clone().reconcile(key));
    each(tasks, informers.deployments.subscribe(), &queue, |deployment| {
        Some(key(deployment))
    });
    each(tasks, informers.replica_sets.subscribe(), &queue, |set| {
        owner(set, "Deployment")
    });
}

fn replica_sets(informers: &Arc<Informers>, tasks: &Tasks, client: Client) {
    let controller = replicaset::Controller::new(client);
    let queue = run("replicaset", tasks, move |key| controller.clone().reconcile(key));
    each(tasks, informers.replica_sets.subscribe(), &queue, |set| Some(key(set)));
    let known = Arc::clone(informers);
    each_many(
        tasks,
        informers.pods.subscribe(),
        &queue,
        move |pod| match objects::controller_of(pod) {
            Some(_) => owner(pod, "ReplicaSet").into_iter().collect(),
            None => replicaset::could_adopt(&known, pod),
        },
    );
}

fn jobs(informers: &Arc<Informers>, tasks: &Tasks, client: Client) {
    let controller = job::Controller::new(client);
    let queue = run("job", tasks, move |key| controller.clone().reconcile(key));
    each(tasks, informers.jobs.subscribe(), &queue, |job| Some(key(job)));
    each(tasks, informers.pods.subscribe(), &queue, |pod| owner(pod, "Job"));
}

/// Runs a reconciler on a queue of its own.
fn run<F, Fut>(name: &'static str, tasks: &Tasks, reconcile: F) -> Queue
where
    F: Fn(Key) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Option<Duration>>> + Send + 'static,
{
    let (queue, keys) = Queue::new();
    tasks.spawn(work(name, keys, reconcile));
    queue
}

/// Pushes a key for each object that changes.
fn each<K: Send + Sync + 'static>(
    tasks: &Tasks,
    changes: UnboundedReceiver<Arc<K>>,
    queue: &Queue,
    key_of: impl Fn(&K) -> Option<Key> + Send + Sync + 'static,
) {
    each_many(tasks, changes, queue, move |object| {
        key_of(object).into_iter().collect()
    });
}

/// Pushes several keys for each object that changes.
fn each_many<K: Send + Sync + 'static>(
    tasks: &Tasks,
    mut changes: UnboundedReceiver<Arc<K>>,
    queue: &Queue,
    keys_of: impl Fn(&K) -> Vec<Key> + Send + Sync + 'static,
) {
    let queue = queue.clone();
    tasks.spawn(async move {
        while let Some(object) = changes.recv().await {
            keys_of(&object).into_iter().for_each(|key| queue.push(key));
        }
    });
}

/// The key of the object's controller if that is of the given kind.
fn owner<K: Resource>(object: &K, kind: &str) -> Option<Key> {
    let owner = objects::controller_of(object).filter(|owner| owner.kind == kind)?;
    Some((object.namespace()?, owner.name.clone()))
}

/// Makes a merge patch replace an object: what is in `earlier` and not in `patch` becomes null.
pub(crate) fn clear_absent(patch: &mut Value, earlier: &Value) {
    let (Some(patch), Some(earlier)) = (patch.as_object_mut(), earlier.as_object()) else {
        return;
    };
    for key in earlier.keys() {
        patch.entry(key.clone()).or_insert(Value::Null);
    }
}
