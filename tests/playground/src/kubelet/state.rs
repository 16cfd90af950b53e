//! What is known of a container, and how a pod's status follows from it.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::quantity::is_sidecar;
use crate::controllers::objects::now;

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Not running, and why.
    Waiting {
        /// One word.
        reason: String,
        /// A sentence, or nothing.
        message: String,
    },
    /// Running since.
    Running(Time),
    /// Ended.
    Terminated(Box<ContainerStateTerminated>),
}

impl State {
    /// Waiting without a message.
    pub fn waiting(reason: &str) -> Self {
        Self::Waiting {
            reason: reason.into(),
            message: String::new(),
        }
    }

    fn as_api(&self) -> ContainerState {
        match self {
            Self::Waiting { reason, message } => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some(reason.clone()),
                    message: (!message.is_empty()).then(|| message.clone()),
                }),
                ..ContainerState::default()
            },
            Self::Running(since) => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(since.clone()),
                }),
                ..ContainerState::default()
            },
            Self::Terminated(end) => ContainerState {
                terminated: Some((**end).clone()),
                ..ContainerState::default()
            },
        }
    }
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Where it is in its life.
    pub state: State,
    /// How it ended the last time.
    pub last: Option<ContainerStateTerminated>,
    /// How often it was started again.
    pub restarts: i32,
    /// Whether its readiness probe holds.
    pub ready: bool,
    /// Whether its startup probe has held.
    pub started: bool,
    /// Identity of the present instance.
    pub id: Option<String>,
    /// Resources in force.
    pub resources: Option<ResourceRequirements>,
}

impl View {
    /// A container that has not been started.
    pub fn new(container: &Container) -> Self {
        Self {
            state: State::waiting("PodInitializing"),
            last: None,
            restarts: 0,
            ready: false,
            started: false,
            id: None,
            resources: container.resources.clone(),
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    fn exit_code(&self) -> Option<i32> {
        match &self.state {
            State::Terminated(end) => Some(end.exit_code),
            _ => None,
        }
    }
}

/// A container beside what is known of it.
pub type Seen<'a> = (&'a Container, View);

/// What the status of a pod is put together from.
pub struct Snapshot<'a> {
    /// The pod as the API has it.
    pub pod: &'a Pod,
    /// Its address, once it has one.
    pub address: Option<String>,
    /// The node's address.
    pub node_address: String,
    /// Its init containers and sidecars.
    pub init: Vec<Seen<'a>>,
    /// Its containers.
    pub containers: Vec<Seen<'a>>,
    /// Conditions of a resize that waits or goes on.
    pub resize: Vec<PodCondition>,
    /// When the kubelet first saw the pod.
    pub started: Time,
}

/// Puts together the status.
pub fn status(snapshot: &Snapshot<'_>) -> PodStatus {
    let before = snapshot.pod.status.clone().unwrap_or_default();
    let phase = phase(snapshot, is_initialised(snapshot));
    let finished = matches!(phase, "Succeeded" | "Failed");
    let ip = &snapshot.node_address;
    PodStatus {
        phase: Some(phase.into()),
        observed_generation: snapshot.pod.metadata.generation,
        host_ip: Some(ip.clone()),
        host_ips: Some(vec![HostIP { ip: ip.clone() }]),
        pod_ip: snapshot.address.clone(),
        pod_ips: snapshot.address.clone().map(|ip| vec![PodIP { ip }]),
        start_time: before.start_time.or_else(|| Some(snapshot.started.clone())),
        qos_class: before.qos_class.or_else(|| Some(qos_class(snapshot.pod).into())),
        container_statuses: Some(snapshot.containers.iter().map(container_status).collect()),
        init_container_statuses: (!snapshot.init.is_empty())
            .then(|| snapshot.init.iter().map(container_status).collect()),
        conditions: Some(conditions(
            before.conditions.as_deref().unwrap_or_default(),
            milestones(snapshot, finished),
            &snapshot.resize,
            snapshot.pod.metadata.generation,
        )),
        ..PodStatus::default()
    }
}

/// The conditions on the way to a ready pod: whether each holds, and why not.
fn milestones(snapshot: &Snapshot<'_>, finished: bool) -> [Claim; 5] {
    let all_ready = !snapshot.containers.is_empty()
        && snapshot.containers.iter().all(|(_, view)| view.ready)
        && snapshot.init.iter().all(serves);
    let ready = all_ready && !finished;
    let why_unready = if finished {
        ("PodCompleted", String::new())
    } else {
        ("ContainersNotReady", unready(snapshot))
    };
    let why_uninitialised = (
        "ContainersNotInitialized",
        "containers with incomplete status".to_owned(),
    );
    let has_place = snapshot.address.is_some() && !finished;
    [
        ("PodReadyToStartContainers", has_place, None),
        ("Initialized", is_initialised(snapshot), Some(why_uninitialised)),
        ("Ready", ready, Some(why_unready.clone())),
        ("ContainersReady", ready, Some(why_unready)),
        ("PodScheduled", true, None),
    ]
}

fn is_initialised(snapshot: &Snapshot<'_>) -> bool {
    snapshot.init.iter().all(|(container, view)| {
        if is_sidecar(container) {
            view.started || view.exit_code().is_some()
        } else {
            view.exit_code() == Some(0)
        }
    })
}

