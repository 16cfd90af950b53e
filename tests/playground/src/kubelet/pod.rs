//! The life of one pod on the node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::container::{ContainerRuntime, Part, Stop, at_once};
use super::node::Node;
use super::quantity::Resources;
use super::resize::{self, Verdict};
use super::state::{self, Snapshot, State};
use crate::controllers::objects::{now, unless_gone};

/// What sidecars get to stop in even when the pod's containers have used up the grace period.
const LEAST_FOR_SIDECARS: Duration = Duration::from_secs(2);

/// A pod as the node runs it.
pub struct PodRuntime {
    node: Arc<Node>,
    pod: watch::Receiver<Arc<Pod>>,
    address: IpAddr,
    started: Time,
    init: Vec<Arc<ContainerRuntime>>,
    containers: Vec<Arc<ContainerRuntime>>,
    resize: Mutex<Vec<PodCondition>>,
    changed: Arc<Notify>,
    stop_main: watch::Sender<Stop>,
    stop_sidecars: watch::Sender<Stop>,
    /// Whether the pod's containers are over, so that it is the turn of the sidecars.
    turn_of_sidecars: watch::Sender<bool>,
}

impl PodRuntime {
    /// Gives the pod its address and prepares its containers.
    ///
    /// # Errors
    /// When no address is free.
    pub fn new(node: Arc<Node>, pod: watch::Receiver<Arc<Pod>>) -> anyhow::Result<Arc<Self>> {
        let object = Arc::clone(&pod.borrow());
        let address = IpAddr::from(node.network.pod(&object.uid().unwrap_or_default())?);
        let changed = Arc::new(Notify::new());
        let prepare = |part: Part, container: &Container| {
            ContainerRuntime::new(
                Arc::clone(&node),
                part,
                pod.clone(),
                address,
                container,
                Arc::clone(&changed),
            )
        };
        let spec = object.spec.clone().unwrap_or_default();
        let init = spec
            .init_containers
            .iter()
            .flatten()
            .map(|c| prepare(Part::of_init(c), c))
            .collect();
        let containers = spec
            .containers
            .iter()
            .map(|container| prepare(Part::Main, container))
            .collect();
        Ok(Arc::new(Self {
            node: Arc::clone(&node),
            pod,
            address,
            started: now(),
            init,
            containers,
            resize: Mutex::default(),
            changed,
            stop_main: watch::Sender::new(None),
            stop_sidecars: watch::Sender::new(None),
            turn_of_sidecars: watch::Sender::new(false),
        }))
    }

