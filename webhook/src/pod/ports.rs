//! The port that the sidecar fronts, and the names that move with it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use serde_json::{Value, json};

use super::Arrival;
use super::inject::{self, Choice, Injection};
use crate::admission::Context;
use crate::outcome::Outcome;
use crate::patch::Patch;
use crate::plans::{Plans, names};
use crate::protocol::{
    Protocol, by_annotation, by_app_protocol, by_port_name, is_auxiliary, is_well_known_http, is_well_known_other,
};
use crate::services::{self, Renamed};
use crate::view::{Container, ContainerPort, Metadata, Pairs, Pod, PodSpec, PortAction, PortReference, Probe};
use crate::workload::Workload;

/// The application's port that the sidecar fronts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fronted {
    /// Position of the container among the containers.
    pub container: usize,
    /// Position of the port among the container's ports; `None` for one that is not declared.
    pub port: Option<usize>,
    /// Number.
    pub number: u16,
    /// Name, which moves to the sidecar.
    pub name: Option<String>,
    /// Whether a Service that selects the pod has addresses of two families.
    pub all_families: bool,
}

struct Candidate<'c> {
    container: usize,
    port: usize,
    declared: &'c ContainerPort<'c>,
    protocol: Option<Protocol>,
    /// Whether a Service sends to it.
    targeted: bool,
}

impl Candidate<'_> {
    /// The smaller, the better.
    fn rank(&self) -> (bool, bool, bool, bool) {
        let name = self.declared.name().unwrap_or_default();
        let http = self.protocol == Some(Protocol::Http);
        (is_auxiliary(name), !self.targeted, !http, name != "http")
    }

    fn fronted(&self, all_families: bool) -> Option<Fronted> {
        Some(Fronted {
            container: self.container,
            port: Some(self.port),
            number: number(self.declared.number())?,
            name: self.declared.name().map(str::to_owned),
            all_families,
        })
    }
}

fn number(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// Finds the port to front.
///
/// # Errors
/// Says why there is none.
pub(super) fn find(arrival: &Arrival<'_, '_>) -> Result<Fronted, String> {
    let fronted = chosen(arrival)?;
    match fronted
        .name
        .as_deref()
        .and_then(|name| namesake(arrival.spec, fronted.container, name))
    {
        None => Ok(fronted),
        Some(other) => Err(format!(
            "container {other} names a port {} too, and Services that send to that name would reach it instead of Envoy",
            fronted.name.as_deref().unwrap_or_default(),
        )),
    }
}

/// Another container with a port of the same name: a Service reaches the first that it finds.
fn namesake<'s>(spec: &'s PodSpec<'_>, container: usize, name: &str) -> Option<&'s str> {
    let others = spec
        .containers()
        .iter()
        .enumerate()
        .filter(|(position, _)| *position != container);
    let sidecars = spec
        .init_containers()
        .iter()
        .filter(|container| container.restarts_always());
    let mut all = others.map(|(_, container)| container).chain(sidecars);
    let has_name = |container: &&Container<'_>| {
        let mut ports = container.ports().iter();
        ports.any(|port| port.is_tcp() && port.name() == Some(name))
    };
    all.find(has_name).map(Container::name)
}

fn chosen(arrival: &Arrival<'_, '_>) -> Result<Fronted, String> {
    let services = selecting(arrival.context.plans, arrival);
    let all_families = services.iter().any(|service| has_two_families(service));
    let candidates = candidates(arrival, &services);
    if let Some(asked) = arrival.metadata.annotation(names::PORT) {
        return asked_for(arrival, asked, &candidates, all_families);
    }
    let best = candidates
        .iter()
        .filter(|candidate| candidate.protocol == Some(Protocol::Http))
        .min_by_key(|candidate| candidate.rank());
    let found = best.and_then(|best| best.fronted(all_families));
    let mut fronted = found.ok_or_else(|| {
        format!(
            "no container declares a port that is known to speak HTTP (name one http, or annotate the template with {} or {})",
            names::PORT,
            names::PROTOCOL,
        )
    })?;
    fronted.name = fronted
        .name
        .or_else(|| services::name_in_use(&services, fronted.number));
    Ok(fronted)
}

