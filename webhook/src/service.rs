//! Services: the sidecar's metrics port, and traffic that reaches the sidecar by the name of a port.
//!
//! A numeric `targetPort` becomes the name that every pod gives to it, and a number again where one does not. The
//! name comes from the pods' own template, so it leads to the application where there is no sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use crate::admission::Context;
use crate::injection;
use crate::notices::Reason;
use crate::outcome::{Outcome, Subject};
use crate::plans::names;
use crate::protocol::{Protocol, by_port_name};
use crate::record::{Annotations, Record};
use crate::review::Request;
use crate::services::{Backend, TARGET_PORTS, template_leads, template_port};
use crate::view::{Metadata, Pairs, PortReference, Service, ServicePort, ServiceSpec};

/// Name of the metrics port, as in the hand-written form.
const METRICS_PORT_NAME: &str = "prometheus";
/// Keys of the record, beside [`TARGET_PORTS`].
const ADDED_PORT: &str = "addedPort";
const ADDED_LABEL: &str = "addedLabel";

/// Prepares a Service for pods with sidecars, or takes that back where there are none.
pub(crate) fn admit(context: &Context<'_>, request: &Request<'_, Service<'_>>) -> Outcome {
    let mut outcome = Outcome::default();
    let object = request.object.as_ref();
    let Some((metadata, spec)) = object.and_then(|object| Some((object.metadata.as_ref()?, object.spec.as_ref()?)))
    else {
        return outcome;
    };
    let selector: Vec<(&str, &str)> = spec.selector.iter().flat_map(Pairs::iter).collect();
    if selector.is_empty() {
        return outcome;
    }
    let namespace = request.namespace();
    let selects = |labels: &BTreeMap<String, String>| {
        let mut pairs = selector.iter();
        pairs.all(|(key, value)| labels.get(*key).map(String::as_str) == Some(value))
    };
    let pods = context.plans.selected_pods(namespace, &selector);
    let mut deployments = context.plans.deployments(namespace);
    deployments.retain(|deployment| template_labels(deployment).is_some_and(selects));
    let admission = ServiceAdmission {
        request,
        metadata,
        spec,
        record: Record::of(
            names::ORIGINAL,
            Some(metadata),
            request.old_object.as_ref().and_then(|old| old.metadata.as_ref()),
        ),
        backends: backends(&pods),
        will_inject: deployments
            .iter()
            .any(|deployment| injection::is_due(context.plans, namespace, deployment)),
        deployments,
    };
    admission.run(&mut outcome);
    outcome
}

fn template_labels(deployment: &Deployment) -> Option<&BTreeMap<String, String>> {
    deployment.spec.template.metadata.as_ref()?.labels.as_ref()
}

fn backends(pods: &[Pod]) -> Vec<Backend<'_>> {
    let mut backends: Vec<_> = pods.iter().filter_map(Backend::of).collect();
    backends.sort_by(|a, b| a.name().cmp(b.name()));
    backends
}

struct ServiceAdmission<'r, 'a> {
    request: &'r Request<'a, Service<'a>>,
    metadata: &'r Metadata<'a>,
    spec: &'r ServiceSpec<'a>,
    record: Record,
    backends: Vec<Backend<'r>>,
    deployments: Vec<Arc<Deployment>>,
    /// Whether a Deployment behind the Service gets sidecars.
    will_inject: bool,
}

