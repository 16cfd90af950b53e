//! Whom a round observes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use valence_webhook::names;

use super::pods;
use crate::cache::pods::PackedPod;
use crate::core::observation::{PodPhase, Resources};

/// Label of a pod with the hash of the template that it was made from.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

/// A Deployment whose pods are to be observed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What stands for the software in force.
    pub template: String,
    /// The same for pods, by the hash of their template; the hash itself where there is none.
    pub software: BTreeMap<String, String>,
    /// Replicas that it asks for.
    pub desired_replicas: u32,
    /// Its pods, without those that have ended.
    pub pods: Vec<Arc<PodSummary>>,
}

impl Subject {
    /// What stands for the software that a pod runs.
    #[must_use]
    pub fn software_of<'a>(&'a self, pod: &'a PodSummary) -> &'a str {
        let hash = pod.template_hash.as_deref().unwrap_or_default();
        self.software.get(hash).map_or(hash, String::as_str)
    }
}

/// What is known of the ends of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// Its name.
    pub container: Arc<str>,
    /// How often it was restarted.
    pub count: i32,
    /// Whether its last end was for lack of memory.
    pub for_memory: bool,
}

/// Sums up the pods of a Deployment, which have most in common: what is the same of several is kept once.
#[derive(Debug, Default)]
pub struct Summaries {
    names: BTreeSet<Arc<str>>,
    restarts: Arc<[Restarts]>,
    resources: Arc<[(Arc<str>, Resources)]>,
}

impl Summaries {
    /// Sums a pod up; `None` where it has ended: it is counted by nobody, its controller has made another.
    #[must_use]
    pub fn of(&mut self, packed: Arc<PackedPod>) -> Option<PodSummary> {
        let pod = packed.unpack()?;
        if pods::has_ended(&pod) {
            return None;
        }
        self.take_in(&pod);
        Some(PodSummary {
            unique: pod.uid().unwrap_or_else(|| pod.name_any()).into(),
            template_hash: packed.label(TEMPLATE_HASH).map(str::to_owned),
            address: pods::address(&pod),
            metrics_port: pods::metrics_port(&pod),
            is_injected: pod.annotations().contains_key(names::INJECTED),
            has_node: pods::has_node(&pod),
            created_at_seconds: pods::created_at_seconds(&pod),
            ready_at_seconds: pods::ready_at_seconds(&pod),
            restarts: Arc::clone(&self.restarts),
            resources: Arc::clone(&self.resources),
            phase: pods::lasting_phase(&pod),
            name: pod.name_any(),
            packed,
        })
    }

    /// Has the lists of a pod at hand, those of the one before where they are the same.
    fn take_in(&mut self, pod: &Pod) {
        let restarts = pods::restarts(pod).map(|(container, count, for_memory)| Restarts {
            container: shared(&mut self.names, container),
            count,
            for_memory,
        });
        let restarts: Vec<_> = restarts.collect();
        if *restarts != *self.restarts {
            self.restarts = restarts.into();
        }
        let resources = pods::resources(pod).into_iter();
        let resources: Vec<_> = resources
            .map(|(container, resources)| (shared(&mut self.names, &container), resources))
            .collect();
        if *resources != *self.resources {
            self.resources = resources.into();
        }
    }
}

/// A name, the same one for all that ask.
pub(super) fn shared(names: &mut BTreeSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = name.into();
    names.insert(Arc::clone(&new));
    new
}

/// What every round needs to know of a pod: a twentieth of what the unpacked Pod takes.
#[derive(Clone, Debug)]
pub struct PodSummary {
    /// Its name.
    pub name: String,
    /// Its unique identifier; its name where it has none.
    pub unique: Arc<str>,
    /// Hash of the template that it was made from.
    pub template_hash: Option<String>,
    /// Its address, once it has one.
    pub address: Option<IpAddr>,
    /// The port at which its sidecar serves metrics; `None` without a sidecar.
    pub metrics_port: Option<u16>,
    /// Whether admission injected that sidecar.
    pub is_injected: bool,
    /// Whether it has been given a node.
    pub has_node: bool,
    /// When it was made, in seconds since the Unix epoch.
    pub created_at_seconds: f64,
    /// When it became ready, in seconds since the Unix epoch; `None` while it is not.
    pub ready_at_seconds: Option<f64>,
    /// The ends of its containers. Pods of which it is the same share the list.
    pub restarts: Arc<[Restarts]>,
    /// Requests and limits in force, by container. Pods of which they are the same share the list.
    pub resources: Arc<[(Arc<str>, Resources)]>,
    /// Where it stands in its life, but for how long it may look for a node.
    phase: PodPhase,
    packed: Arc<PackedPod>,
}

impl PodSummary {
    /// Sums a single pod up; `None` where it has ended.
    #[must_use]
    pub fn of(packed: Arc<PackedPod>) -> Option<Self> {
        Summaries::default().of(packed)
    }

    /// The Pod itself, as far as it is kept.
    #[must_use]
    pub fn unpack(&self) -> Option<Pod> {
        self.packed.unpack()
    }

    /// Where it stands in its life.
    #[must_use]
    pub fn phase(&self, now_seconds: f64) -> PodPhase {
        match self.phase {
            PodPhase::Starting if !self.has_node && pods::is_out_of_patience(self.created_at_seconds, now_seconds) => {
                PodPhase::Failing
            }
            phase => phase,
        }
    }

    /// Whether it serves.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.phase == PodPhase::Ready
    }

    /// Whether it is of a template and stays; others will be replaced by the rollout anyway.
    #[must_use]
    pub fn is_current(&self, template: &str) -> bool {
        let is_of_it = self.template_hash.as_deref().is_none_or(|own| own == template);
        is_of_it && self.is_staying()
    }

    /// Whether nobody has asked it to leave.
    #[must_use]
    pub fn is_staying(&self) -> bool {
        self.phase != PodPhase::Terminating
    }
}