/// The port that the pod's annotation asks for, by number or by name.
fn asked_for(
    arrival: &Arrival<'_, '_>,
    asked: &str,
    candidates: &[Candidate<'_>],
    all_families: bool,
) -> Result<Fronted, String> {
    let named = |candidate: &&Candidate<'_>| {
        candidate.declared.name() == Some(asked) || candidate.declared.number().to_string() == asked
    };
    if let Some(candidate) = candidates.iter().find(named) {
        if candidate.protocol == Some(Protocol::Other) {
            return Err(format!(
                "{} asks for port {asked}, which does not speak HTTP",
                names::PORT
            ));
        }
        return candidate
            .fronted(all_families)
            .ok_or_else(|| format!("port {asked} is no port number"));
    }
    let number = asked.parse().ok().and_then(number);
    let number = number.ok_or_else(|| format!("{}: no container has a port {asked:?}", names::PORT))?;
    if arrival.spec.containers().is_empty() {
        return Err("the pod has no containers".to_owned());
    }
    Ok(Fronted {
        container: 0,
        port: None,
        number,
        name: None,
        all_families,
    })
}

fn candidates<'c>(arrival: &'c Arrival<'_, '_>, services: &[Arc<Service>]) -> Vec<Candidate<'c>> {
    let annotated = arrival.metadata.annotation(names::PROTOCOL).and_then(by_annotation);
    let containers = arrival.spec.containers().iter().enumerate();
    containers
        .flat_map(|(position, container)| {
            let ports = container.ports().iter().enumerate().filter(|(_, port)| port.is_tcp());
            ports.map(move |(port, declared)| (position, container, port, declared))
        })
        .map(|(position, container, port, declared)| Candidate {
            container: position,
            port,
            declared,
            protocol: protocol(container, declared, services, annotated),
            targeted: targets(services, declared).next().is_some(),
        })
        .collect()
}

/// By what the kubelet is told to speak TLS to, by appProtocol, then by name, then by annotation; last by what is usual.
fn protocol(
    container: &Container<'_>,
    port: &ContainerPort<'_>,
    services: &[Arc<Service>],
    annotated: Option<Protocol>,
) -> Option<Protocol> {
    let app_protocol = targets(services, port).find_map(|target| by_app_protocol(target.app_protocol.as_deref()?));
    let own_name = || by_port_name(port.name()?);
    let service_name = || targets(services, port).find_map(|target| by_port_name(target.name.as_deref()?));
    let other = || is_well_known_other(port.number()).then_some(Protocol::Other);
    let probed = || is_probed(container, port, false).then_some(Protocol::Http);
    let usual = || (is_well_known_http(port.number()) || is_behind_80(services, port)).then_some(Protocol::Http);
    if is_probed(container, port, true) {
        return Some(Protocol::Other);
    }
    app_protocol
        .or_else(own_name)
        .or_else(service_name)
        .or(annotated)
        .or_else(other)
        .or_else(probed)
        .or_else(usual)
}

/// Whether a probe speaks HTTP to a port, with TLS or without.
fn is_probed(container: &Container<'_>, port: &ContainerPort<'_>, tls: bool) -> bool {
    let probes = [
        &container.liveness_probe,
        &container.readiness_probe,
        &container.startup_probe,
    ];
    let actions = probes.into_iter().flatten().filter_map(|probe| probe.http_get.as_ref());
    actions
        .filter(|action| (action.scheme.as_deref() == Some("HTTPS")) == tls)
        .filter_map(|action| action.port.as_ref())
        .any(|reference| match reference {
            PortReference::Number(number) => *number == port.number(),
            PortReference::Name(name) => Some(&**name) == port.name(),
        })
}

/// Whether a Service offers a port under the number of the web.
fn is_behind_80(services: &[Arc<Service>], port: &ContainerPort<'_>) -> bool {
    targets(services, port).any(|target| target.port == 80)
}

/// Services that select a pod.
fn selecting(plans: &dyn Plans, arrival: &Arrival<'_, '_>) -> Vec<Arc<Service>> {
    let labels: Vec<_> = arrival.metadata.labels.iter().flat_map(Pairs::iter).collect();
    let mut services = plans.services_for(arrival.namespace, &labels);
    services.retain(|service| services::selects(service, |key| arrival.metadata.label(key)));
    services.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    services
}