impl ServiceAdmission<'_, '_> {
    fn run(&self, outcome: &mut Outcome) {
        let has_sidecars = self.will_inject || self.backends.iter().any(Backend::is_injected);
        if !has_sidecars && self.record.is_absent() {
            return;
        }
        let mut after = Map::new();
        let target_ports = self.target_ports(has_sidecars, outcome);
        if !target_ports.is_empty() {
            after.insert(TARGET_PORTS.to_owned(), Value::Object(target_ports));
        }
        if has_sidecars && self.shows_metrics(outcome) {
            self.add_label(&mut after, outcome);
            self.add_port(&mut after, outcome);
        } else {
            self.remove_port(outcome);
            self.remove_label(outcome);
        }
        self.write_record(after, outcome);
        if !has_sidecars {
            outcome.tell(
                self.subject(),
                Reason::Released,
                "the Service is as it was written: no pod behind it has a sidecar",
            );
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            kind: "Service",
            namespace: self.request.namespace(),
            name: self.name(),
        }
    }

    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_else(|| self.request.name())
    }

    fn ports(&self) -> impl Iterator<Item = (usize, &ServicePort<'_>)> {
        self.spec.ports.iter().flatten().enumerate()
    }

    /// The same port of the old object.
    fn old_port(&self, port: &ServicePort<'_>) -> Option<&ServicePort<'_>> {
        let ports = self.request.old_object.as_ref()?.spec.as_ref()?.ports.as_ref()?;
        ports
            .iter()
            .find(|old| old.port == port.port && old.is_tcp() == port.is_tcp())
    }

    /// Sets target ports to names, or to numbers again; returns the numbers of those that are names now.
    fn target_ports(&self, has_sidecars: bool, outcome: &mut Outcome) -> Map<String, Value> {
        let mut written = Map::new();
        for (position, port) in self.ports().filter(|(_, port)| port.is_tcp()) {
            let key = port.number().to_string();
            let Some(number) = self.written_number(port, &key) else {
                continue;
            };
            let name = if has_sidecars {
                self.common_name(port, number, outcome)
            } else {
                None
            };
            let target = name.map_or_else(|| Value::from(number), Value::from);
            if target.is_string() {
                written.insert(key, Value::from(number));
            }
            if as_json(port.target_port.as_ref()).as_ref() != Some(&target) && (target.is_string() || is_named(port)) {
                let path = format!("/spec/ports/{position}/targetPort");
                outcome.patch.set(port.target_port.is_some(), path, target);
            }
        }
        written
    }

    /// The number that a port was written with: what stands there, or what was there before we put a name.
    fn written_number(&self, port: &ServicePort<'_>, key: &str) -> Option<i64> {
        match &port.target_port {
            Some(PortReference::Number(0)) | None => Some(port.number()),
            Some(PortReference::Number(number)) => Some(*number),
            Some(PortReference::Name(_)) => self.record.number_in(TARGET_PORTS, key),
        }
        .filter(|number| *number != i64::from(names::METRICS_PORT) && *number != i64::from(names::TRAFFIC_PORT))
    }

    /// The name that every pod, and every template, gives to a port; says so when there is none.
    ///
    /// A pod that is not ready counts too: it may be the next to take over.
    fn common_name(&self, port: &ServicePort<'_>, number: i64, outcome: &mut Outcome) -> Option<String> {
        let templates = self
            .deployments
            .iter()
            .map(|deployment| template_port(deployment, number));
        let of_templates: Vec<_> = templates
            .map(|port| port.and_then(|port| port.name.as_deref()))
            .collect();
        let of_pods: Vec<_> = self.backends.iter().map(|backend| backend.port_name(number)).collect();
        let mut names = of_templates.iter().chain(&of_pods).copied();
        let Some(first) = names.clone().flatten().next() else {
            self.warn_unnamed(port, number, outcome);
            return None;
        };
        if by_port_name(first) == Some(Protocol::Other) {
            return None;
        }
        if names.all(|name| name == Some(first)) {
            return self.leading_name(port, first, number, outcome);
        }
        let unnamed = self
            .backends
            .iter()
            .find(|backend| backend.port_name(number) != Some(first));
        let example = unnamed
            .map(|backend| format!(" (pod {} does not)", backend.name()))
            .unwrap_or_default();
        outcome.warn(format!(
            "port {} of Service {} keeps sending to {number} past Envoy: it will send to {first} at its next admission after every pod names its port so{example}",
            port.number(),
            self.name(),
        ));
        None
    }

    /// A name that all give to the port, where it leads there: another container may have the same name.
    fn leading_name(&self, port: &ServicePort<'_>, name: &str, number: i64, outcome: &mut Outcome) -> Option<String> {
        let leads = self.backends.iter().all(|backend| backend.leads(name, number))
            && self
                .deployments
                .iter()
                .all(|deployment| template_leads(deployment, name, number));
        if !leads {
            outcome.warn(format!(
                "port {} of Service {} keeps sending to {number} past Envoy: {name} is the name of another container's port too",
                port.number(),
                self.name(),
            ));
        }
        leads.then(|| name.to_owned())
    }

    /// Nobody names the port: that is worth telling where somebody has it.
    fn warn_unnamed(&self, port: &ServicePort<'_>, number: i64, outcome: &mut Outcome) {
        let in_template = self
            .deployments
            .iter()
            .any(|deployment| template_port(deployment, number).is_some());
        if in_template || self.backends.iter().any(|backend| backend.has_port(number)) {
            outcome.warn(format!(
                "port {} of Service {} sends to {number} past Envoy: no container names that port (ports: [{{name: http, containerPort: {number}}}])",
                port.number(),
                self.name(),
            ));
        }
    }

    /// The metrics port is not put where it could be reached from outside, unless the owner says so.
    fn shows_metrics(&self, outcome: &mut Outcome) -> bool {
        let wish = self.metadata.annotation(names::EXPOSE_METRICS);
        let inside = matches!(self.spec.type_.as_deref(), None | Some("ClusterIP"));
        let open = !inside
            || self
                .spec
                .external_ips
                .as_ref()
                .is_some_and(|addresses| !addresses.is_empty());
        if open && wish.is_none() {
            outcome.warn(format!(
                "Service {} can be reached from outside: port {} is not added to it (annotate {}: \"true\" to have it)",
                self.name(),
                names::METRICS_PORT,
                names::EXPOSE_METRICS,
            ));
        }
        wish.map_or(!open, |wish| wish == "true")
    }

    fn add_label(&self, after: &mut Map<String, Value>, outcome: &mut Outcome) {
        if let Some(value) = self.metadata.label(names::PROMETHEUS) {
            if value == "true" && self.record.is_true(ADDED_LABEL) {
                after.insert(ADDED_LABEL.to_owned(), Value::Bool(true));
            }
            return;
        }
        after.insert(ADDED_LABEL.to_owned(), Value::Bool(true));
        if self.metadata.labels.is_some() {
            let path = format!("/metadata/labels/{}", crate::patch::token(names::PROMETHEUS));
            outcome.patch.add(path, "true");
        } else {
            outcome
                .patch
                .add("/metadata/labels", json!({names::PROMETHEUS: "true"}));
        }
    }

    fn remove_label(&self, outcome: &mut Outcome) {
        if self.record.is_true(ADDED_LABEL) && self.metadata.label(names::PROMETHEUS).is_some() {
            outcome
                .patch
                .remove(format!("/metadata/labels/{}", crate::patch::token(names::PROMETHEUS)));
        }
    }

    fn metrics_port(&self) -> Option<usize> {
        let metrics = i64::from(names::METRICS_PORT);
        let is_metrics = |port: &ServicePort<'_>| {
            port.number() == metrics
                || matches!(port.target_port, Some(PortReference::Number(number)) if number == metrics)
        };
        self.ports()
            .find(|(_, port)| is_metrics(port))
            .map(|(position, _)| position)
    }

    fn add_port(&self, after: &mut Map<String, Value>, outcome: &mut Outcome) {
        if self.metrics_port().is_some() {
            if self.record.is_true(ADDED_PORT) {
                after.insert(ADDED_PORT.to_owned(), Value::Bool(true));
            }
            return;
        }
        if self.spec.ports.is_none() || !self.name_only_port(outcome) {
            return;
        }
        after.insert(ADDED_PORT.to_owned(), Value::Bool(true));
        let taken = self.ports().any(|(_, port)| port.name() == Some(METRICS_PORT_NAME));
        let name = if taken { "envoy-metrics" } else { METRICS_PORT_NAME };
        let port =
            json!({"name": name, "port": names::METRICS_PORT, "targetPort": names::METRICS_PORT, "protocol": "TCP"});
        outcome.patch.add("/spec/ports/-", port);
    }

    /// A second port takes a name for the first. It is given to a new Service only: proxies know ports by their names,
    /// and forget the endpoints of one that changes for a moment.
    fn name_only_port(&self, outcome: &mut Outcome) -> bool {
        let Some((position, port)) = self.ports().find(|(_, port)| port.name().is_none()) else {
            return true;
        };
        let before = self.old_port(port);
        let name = match (self.request.is_update(), before.and_then(ServicePort::name)) {
            (_, Some(name)) => name.to_owned(),
            (false, None) => "http".to_owned(),
            (true, None) => {
                outcome.warn(format!(
                    "port {} of Service {} has no name: give it one and port {} will be added for metrics",
                    port.number(),
                    self.name(),
                    names::METRICS_PORT,
                ));
                return false;
            }
        };
        outcome
            .patch
            .set(port.name.is_some(), format!("/spec/ports/{position}/name"), name);
        true
    }

    fn remove_port(&self, outcome: &mut Outcome) {
        if let Some(position) = self.metrics_port().filter(|_| self.record.is_true(ADDED_PORT)) {
            outcome.patch.remove(format!("/spec/ports/{position}"));
        }
    }

    fn write_record(&self, after: Map<String, Value>, outcome: &mut Outcome) {
        let mut annotations = Annotations::of(Some(self.metadata));
        if after.is_empty() {
            annotations.remove(names::ORIGINAL);
        } else {
            annotations.set(names::ORIGINAL, Value::Object(after).to_string());
        }
        annotations.patch(&mut outcome.patch);
    }
}

fn is_named(port: &ServicePort<'_>) -> bool {
    matches!(port.target_port, Some(PortReference::Name(_)))
}

fn as_json(port: Option<&PortReference<'_>>) -> Option<Value> {
    match port? {
        PortReference::Number(number) => Some(Value::from(*number)),
        PortReference::Name(name) => Some(Value::from(&**name)),
    }
}
