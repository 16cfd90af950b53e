//! Services and the pods behind them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::plans::names;
use crate::record;

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
    let Some(record) = annotations.and_then(|annotations| annotations.get(names::ORIGINAL)) else {
        return Vec::new();
    };
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| match &port.target_port {
            Some(IntOrString::String(name)) => Some(Renamed {
                number: record::number_in(record, TARGET_PORTS, &port.port.to_string())?,
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
        let fronted = injected.and_then(|record| record::number(record, "port"));
        (!gone).then_some(Self { pod, fronted })
    }

    /// Whether it has a sidecar that was injected.
    pub fn is_injected(&self) -> bool {
        self.fronted.is_some()
    }

    /// Whether Services send to it.
    pub fn is_ready(&self) -> bool {
        let conditions = self
            .pod
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    /// The name by which a Service reaches what was written as a number: that of the sidecar's port, or of the
    /// application's own.
    pub fn port_name(&self, number: i64) -> Option<&str> {
        let wanted = if self.fronted == Some(number) {
            i64::from(names::TRAFFIC_PORT)
        } else {
            number
        };
        let spec = self.pod.spec.as_ref()?;
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let ports = all.flat_map(|container| container.ports.iter().flatten());
        let mut found = ports.filter(|port| i64::from(port.container_port) == wanted);
        found
            .find(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")?
            .name
            .as_deref()
    }
}