fn has_two_families(service: &Service) -> bool {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    families.is_some_and(|families| families.len() > 1)
}

/// Ports of Services that send to a port of a container.
fn targets<'s>(services: &'s [Arc<Service>], port: &'s ContainerPort<'_>) -> impl Iterator<Item = &'s ServicePort> {
    let all = services
        .iter()
        .filter_map(|service| service.spec.as_ref()?.ports.as_ref())
        .flatten();
    all.filter(|target| match &target.target_port {
        Some(IntOrString::Int(number)) => i64::from(*number) == port.number(),
        Some(IntOrString::String(name)) => Some(name.as_str()) == port.name(),
        None => i64::from(target.port) == port.number(),
    })
}

/// A port of the sidecar's that the pod uses already.
pub(super) fn conflict(spec: &PodSpec<'_>) -> Option<i64> {
    let taken = [names::TRAFFIC_PORT, names::METRICS_PORT].map(i64::from);
    let containers = spec.containers().iter();
    let sidecars = spec
        .init_containers()
        .iter()
        .filter(|container| container.restarts_always());
    containers.chain(sidecars).find_map(|container| {
        let declared = container
            .ports()
            .iter()
            .filter(|port| port.is_tcp())
            .map(ContainerPort::number);
        let mut used = declared.chain(actions(container).filter_map(|(_, action)| match &action.port {
            Some(PortReference::Number(number)) => Some(*number),
            _ => None,
        }));
        used.find(|number| taken.contains(number))
    })
}

/// Everything that a container's probes and hooks do to a port, with the path of the field in two parts.
fn actions<'c>(container: &'c Container<'_>) -> impl Iterator<Item = ([&'static str; 2], &'c PortAction<'c>)> {
    let hooks = container.lifecycle.as_ref();
    let probes: [(&'static str, Option<&Probe<'_>>); 5] = [
        ("livenessProbe", container.liveness_probe.as_ref()),
        ("readinessProbe", container.readiness_probe.as_ref()),
        ("startupProbe", container.startup_probe.as_ref()),
        ("lifecycle/postStart", hooks.and_then(|hooks| hooks.post_start.as_ref())),
        ("lifecycle/preStop", hooks.and_then(|hooks| hooks.pre_stop.as_ref())),
    ];
    probes.into_iter().flat_map(|(path, probe)| {
        let http = probe
            .and_then(|probe| probe.http_get.as_ref())
            .map(|action| ([path, "/httpGet/port"], action));
        let tcp = probe
            .and_then(|probe| probe.tcp_socket.as_ref())
            .map(|action| ([path, "/tcpSocket/port"], action));
        http.into_iter().chain(tcp)
    })
}

/// Names ports that Services reach by a name which they were not written with: without it a pod that comes without a
/// sidecar, of an older revision or after injection was turned off, would get nothing.
pub(super) fn keep_names(arrival: &Arrival<'_, '_>, outcome: &mut Outcome) {
    let services = selecting(arrival.context.plans, arrival);
    let mut done = Vec::new();
    for renamed in services.iter().flat_map(|service| services::renamed(service)) {
        if !done.contains(&renamed.number) && !has_name(arrival.spec, &renamed.name) {
            keep_name(arrival.spec, &renamed, outcome);
            done.push(renamed.number);
        }
    }
}

fn has_name(spec: &PodSpec<'_>, name: &str) -> bool {
    let sidecars = spec
        .init_containers()
        .iter()
        .filter(|container| container.restarts_always());
    let mut ports = spec
        .containers()
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports());
    ports.any(|port| port.is_tcp() && port.name() == Some(name))
}

fn keep_name(spec: &PodSpec<'_>, renamed: &Renamed, outcome: &mut Outcome) {
    let all = spec.containers().iter().enumerate().flat_map(|(position, container)| {
        let ports = container.ports().iter().enumerate();
        ports.map(move |(port, declared)| (position, port, declared))
    });
    let mut declared = all.filter(|(_, _, port)| port.is_tcp() && port.number() == renamed.number);
    match declared.next() {
        Some((container, port, declared)) if declared.name().is_none() => {
            let path = format!("/spec/containers/{container}/ports/{port}/name");
            outcome.patch.set(declared.name.is_some(), path, renamed.name.as_str());
        }
        Some(_) => outcome.warn(format!(
            "a Service sends to port {} of this pod by the name {}, which it does not have",
            renamed.number, renamed.name
        )),
        None => {
            if let Some(container) = spec.containers().first() {
                let port = Declaration::new(renamed.number, &renamed.name);
                port.patch("/spec/containers/0", container, &mut outcome.patch);
            }
        }
    }
}

