//! Whether a pod gets a sidecar.

use super::ports::{self, Fronted};
use super::resources::Rewriting;
use super::{Arrival, sidecar};
use crate::injection::{self, wish};
use crate::patch::{ListOf, Patch};
use crate::plans::names;
use crate::policies;
use crate::record::json_text;

/// Annotation that the kubelet gives to the image of a static pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What becomes of a pod.
pub(super) enum Choice {
    /// Nobody asked for a sidecar, or it is there.
    Leave,
    /// One was asked for and cannot be: why.
    Skip(String),
    /// It gets one.
    Inject(Injection),
}

/// A sidecar to add.
pub(super) struct Injection {
    /// The port that it fronts.
    pub fronted: Fronted,
    /// Whether it is an init container that restarts, or the last of the containers.
    pub native: bool,
}

impl Injection {
    /// What the pod's annotation says about it.
    pub fn record(&self) -> String {
        #[derive(serde::Serialize)]
        struct Record<'r> {
            form: &'static str,
            name: Option<&'r str>,
            port: u16,
        }
        json_text(&Record {
            form: if self.native { "native" } else { "container" },
            name: self.fronted.name.as_deref(),
            port: self.fronted.number,
        })
    }

    /// Adds the sidecar.
    pub fn patch(&self, arrival: &Arrival<'_, '_>, rewriting: &Rewriting, patch: &mut Patch) {
        let container = sidecar::container(arrival, self, rewriting);
        ports::move_name(arrival.spec, &self.fronted, patch);
        if !self.native {
            patch.add("/spec/containers/-", container);
        } else if arrival.spec.init_containers.is_some() {
            patch.add("/spec/initContainers/-", container);
        } else {
            patch.add("/spec/initContainers", ListOf(container));
        }
    }
}

/// What the pod's own annotation says.
fn own_wish(arrival: &Arrival<'_, '_>) -> Option<bool> {
    arrival.metadata.annotation(names::INJECTION).and_then(wish)
}

fn namespace_wish(arrival: &Arrival<'_, '_>) -> bool {
    injection::namespace_wish(arrival.context.plans, arrival.namespace)
}

/// Whether the pod or its namespace asks for injection: the pod's word counts more.
pub(super) fn is_enabled(arrival: &Arrival<'_, '_>) -> bool {
    own_wish(arrival).unwrap_or_else(|| namespace_wish(arrival))
}

/// Decides about a pod.
pub(super) fn choose(arrival: &Arrival<'_, '_>) -> Choice {
    let wanted = own_wish(arrival)
        .unwrap_or_else(|| arrival.workload.is_some_and(|workload| workload.is_selected()) && namespace_wish(arrival));
    if !wanted || is_ours(arrival) {
        return Choice::Leave;
    }
    let native = arrival.context.settings.native_sidecars;
    let found = obstacle(arrival, native).map_or_else(|| ports::find(arrival), Err);
    let found = found.and_then(|fronted| unless_shut_off(arrival, fronted));
    match found {
        Ok(fronted) => Choice::Inject(Injection { fronted, native }),
        Err(why) => Choice::Skip(why),
    }
}

/// A NetworkPolicy by numbers would shut the sidecar off from those who may reach the application.
fn unless_shut_off(arrival: &Arrival<'_, '_>, fronted: Fronted) -> Result<Fronted, String> {
    let policies = arrival.context.plans.network_policies(arrival.namespace);
    let label = |key: &str| arrival.metadata.label(key);
    match policies::obstacle(&policies, label, fronted.number, fronted.name.as_deref()) {
        None => Ok(fronted),
        Some(policy) => Err(format!(
            "NetworkPolicy {policy} admits traffic to port {} by its number, and none to port {} (let it name the port)",
            fronted.number,
            names::TRAFFIC_PORT,
        )),
    }
}

fn has_sidecar(arrival: &Arrival<'_, '_>) -> bool {
    let all = arrival.spec.containers().iter().chain(arrival.spec.init_containers());
    all.into_iter()
        .any(|container| container.name() == names::SIDECAR_CONTAINER)
}

fn is_ours(arrival: &Arrival<'_, '_>) -> bool {
    arrival.metadata.annotation(names::INJECTED).is_some() && has_sidecar(arrival)
}

/// Why a pod cannot have a sidecar, whatever its ports are.
fn obstacle(arrival: &Arrival<'_, '_>, native: bool) -> Option<String> {
    let spec = arrival.spec;
    if arrival.metadata.annotation(MIRROR).is_some() {
        return Some("it is the mirror of a static pod".to_owned());
    }
    if has_sidecar(arrival) {
        return Some("it has a container named envoy already".to_owned());
    }
    if spec.host_network.unwrap_or_default() {
        return Some("it uses the network of its node (hostNetwork)".to_owned());
    }
    if is_windows(arrival) {
        return Some("it runs on Windows".to_owned());
    }
    if !native && is_job(arrival) {
        return Some("a sidecar would keep its Job from completing".to_owned());
    }
    ports::conflict(spec).map(|port| format!("it uses port {port}, which the sidecar needs"))
}

fn is_windows(arrival: &Arrival<'_, '_>) -> bool {
    let named = arrival.spec.os.as_ref().and_then(|os| os.name.as_deref());
    let selected = arrival
        .spec
        .node_selector
        .as_ref()
        .and_then(|labels| labels.get("kubernetes.io/os"));
    named == Some("windows") || selected == Some("windows")
}

fn is_job(arrival: &Arrival<'_, '_>) -> bool {
    let owners = arrival.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.kind.as_deref() == Some("Job"))
}
