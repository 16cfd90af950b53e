//! The kubelet: runs the pods of the one node as processes of this machine, each on a loopback address of its own.

mod container;
pub mod environment;
pub mod image;
pub mod instance;
mod logs;
pub mod network;
pub mod node;
mod own;
mod pod;
mod probe;
mod process;
pub mod quantity;
mod resize;
pub mod scheduler;
mod state;
mod tls;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use process::find_on_path;

use crate::controllers::informer::Informers;
use crate::sample::Adjustment;
use crate::tasks::Tasks;
use node::Node;
use pod::PodRuntime;
use quantity::Resources;
use usage::{Averages, SAMPLING};

/// A pod that the kubelet runs.
struct Known {
    runtime: Arc<PodRuntime>,
    updates: watch::Sender<Arc<Pod>>,
}

/// What the kubelet tells of a container's usage.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerUse {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Cores over the window.
    pub cpu_cores: f64,
    /// Bytes now.
    pub memory_bytes: u64,
}

/// The kubelet of the one node.
pub struct Kubelet {
    node: Arc<Node>,
    informers: Arc<Informers>,
    pods: RwLock<HashMap<String, Known>>,
    averages: Mutex<Averages>,
    running: TaskTracker,
    killed: CancellationToken,
}

impl Kubelet {
    /// Starts to run the pods that are bound to the node.
    pub fn start(node: Node, informers: &Arc<Informers>, tasks: &Tasks) -> Arc<Self> {
        let kubelet = Arc::new(Self {
            node: Arc::new(node),
            informers: Arc::clone(informers),
            pods: RwLock::default(),
            averages: Mutex::default(),
            running: TaskTracker::new(),
            killed: CancellationToken::new(),
        });
        let node = Arc::clone(&kubelet.node);
        tasks.spawn(async move { node.report().await });
        let own = Arc::clone(&kubelet);
        tasks.spawn(async move { own.follow_pods().await });
        let own = Arc::clone(&kubelet);
        tasks.spawn(async move { own.follow_usage().await });
        kubelet
    }

    /// The node that it runs.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    async fn follow_pods(self: Arc<Self>) {
        let mut changes = self.informers.pods.subscribe();
        while let Some(pod) = changes.recv().await {
            let bound =
                pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(self.node.options.name.as_str());
            if bound {
                self.take(pod);
            }
        }
    }

    /// Passes a change on to the pod, starts it when it is new, forgets it when the object is gone.
    fn take(self: &Arc<Self>, pod: Arc<Pod>) {
        let Some(uid) = pod.uid() else { return };
        let stored = self
            .informers
            .pods
            .store()
            .find(|known| known.uid().as_ref() == Some(&uid));
        let mut pods = self.pods.write();
        match (pods.get(&uid), stored) {
            (Some(known), Some(stored)) => {
                known.updates.send_replace(stored);
            }
            (Some(_), None) => {
                pods.remove(&uid);
            }
            (None, Some(stored)) => {
                let (updates, receiver) = watch::channel(stored);
                match PodRuntime::new(Arc::clone(&self.node), receiver) {
                    Ok(runtime) => {
                        self.run(uid.clone(), Arc::clone(&runtime));
                        pods.insert(uid, Known { runtime, updates });
                    }
                    Err(error) => tracing::warn!(%error, pod = pod.name_any(), "pod not started"),
                }
            }
            (None, None) => {}
        }
    }

    fn run(self: &Arc<Self>, uid: String, runtime: Arc<PodRuntime>) {
        let kubelet = Arc::clone(self);
        let killed = self.killed.clone();
        self.running.spawn(async move {
            let work = Arc::clone(&runtime).run(|| kubelet.given_to_others(&uid));
            tokio::select! {
                () = work => {}
                () = killed.cancelled() => {}
            }
            runtime.kill();
        });
    }

    fn given_to_others(&self, uid: &str) -> Resources {
        let pods = self.informers.pods.store().state();
        scheduler::total(pods.iter().filter(|pod| {
            pod.uid().as_deref() != Some(uid) && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
        }))
    }

    /// Kills everything that runs and waits until it is gone.
    pub async fn kill(&self) {
        self.killed.cancel();
        self.running.close();
        self.running.wait().await;
        self.pods.write().clear();
    }

    /// Kills everything that runs, without waiting.
    pub fn kill_now(&self) {
        self.killed.cancel();
        self.pods.read().values().for_each(|known| known.runtime.kill());
    }

    async fn follow_usage(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SAMPLING).await;
            let running: Vec<_> = {
                let pods = self.pods.read();
                let containers = pods
                    .iter()
                    .flat_map(|(uid, known)| known.runtime.all().map(move |c| (uid, c)));
                containers
                    .filter_map(|(uid, c)| Some(((uid.clone(), c.name()), c.usage()?)))
                    .collect()
            };
            self.averages
                .lock()
                .sample(Instant::now(), self.node.options.usage_window, running);
        }
    }

    /// What the containers use, for metrics.k8s.io.
    pub fn usage(&self) -> Vec<ContainerUse> {
        let averages = self.averages.lock();
        let mut all = Vec::new();
        for (uid, known) in self.pods.read().iter() {
            let pod = known.runtime.object();
            for container in known.runtime.all() {
                if let Some((cpu_cores, memory_bytes)) = averages.of(uid, &container.name()) {
                    all.push(ContainerUse {
                        namespace: pod.namespace().unwrap_or_default(),
                        pod: pod.name_any(),
                        container: container.name(),
                        cpu_cores,
                        memory_bytes,
                    });
                }
            }
        }
        all
    }

    /// The log of a container.
    pub fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        tail: Option<usize>,
    ) -> Option<String> {
        let pods = self.pods.read();
        let known = pods.values().find(|known| {
            let object = known.runtime.object();
            object.name_any() == pod && object.namespace().as_deref() == Some(namespace)
        })?;
        let container = known.runtime.all().find(|runtime| runtime.name() == container)?;
        container.log.text(previous, tail)
    }

    /// Changes the behaviour of simulated containers in pods that `matches` chooses; tells how many there were.
    pub fn adjust(&self, matches: impl Fn(&Pod) -> bool, adjustment: Adjustment) -> usize {
        let pods = self.pods.read();
        let chosen = pods.values().filter(|known| matches(&known.runtime.object()));
        let instances = chosen.flat_map(|known| known.runtime.all().filter_map(|container| container.instance()));
        instances.filter(|instance| instance.control.adjust(adjustment)).count()
    }

    /// Kills a container's present instance, as a crash would. True when there was one.
    pub fn crash(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let pods = self.pods.read();
        let mut chosen = pods.values().filter(|known| {
            let object = known.runtime.object();
            object.name_any() == pod && object.namespace().as_deref() == Some(namespace)
        });
        let found = chosen.find_map(|known| known.runtime.all().find(|runtime| runtime.name() == container).cloned());
        found
            .and_then(|container| container.instance())
            .inspect(|instance| instance.control.kill())
            .is_some()
    }
}
