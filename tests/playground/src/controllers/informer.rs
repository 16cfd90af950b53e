//! One watch for each kind, shared by all controllers and the kubelet.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::tasks::Tasks;

/// A cache of one kind that tells its subscribers of every change, deletions included.
pub struct Informer<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    subscribers: Arc<Mutex<Vec<UnboundedSender<Arc<K>>>>>,
}

impl<K> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Starts the watch; it lasts until the tasks are stopped.
    pub fn start(client: &Client, tasks: &Tasks) -> Self {
        let mut writer = Writer::default();
        let store = writer.as_reader();
        let subscribers: Arc<Mutex<Vec<UnboundedSender<Arc<K>>>>> = Arc::default();
        let told = Arc::clone(&subscribers);
        let api: Api<K> = Api::all(client.clone());
        tasks.spawn(async move {
            let mut events = watch(api, watcher::Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        writer.apply_watcher_event(&event);
                        tell(&told, event, &writer.as_reader());
                    }
                    Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
                }
            }
        });
        Self { store, subscribers }
    }

    /// The objects as last seen.
    pub fn store(&self) -> &Store<K> {
        &self.store
    }

    /// Everything that changes from now on, and everything that is there already.
    pub fn subscribe(&self) -> UnboundedReceiver<Arc<K>> {
        let (sender, receiver) = unbounded_channel();
        let mut subscribers = self.subscribers.lock();
        for object in self.store.state() {
            let _ = sender.send(object);
        }
        subscribers.push(sender);
        receiver
    }
}

fn tell<K>(subscribers: &Mutex<Vec<UnboundedSender<Arc<K>>>>, event: Event<K>, store: &Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let objects = match event {
        Event::Apply(object) | Event::Delete(object) => vec![Arc::new(object)],
        Event::InitDone => store.state(),
        Event::Init | Event::InitApply(_) => return,
    };
    let mut subscribers = subscribers.lock();
    for object in objects {
        subscribers.retain(|subscriber| subscriber.send(Arc::clone(&object)).is_ok());
    }
}

/// The caches of every kind that the playground's controllers and kubelet act on.
pub struct Informers {
    /// Pods.
    pub pods: Informer<Pod>,
    /// Replica sets.
    pub replica_sets: Informer<ReplicaSet>,
    /// Deployments.
    pub deployments: Informer<Deployment>,
    /// Services.
    pub services: Informer<Service>,
    /// Jobs.
    pub jobs: Informer<Job>,
    /// Pod disruption budgets.
    pub budgets: Informer<PodDisruptionBudget>,
    /// Horizontal pod autoscalers.
    pub autoscalers: Informer<HorizontalPodAutoscaler>,
}

impl Informers {
    /// Starts all watches.
    pub fn start(client: &Client, tasks: &Tasks) -> Self {
        Self {
            pods: Informer::start(client, tasks),
            replica_sets: Informer::start(client, tasks),
            deployments: Informer::start(client, tasks),
            services: Informer::start(client, tasks),
            jobs: Informer::start(client, tasks),
            budgets: Informer::start(client, tasks),
            autoscalers: Informer::start(client, tasks),
        }
    }
}
