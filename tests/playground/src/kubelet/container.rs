//! The life of one container: pulled, created, started, probed, restarted, stopped.

mod probing;
mod starting;
mod stopping;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ObjectReference, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::instance::{Exit, Instance, Usage};
use super::logs::Log;
use super::node::Node;
use super::quantity::{Resources, is_sidecar};
use super::state::{State, View, policy};
use crate::controllers::events::reference;
use crate::controllers::objects::{now, since};

/// A request to stop: by when the container must be gone.
pub type Stop = Option<Instant>;

/// Whether it is a container's turn to end: sidecars wait for the pod's containers.
pub type Turn = watch::Receiver<bool>;

/// The turn of a container that waits for nobody.
pub fn at_once() -> Turn {
    watch::channel(true).1
}

/// The part that a container plays in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Runs to its end before the others start.
    Initial,
    /// Starts before the others and runs beside them.
    Sidecar,
    /// One of the pod's containers.
    Main,
}

impl Part {
    /// The part of an init container.
    pub fn of_init(container: &Container) -> Self {
        if is_sidecar(container) {
            Self::Sidecar
        } else {
            Self::Initial
        }
    }
}

/// One container of a pod.
pub struct ContainerRuntime {
    node: Arc<Node>,
    part: Part,
    pod: watch::Receiver<Arc<Pod>>,
    address: IpAddr,
    spec: Mutex<Arc<Container>>,
    view: Mutex<View>,
    instance: Mutex<Option<Instance>>,
    restart_wanted: Notify,
    /// The environment that it was last started with.
    variables: Mutex<BTreeMap<String, String>>,
    changed: Arc<Notify>,
    /// What it prints.
    pub log: Arc<Log>,
    used_before: Mutex<f64>,
}

async fn asked_to_stop(mut stop: watch::Receiver<Stop>) {
    let _ = stop.wait_for(Option::is_some).await;
}

/// Why supervision of an instance ended.
enum End {
    Exited(Exit),
    Stopped(Exit),
}

