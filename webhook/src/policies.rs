//! NetworkPolicies that would keep traffic from reaching the sidecar.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::plans::names;

/// The name of a policy that admits traffic to the application's port, and not to the sidecar's.
///
/// A policy that names the port follows the name to the sidecar, as Services do.
pub(crate) fn obstacle<'l>(
    policies: &[Arc<NetworkPolicy>],
    label: impl Fn(&str) -> Option<&'l str> + Copy,
    port: u16,
    moved: Option<&str>,
) -> Option<String> {
    let selecting: Vec<_> = policies.iter().filter(|policy| isolates(policy, label)).collect();
    let rules = || selecting.iter().flat_map(|policy| rules_of(policy));
    let admits_sidecar = rules().any(|rule| admits(rule, names::TRAFFIC_PORT, moved));
    let numbered = selecting
        .iter()
        .find(|policy| rules_of(policy).iter().any(|rule| admits(rule, i32::from(port), None)));
    let name = numbered.filter(|_| !admits_sidecar)?.metadata.name.clone();
    Some(name.unwrap_or_default())
}

fn rules_of(policy: &NetworkPolicy) -> &[NetworkPolicyIngressRule] {
    let spec = policy.spec.as_ref();
    spec.and_then(|spec| spec.ingress.as_deref()).unwrap_or_default()
}

fn isolates<'l>(policy: &NetworkPolicy, label: impl Fn(&str) -> Option<&'l str> + Copy) -> bool {
    let Some(spec) = &policy.spec else {
        return false;
    };
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let of_ingress = types.is_empty() || types.iter().any(|kind| kind == "Ingress");
    of_ingress
        && spec
            .pod_selector
            .as_ref()
            .is_none_or(|selector| selects(selector, label))
}

fn selects<'l>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'l str> + Copy) -> bool {
    let mut exact = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    exact.all(|(key, value)| label(key) == Some(value.as_str()))
        && expressions.all(|expression| {
            let value = label(&expression.key);
            let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|listed| listed == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn admits(rule: &NetworkPolicyIngressRule, port: i32, name: Option<&str>) -> bool {
    let ports = rule.ports.as_deref().unwrap_or_default();
    ports.is_empty() || ports.iter().any(|allowed| covers(allowed, port, name))
}

fn covers(allowed: &NetworkPolicyPort, port: i32, name: Option<&str>) -> bool {
    let tcp = allowed.protocol.as_deref().unwrap_or("TCP") == "TCP";
    tcp && match &allowed.port {
        None => true,
        Some(IntOrString::Int(first)) => (*first..=allowed.end_port.unwrap_or(*first)).contains(&port),
        Some(IntOrString::String(named)) => name == Some(named.as_str()),
    }
}