/// A port that a container is to declare.
struct Declaration(Value);

impl Declaration {
    fn new(number: i64, name: &str) -> Self {
        Self(json!({"name": name, "containerPort": number, "protocol": "TCP"}))
    }

    fn patch(self, path: &str, container: &Container<'_>, patch: &mut Patch) {
        if container.ports.is_some() {
            patch.add(format!("{path}/ports/-"), self.0);
        } else {
            patch.add(format!("{path}/ports"), Value::Array(vec![self.0]));
        }
    }
}

/// A port of a template that would be fronted, and has no name that could move to the sidecar.
pub(crate) struct Unnamed {
    fronted: Fronted,
    name: String,
}

impl Unnamed {
    /// Finds it, where the pods of a template get a sidecar.
    pub fn find(context: &Context<'_>, workload: &Workload<'_>, template: &Pod<'_>) -> Option<Self> {
        let nothing = Metadata::default();
        let arrival = Arrival {
            context,
            namespace: workload.namespace,
            metadata: template.metadata.as_ref().unwrap_or(&nothing),
            spec: template.spec.as_ref()?,
            workload: Some(workload),
        };
        let Choice::Inject(Injection { fronted, .. }) = inject::choose(&arrival) else {
            return None;
        };
        let declared = fronted
            .port
            .and_then(|port| arrival.spec.containers().get(fronted.container)?.ports().get(port));
        let name = fronted
            .name
            .clone()
            .unwrap_or_else(|| free_name(arrival.spec).to_owned());
        declared
            .is_none_or(|port| port.name().is_none())
            .then_some(Self { fronted, name })
    }

    /// The name that another version of the template gives to the same port.
    pub fn name_in(&self, other: &Pod<'_>) -> Option<String> {
        let container = other.spec.as_ref()?.containers().get(self.fronted.container)?;
        let mut ports = container.ports().iter();
        let port = ports.find(|port| port.is_tcp() && port.number() == i64::from(self.fronted.number))?;
        port.name().map(str::to_owned)
    }

    /// Gives the port a name.
    pub fn patch(&self, name: Option<String>, template: &Pod<'_>, patch: &mut Patch) {
        let name = name.unwrap_or_else(|| self.name.clone());
        let path = format!("/spec/template/spec/containers/{}", self.fronted.container);
        let containers = template.spec.as_ref().map(PodSpec::containers).unwrap_or_default();
        match (self.fronted.port, containers.get(self.fronted.container)) {
            (Some(port), _) => patch.add(format!("{path}/ports/{port}/name"), name),
            (None, Some(container)) => {
                Declaration::new(i64::from(self.fronted.number), &name).patch(&path, container, patch);
            }
            (None, None) => {}
        }
    }

    /// Number of the port.
    pub fn number(&self) -> u16 {
        self.fronted.number
    }
}

/// A name for an HTTP port that no port of the pod has yet.
fn free_name(spec: &PodSpec<'_>) -> &'static str {
    if has_name(spec, "http") { "valence-http" } else { "http" }
}

/// Takes the fronted port's name away from the application; what used the name gets the number first.
pub(super) fn move_name(spec: &PodSpec<'_>, fronted: &Fronted, patch: &mut Patch) {
    let Some(container) = spec.containers().get(fronted.container) else {
        return;
    };
    let declared = fronted.port.and_then(|port| Some((port, container.ports().get(port)?)));
    let Some((position, name)) = declared.and_then(|(position, port)| Some((position, port.name()?))) else {
        return;
    };
    let path = format!("/spec/containers/{}", fronted.container);
    for ([probe, field], action) in actions(container) {
        if matches!(&action.port, Some(PortReference::Name(used)) if &**used == name) {
            patch.replace([&path, "/", probe, field].concat(), fronted.number);
        }
    }
    patch.remove(format!("{path}/ports/{position}/name"));
}
