//! Services and the pods behind them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerPort, Pod, PodSpec, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::plans::names;
use crate::record::Record;

/// Whether a Service selects a pod, by a lookup of the pod's labels.
pub(crate) fn selects<'l>(service: &Service, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| label(key) == Some(value.as_str()))
    })
}

/// A port that a Service was written to send to by its number, and sends to by a name now.
pub(crate) struct Renamed {
    /// Number that the Service was written with.
    pub number: i64,
    /// Name that it was given.
    pub name: String,
}

/// The ports of a Service that admission made it address by name.
pub(crate) fn renamed(service: &Service) -> Vec<Renamed> {
    let annotations = service.metadata.annotations.as_ref();
    let original = annotations.and_then(|annotations| annotations.get(names::ORIGINAL));
    if original.is_none() {
        return Vec::new();
    }
    let record = Record::read(original.map(String::as_str));
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| match &port.target_port {
            Some(IntOrString::String(name)) => Some(Renamed {
                number: record.number_in(TARGET_PORTS, &port.port.to_string())?,
                name: name.clone(),
            }),
            _ => None,
        })
        .collect()
}

/// Key under which a Service's record keeps the numbers that it was written with, by its own ports.
pub(crate) const TARGET_PORTS: &str = "targetPorts";

/// The name under which Services send to a port whose number they were written with: a new pod that does not name the
/// port would get nothing from them.
pub(crate) fn name_in_use(services: &[Arc<Service>], number: u16) -> Option<String> {
    let all = services.iter().flat_map(|service| renamed(service));
    all.into_iter()
        .find(|renamed| renamed.number == i64::from(number))
        .map(|renamed| renamed.name)
}

/// A pod behind a Service.
pub(crate) struct Backend<'p> {
    pod: &'p Pod,
    /// The port that the sidecar fronts, where there is one.
    fronted: Option<i64>,
    /// The name that moved to the sidecar, where there was one.
    moved: Option<String>,
}

impl<'p> Backend<'p> {
    /// A pod that is not finished or on its way out.
    pub fn of(pod: &'p Pod) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let gone = pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Succeeded" | "Failed"));
        let injected = pod
            .metadata
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(names::INJECTED));
        let record = Record::read(injected.filter(|_| !gone).map(String::as_str));
        (!gone).then(|| Self {
            pod,
            fronted: record.number("port"),
            moved: record.text("name").map(str::to_owned),
        })
    }

    /// Whether it has a sidecar that was injected.
    pub fn is_injected(&self) -> bool {
        self.fronted.is_some()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The name by which a Service reaches what was written as a number: the one that moved to the sidecar, or that of
    /// the application's own port.
    pub fn port_name(&self, number: i64) -> Option<&str> {
        if self.fronted == Some(number) {
            return self.moved.as_deref();
        }
        self.declared(number)?.name.as_deref()
    }

    /// Whether a Service that sends to this name reaches what was written as this number.
    pub fn leads(&self, name: &str, number: i64) -> bool {
        let expected = if self.fronted == Some(number) {
            i64::from(names::TRAFFIC_PORT)
        } else {
            number
        };
        self.pod.spec.as_ref().and_then(|spec| reached(spec, name)) == Some(expected)
    }

    /// Whether it says that it has a port.
    pub fn has_port(&self, number: i64) -> bool {
        self.fronted == Some(number) || self.declared(number).is_some()
    }

    fn declared(&self, number: i64) -> Option<&ContainerPort> {
        let spec = self.pod.spec.as_ref()?;
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        find_port(all.flat_map(|container| container.ports.iter().flatten()), number)
    }
}

/// Whether a Service that sends to this name reaches this number in pods of a template.
pub(crate) fn template_leads(deployment: &Deployment, name: &str, number: i64) -> bool {
    let spec = deployment.spec.template.spec.as_ref();
    spec.and_then(|spec| reached(spec, name)) == Some(number)
}

/// The number that a name stands for in a pod: of the first container that has it, and of sidecars after them.
fn reached(spec: &PodSpec, name: &str) -> Option<i64> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| is_tcp(port) && port.name.as_deref() == Some(name))?;
    Some(i64::from(port.container_port))
}

fn is_tcp(port: &ContainerPort) -> bool {
    port.protocol.as_deref().unwrap_or("TCP") == "TCP"
}

/// The port that the template of a Deployment declares under a number.
pub(crate) fn template_port(deployment: &Deployment, number: i64) -> Option<&ContainerPort> {
    let containers = deployment.spec.template.spec.iter().flat_map(|spec| &spec.containers);
    find_port(
        containers.flat_map(|container| container.ports.iter().flatten()),
        number,
    )
}

fn find_port<'p>(mut ports: impl Iterator<Item = &'p ContainerPort>, number: i64) -> Option<&'p ContainerPort> {
    ports.find(|port| i64::from(port.container_port) == number && is_tcp(port))
}