impl ContainerRuntime {
    /// A container that has not been started.
    pub fn new(
        node: Arc<Node>,
        part: Part,
        pod: watch::Receiver<Arc<Pod>>,
        address: IpAddr,
        spec: &Container,
        changed: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            node,
            part,
            pod,
            address,
            spec: Mutex::new(Arc::new(spec.clone())),
            view: Mutex::new(View::new(spec)),
            instance: Mutex::default(),
            restart_wanted: Notify::new(),
            variables: Mutex::default(),
            changed,
            log: Arc::default(),
            used_before: Mutex::default(),
        })
    }

    /// Its part.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.spec().name.clone()
    }

    fn spec(&self) -> Arc<Container> {
        Arc::clone(&self.spec.lock())
    }

    /// What is known of it.
    pub fn view(&self) -> View {
        self.view.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock());
        self.changed.notify_one();
    }

    /// CPU seconds of all its instances, and the memory that the present one holds; `None` while none runs.
    pub fn usage(&self) -> Option<Usage> {
        let usage = self
            .instance
            .lock()
            .as_ref()
            .filter(|instance| !instance.has_ended())?
            .control
            .usage();
        Some(Usage {
            cpu_seconds: usage.cpu_seconds + *self.used_before.lock(),
            ..usage
        })
    }

    /// The running instance.
    pub fn instance(&self) -> Option<Instance> {
        self.instance.lock().clone().filter(|instance| !instance.has_ended())
    }

    /// The resources in force.
    pub fn resources(&self) -> Option<ResourceRequirements> {
        self.view.lock().resources.clone()
    }

    /// Puts other resources in force, in place or by a restart.
    pub fn resize(&self, spec: &Container, by_restart: bool) {
        *self.spec.lock() = Arc::new(spec.clone());
        if let Some(instance) = self.instance() {
            instance.control.resize(Resources::limits(spec.resources.as_ref()));
        }
        if by_restart {
            self.restart_wanted.notify_one();
        }
        self.change(|view| view.resources.clone_from(&spec.resources));
    }

    fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.pod.borrow())
    }

    fn about(&self) -> ObjectReference {
        let list = if self.part == Part::Main {
            "containers"
        } else {
            "initContainers"
        };
        ObjectReference {
            field_path: Some(format!("spec.{list}{{{}}}", self.name())),
            ..reference(self.pod().as_ref())
        }
    }

    async fn event(&self, type_: &str, reason: &str, message: String) {
        self.node.events.record(self.about(), type_, reason, message).await;
    }

    /// Runs the container until it is over: stopped, or ended without a restart. Told to stop it runs its hook at once,
    /// and is told itself when it is its turn.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<Stop>, turn: Turn) {
        let mut wait = Duration::ZERO;
        let mut first = true;
        loop {
            let instance = match self.start(first, &mut stop).await {
                Ok(Some(instance)) => instance,
                Ok(None) => return,
                Err(()) => {
                    wait = self.longer(wait);
                    if self.sleep(wait, &stop).await {
                        continue;
                    } else {
                        return;
                    }
                }
            };
            first = false;
            let started = now();
            let end = self.supervise(&instance, &mut stop, &turn).await;
            let (exit, stopped) = match end {
                End::Exited(exit) => (exit, false),
                End::Stopped(exit) => (exit, true),
            };
            self.record_end(&instance, exit, &started);
            if stopped || stop.borrow().is_some() || !self.is_restarted(exit) {
                return;
            }
            self.change(|view| {
                if let State::Terminated(end) = &view.state {
                    view.last = Some((**end).clone());
                }
            });
            if since(&started) > self.node.options.back_off_reset {
                wait = Duration::ZERO;
            }
            if !self.back_off(&mut wait, &mut stop).await {
                return;
            }
            self.change(|view| view.restarts += 1);
        }
    }

    fn longer(&self, wait: Duration) -> Duration {
        let options = &self.node.options;
        if wait.is_zero() {
            options.back_off
        } else {
            (wait * 2).min(options.back_off_most)
        }
    }

    /// The first restart comes at once, the others later and later. False when stopped meanwhile.
    async fn back_off(&self, wait: &mut Duration, stop: &mut watch::Receiver<Stop>) -> bool {
        let this_time = *wait;
        *wait = self.longer(*wait);
        if this_time.is_zero() {
            return true;
        }
        let message = format!(
            "back-off {}s restarting failed container={}",
            this_time.as_secs(),
            self.name()
        );
        self.change(|view| {
            view.state = State::Waiting {
                reason: "CrashLoopBackOff".into(),
                message,
            }
        });
        let pod = self.pod();
        let message = format!(
            "Back-off restarting failed container {} in pod {}",
            self.name(),
            pod.name_any()
        );
        self.event("Warning", "BackOff", message).await;
        self.sleep(this_time, stop).await
    }

    /// False when stopped meanwhile.
    async fn sleep(&self, time: Duration, stop: &watch::Receiver<Stop>) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = asked_to_stop(stop.clone()) => false,
        }
    }

    fn is_restarted(&self, exit: Exit) -> bool {
        match (self.part, policy(&self.pod())) {
            (Part::Sidecar, _) => true,
            (Part::Initial, policy) => exit.code != 0 && policy != "Never",
            (Part::Main, "Always") => true,
            (Part::Main, "OnFailure") => exit.code != 0,
            (Part::Main, _) => false,
        }
    }

    /// Watches over a running instance until it has ended.
    async fn supervise(&self, instance: &Instance, stop: &mut watch::Receiver<Stop>, turn: &Turn) -> End {
        let spec = self.spec();
        let hooks = spec.lifecycle.as_ref();
        self.hook("PostStartHook", hooks.and_then(|hooks| hooks.post_start.as_ref()))
            .await;
        tokio::select! {
            exit = instance.ended() => End::Exited(exit),
            () = asked_to_stop(stop.clone()) => {
                self.event("Normal", "Killing", format!("Stopping container {}", spec.name)).await;
                End::Stopped(self.shut_down(instance, stop, turn.clone()).await)
            }
            why = self.monitor(&spec) => {
                let reason = format!("Container {} failed {why} probe, will be restarted", spec.name);
                self.event("Normal", "Killing", reason).await;
                End::Exited(self.end_within(instance, self.grace()).await)
            }
            () = self.restart_wanted.notified() => {
                let reason = format!("Container {} resize requires restart", spec.name);
                self.event("Normal", "Killing", reason).await;
                End::Exited(self.end_within(instance, self.grace()).await)
            }
            () = self.out_of_memory(instance) => {
                instance.control.kill();
                instance.ended().await;
                End::Exited(Exit { code: 137, out_of_memory: true })
            }
        }
    }

    fn grace(&self) -> Duration {
        let seconds = self
            .pod()
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(30);
        Duration::from_secs(seconds.max(0) as u64)
    }

    /// Returns when the container holds more memory than its limit.
    async fn out_of_memory(&self, instance: &Instance) {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let limit = Resources::limits(self.spec().resources.as_ref()).memory;
            if limit.is_some_and(|limit| instance.control.usage().memory_bytes as f64 > limit) {
                return;
            }
        }
    }

    fn record_end(&self, instance: &Instance, exit: Exit, started: &Time) {
        *self.used_before.lock() += instance.control.usage().cpu_seconds;
        let reason = match exit {
            Exit {
                out_of_memory: true, ..
            } => "OOMKilled",
            Exit { code: 0, .. } => "Completed",
            _ => "Error",
        };
        let id = self.view.lock().id.clone();
        let end = ContainerStateTerminated {
            exit_code: exit.code,
            reason: Some(reason.into()),
            started_at: Some(started.clone()),
            finished_at: Some(now()),
            container_id: id,
            ..ContainerStateTerminated::default()
        };
        self.change(|view| {
            view.state = State::Terminated(Box::new(end));
            view.ready = self.part == Part::Initial && exit.code == 0;
            view.started = false;
        });
    }
}