    /// The pod as last seen.
    pub fn object(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.borrow())
    }

    /// Its containers, sidecars and init containers.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ContainerRuntime>> {
        self.containers.iter().chain(&self.init)
    }

    /// Kills whatever still runs.
    pub fn kill(&self) {
        self.all()
            .filter_map(|container| container.instance())
            .for_each(|instance| instance.control.kill());
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.node.client.clone(), &self.object().namespace().unwrap_or_default())
    }

    /// Runs the pod to its end. `resources_of_others` tells what the node's other pods have been given.
    pub async fn run(self: Arc<Self>, resources_of_others: impl Fn() -> Resources + Send + Sync) {
        tokio::select! {
            () = self.live() => {}
            () = self.report() => {}
            () = self.follow_resizes(&resources_of_others) => {}
            () = self.pass_on_deletion() => {}
        }
        let mut pod = self.pod.clone();
        tokio::select! {
            _ = pod.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()) => {}
            () = self.report() => {}
        }
        self.write_last_status().await;
        self.finish().await;
        self.node.network.release(&self.object().uid().unwrap_or_default());
    }

    /// Starts everything in its order, and returns when nothing runs any more.
    async fn live(&self) {
        let sidecars = TaskTracker::new();
        if self.initialise(&sidecars).await {
            let mut running = JoinSet::new();
            for container in &self.containers {
                running.spawn(Arc::clone(container).run(self.stop_main.subscribe(), at_once()));
            }
            while running.join_next().await.is_some() {}
        }
        let deadline = self.stop_main.borrow().unwrap_or_else(|| Instant::now() + self.grace());
        self.stop_sidecars
            .send_replace(Some(deadline.max(Instant::now() + LEAST_FOR_SIDECARS)));
        self.turn_of_sidecars.send_replace(true);
        sidecars.close();
        sidecars.wait().await;
    }

    /// Runs the init containers and starts the sidecars. False when the pod's containers are not to be started.
    async fn initialise(&self, sidecars: &TaskTracker) -> bool {
        for container in &self.init {
            if self.stop_main.borrow().is_some() {
                return false;
            }
            if container.part() == Part::Sidecar {
                let turn = self.turn_of_sidecars.subscribe();
                sidecars.spawn(Arc::clone(container).run(self.stop_sidecars.subscribe(), turn));
                self.until_started_or_stopped(container).await;
                continue;
            }
            Arc::clone(container).run(self.stop_main.subscribe(), at_once()).await;
            if !matches!(&container.view().state, State::Terminated(end) if end.exit_code == 0) {
                return false;
            }
        }
        self.stop_main.borrow().is_none()
    }

    async fn until_started_or_stopped(&self, container: &Arc<ContainerRuntime>) {
        while !container.view().started && self.stop_main.borrow().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn grace(&self) -> Duration {
        let pod = self.object();
        let asked = pod.metadata.deletion_grace_period_seconds;
        let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        Duration::from_secs(asked.or(own).unwrap_or(30).max(0) as u64)
    }

    /// Stops the containers when the pod is deleted, within its grace period, which can still become shorter; at once
    /// when the object is gone. The hooks of sidecars run with those of the others; their own end is later.
    async fn pass_on_deletion(&self) {
        let mut pod = self.pod.clone();
        let mut begin = None;
        loop {
            if pod.borrow_and_update().metadata.deletion_timestamp.is_some() {
                let begin = *begin.get_or_insert_with(Instant::now);
                let deadline = begin + self.grace();
                self.stop_main.send_replace(Some(deadline));
                if !*self.turn_of_sidecars.borrow() {
                    self.stop_sidecars.send_replace(Some(deadline + LEAST_FOR_SIDECARS));
                }
            }
            if pod.changed().await.is_err() {
                break;
            }
        }
        self.stop_main.send_replace(Some(Instant::now()));
        self.stop_sidecars.send_replace(Some(Instant::now()));
        std::future::pending().await
    }

    /// Deletes the object now that nothing of it runs.
    async fn finish(&self) {
        let object = self.object();
        let only_this = Preconditions {
            uid: object.uid(),
            ..Preconditions::default()
        };
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(only_this),
            ..DeleteParams::default()
        };
        for _ in 0..20 {
            match unless_gone(self.api().delete(&object.name_any(), &params).await) {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 409 => return,
                Err(error) => tracing::debug!(%error, pod = object.name_any(), "pod not deleted yet"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Writes the status whenever something has changed.
    async fn report(&self) {
        loop {
            if let Err(error) = self.write_status().await {
                tracing::debug!(%error, pod = self.object().name_any(), "status not written");
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.changed.notify_one();
            }
            let mut pod = self.pod.clone();
            pod.borrow_and_update();
            tokio::select! {
                () = self.changed.notified() => tokio::time::sleep(Duration::from_millis(10)).await,
                changed = pod.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    async fn write_last_status(&self) {
        for _ in 0..5 {
            if self.write_status().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn write_status(&self) -> kube::Result<()> {
        let pod = self.object();
        let status = {
            let spec = pod.spec.as_ref();
            let find = |runtime: &Arc<ContainerRuntime>| {
                let name = runtime.name();
                let init = spec
                    .and_then(|spec| spec.init_containers.as_ref())
                    .into_iter()
                    .flatten();
                let mut all = spec
                    .map(|spec| spec.containers.iter())
                    .into_iter()
                    .flatten()
                    .chain(init);
                Some((all.find(|container| container.name == name)?, runtime.view()))
            };
            state::status(&Snapshot {
                pod: &pod,
                address: Some(self.address.to_string()),
                node_address: self.node.address().to_string(),
                init: self.init.iter().filter_map(find).collect(),
                containers: self.containers.iter().filter_map(find).collect(),
                resize: self.resize.lock().clone(),
                started: self.started.clone(),
            })
        };
        if pod.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut body = json!({"metadata": {"uid": pod.uid()}, "status": status});
        let earlier = serde_json::to_value(&pod.status).unwrap_or_default();
        crate::controllers::clear_absent(&mut body["status"], &earlier);
        unless_gone(
            self.api()
                .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(body))
                .await,
        )?;
        Ok(())
    }

    /// Puts the resources that the specification asks for in force; what has to wait is tried again.
    async fn follow_resizes(&self, resources_of_others: &impl Fn() -> Resources) {
        let mut pod = self.pod.clone();
        loop {
            let present = Arc::clone(&pod.borrow_and_update());
            self.resize_once(&present, resources_of_others()).await;
            let waits = !self.resize.lock().is_empty();
            tokio::select! {
                changed = pod.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep(Duration::from_secs(2)), if waits => {}
            }
        }
    }

    async fn resize_once(&self, pod: &Arc<Pod>, others: Resources) {
        let find = |name: &str| self.all().find(|container| container.name() == name);
        let verdict = resize::judge(
            pod,
            |name| find(name).and_then(|container| container.resources()),
            self.node.options.capacity.resources(),
            others,
            *self.node.resizes.lock(),
            |name| {
                find(name)
                    .and_then(|container| container.usage())
                    .map_or(0, |usage| usage.memory_bytes)
            },
        );
        match verdict {
            Verdict::Nothing => {
                self.set_resize(Vec::new());
            }
            Verdict::Change(changes) => self.resize_containers(pod, changes).await,
            Verdict::Refuse(mut condition) => {
                condition.observed_generation = pod.metadata.generation;
                let (reason, message) = (
                    condition.reason.clone().unwrap_or_default(),
                    condition.message.clone().unwrap_or_default(),
                );
                if self.set_resize(vec![*condition]) {
                    self.node
                        .events
                        .warning(pod.as_ref(), &format!("Resize{reason}"), message)
                        .await;
                }
            }
        }
    }

    async fn resize_containers(&self, pod: &Arc<Pod>, changes: Vec<(String, bool)>) {
        self.set_resize(Vec::new());
        for (name, by_restart) in &changes {
            let spec = resize::containers(pod).find(|container| container.name == *name);
            let runtime = self.all().find(|container| container.name() == *name);
            if let (Some(spec), Some(runtime)) = (spec, runtime) {
                runtime.resize(spec, *by_restart);
            }
        }
        let names: Vec<&str> = changes.iter().map(|(name, _)| name.as_str()).collect();
        let message = format!("Pod resize completed for containers: {}", names.join(", "));
        self.node.events.normal(pod.as_ref(), "ResizeCompleted", message).await;
    }

    /// True when the conditions are not the same as before.
    fn set_resize(&self, conditions: Vec<PodCondition>) -> bool {
        let mut present = self.resize.lock();
        let reasons = |conditions: &[PodCondition]| -> Vec<_> {
            let of = |condition: &PodCondition| (condition.reason.clone(), condition.observed_generation);
            conditions.iter().map(of).collect()
        };
        let changed = reasons(&present) != reasons(&conditions);
        if changed {
            *present = conditions;
            self.changed.notify_one();
        }
        changed
    }
}