fn serves((container, view): &Seen<'_>) -> bool {
    view.ready || !is_sidecar(container) && view.exit_code() == Some(0)
}

fn unready(snapshot: &Snapshot<'_>) -> String {
    let all = snapshot.containers.iter().chain(&snapshot.init);
    let names: Vec<_> = all
        .filter(|seen| !serves(seen))
        .map(|(container, _)| container.name.as_str())
        .collect();
    format!("containers with unready status: [{}]", names.join(" "))
}

fn phase(snapshot: &Snapshot<'_>, initialised: bool) -> &'static str {
    let failed_init = snapshot
        .init
        .iter()
        .any(|(container, view)| !is_sidecar(container) && view.exit_code().is_some_and(|code| code != 0));
    let ended: Vec<i32> = snapshot
        .containers
        .iter()
        .filter_map(|(_, view)| view.exit_code())
        .collect();
    if failed_init && !restarts(snapshot.pod) {
        return "Failed";
    }
    if !initialised
        || snapshot
            .containers
            .iter()
            .all(|(_, view)| !view.is_running() && view.id.is_none())
    {
        return "Pending";
    }
    if ended.len() < snapshot.containers.len() {
        return "Running";
    }
    match (ended.iter().all(|code| *code == 0), policy(snapshot.pod)) {
        _ if snapshot.pod.metadata.deletion_timestamp.is_some() => {
            if ended.iter().all(|code| *code == 0) {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        (_, "Always") => "Running",
        (true, _) => "Succeeded",
        (false, "Never") => "Failed",
        (false, _) => "Running",
    }
}

/// The pod's restart policy.
pub fn policy(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always")
}

fn restarts(pod: &Pod) -> bool {
    policy(pod) != "Never"
}

fn container_status((container, view): &Seen<'_>) -> ContainerStatus {
    let image = container.image.clone().unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        image_id: if view.id.is_some() {
            format!("playground://{image}")
        } else {
            String::new()
        },
        image,
        container_id: view.id.clone(),
        ready: view.ready,
        started: Some(view.started),
        restart_count: view.restarts,
        state: Some(view.state.as_api()),
        last_state: Some(ContainerState {
            terminated: view.last.clone(),
            ..ContainerState::default()
        }),
        allocated_resources: view.resources.as_ref().and_then(|resources| resources.requests.clone()),
        resources: view.resources.clone(),
        ..ContainerStatus::default()
    }
}

type Claim = (&'static str, bool, Option<(&'static str, String)>);

/// The conditions, keeping the time of the last transition where the status stays the same, and conditions of others.
fn conditions(
    before: &[PodCondition],
    claims: [Claim; 5],
    resize: &[PodCondition],
    generation: Option<i64>,
) -> Vec<PodCondition> {
    let mut conditions = Vec::new();
    for (type_, holds, why_not) in claims {
        let status = if holds { "True" } else { "False" };
        let (reason, message) = why_not.filter(|_| !holds).unzip();
        let same = before
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status);
        conditions.push(PodCondition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.map(str::to_owned),
            message: message.filter(|message: &String| !message.is_empty()),
            last_transition_time: same
                .and_then(|same| same.last_transition_time.clone())
                .or_else(|| Some(now())),
            last_probe_time: None,
            observed_generation: generation,
        });
    }
    let own = |type_: &str| {
        conditions
            .iter()
            .any(|condition: &PodCondition| condition.type_ == type_)
            || type_.starts_with("PodResize")
    };
    let foreign: Vec<PodCondition> = before
        .iter()
        .filter(|condition| !own(&condition.type_))
        .cloned()
        .collect();
    let mut resize = resize.to_vec();
    for condition in &mut resize {
        let same = before
            .iter()
            .find(|earlier| earlier.type_ == condition.type_ && earlier.reason == condition.reason);
        if let Some(same) = same {
            condition.last_transition_time.clone_from(&same.last_transition_time);
        }
    }
    conditions.into_iter().chain(foreign).chain(resize).collect()
}

/// The quality of service class: all limits equal to requests, some request, or none.
pub fn qos_class(pod: &Pod) -> &'static str {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let all: Vec<ResourceRequirements> = containers
        .into_iter()
        .flatten()
        .map(|container| container.resources.clone().unwrap_or_default())
        .collect();
    let lists = |resources: &ResourceRequirements| {
        (
            resources.limits.clone().unwrap_or_default(),
            resources.requests.clone().unwrap_or_default(),
        )
    };
    let guaranteed = |resources: &ResourceRequirements| {
        let (limits, requests) = lists(resources);
        ["cpu", "memory"]
            .iter()
            .all(|name| match (limits.get(*name), requests.get(*name)) {
                (Some(limit), Some(request)) => super::quantity::parse(limit) == super::quantity::parse(request),
                (Some(_), None) => true,
                (None, _) => false,
            })
    };
    let names_any = |resources: &ResourceRequirements| {
        let (limits, requests) = lists(resources);
        ["cpu", "memory"]
            .iter()
            .any(|name| limits.contains_key(*name) || requests.contains_key(*name))
    };
    if !all.iter().any(names_any) {
        return "BestEffort";
    }
    if all.iter().all(guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests;
