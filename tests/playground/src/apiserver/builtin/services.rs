//! Addresses of Services.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::status::{ApiError, ApiResult, FieldError};

const NODE_PORTS: std::ops::Range<u16> = 30000..32768;

/// Gives a Service its cluster address and node ports; those of `current` are kept.
pub(super) fn allocate(api: &Api, object: &mut Value, current: Option<&Value>) -> ApiResult<()> {
    let kind = object["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned();
    if kind == "ExternalName" {
        return Ok(());
    }
    if let Some(kept) = current
        .map(|current| &current["spec"]["clusterIP"])
        .filter(|address| address.is_string())
        && object["spec"].get("clusterIP").is_none_or(|address| address == "")
    {
        object["spec"]["clusterIP"] = kept.clone();
    }
    let (addresses, ports) = taken(api, object::uid(object));
    let address = match object["spec"]
        .get("clusterIP")
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
    {
        Some(chosen) => chosen.to_owned(),
        None => free_address(api.service_network, &addresses)?,
    };
    object["spec"]["clusterIP"] = address.clone().into();
    object["spec"]["clusterIPs"] = json!([address]);
    object["spec"]["ipFamilies"] = json!(["IPv4"]);
    object["spec"]["ipFamilyPolicy"] = "SingleStack".into();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        node_ports(object, current, ports);
    }
    Ok(())
}

fn taken(api: &Api, own: &str) -> (HashSet<String>, HashSet<u16>) {
    let (services, _) = api.store.list(&api.core("services"), None);
    let (mut addresses, mut ports) = (HashSet::new(), HashSet::new());
    for service in services.iter().filter(|service| object::uid(&service.value) != own) {
        addresses.extend(service.value["spec"]["clusterIP"].as_str().map(str::to_owned));
        let own_ports = service.value["spec"]["ports"].as_array().into_iter().flatten();
        ports.extend(own_ports.filter_map(|port| u16::try_from(port["nodePort"].as_u64()?).ok()));
    }
    (addresses, ports)
}

fn free_address(network: Ipv4Addr, taken: &HashSet<String>) -> ApiResult<String> {
    let first = u32::from(network) & 0xffff_0000;
    // The first address is the API's own.
    let mut candidates = (2..0xffff).map(|host| Ipv4Addr::from(first + host).to_string());
    candidates
        .find(|address| !taken.contains(address))
        .ok_or_else(|| ApiError::internal("no free service address"))
}

fn node_ports(object: &mut Value, current: Option<&Value>, mut taken: HashSet<u16>) {
    let earlier: Vec<Value> = current
        .and_then(|current| current["spec"]["ports"].as_array().cloned())
        .unwrap_or_default();
    let ports = object["spec"].get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port["nodePort"].as_u64().is_some_and(|number| number > 0) {
            continue;
        }
        let kept = earlier
            .iter()
            .find(|other| other["port"] == port["port"] && other["nodePort"].is_u64());
        let number = match kept {
            Some(other) => other["nodePort"].as_u64().and_then(|number| u16::try_from(number).ok()),
            None => NODE_PORTS.into_iter().find(|number| !taken.contains(number)),
        };
        if let Some(number) = number {
            taken.insert(number);
            port["nodePort"] = number.into();
        }
    }
}

/// What a Service must look like.
pub(super) fn validate(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let ports = spec["ports"].as_array().cloned().unwrap_or_default();
    let external = spec["type"] == "ExternalName";
    let headless = spec["clusterIP"] == "None";
    if ports.is_empty() && !external && !headless {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let kinds = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    if spec["type"].as_str().is_some_and(|kind| !kinds.contains(&kind)) {
        errors.push(FieldError::not_supported(
            "spec.type",
            &spec["type"],
            &kinds.map(str::to_owned),
        ));
    }
    let mut names: HashSet<String> = HashSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let number = port["port"].as_i64().unwrap_or(0);
        if !(1..=65535).contains(&number) {
            let detail = "must be between 1 and 65535, inclusive";
            errors.push(FieldError::invalid(format!("{path}.port"), &json!(number), detail));
        }
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(format!("{path}.name"), ""));
        } else if !name.is_empty() && !names.insert(name.to_owned()) {
            errors.push(FieldError::duplicate(format!("{path}.name"), &port["name"]));
        }
        errors.extend(target_port(&format!("{path}.targetPort"), &port["targetPort"]));
        if !matches!(port["protocol"].as_str(), Some("TCP" | "UDP" | "SCTP")) {
            let supported = ["SCTP", "TCP", "UDP"].map(str::to_owned);
            errors.push(FieldError::not_supported(
                format!("{path}.protocol"),
                &port["protocol"],
                &supported,
            ));
        }
    }
    errors
}

/// A port number, or a name of at most 15 letters.
pub(super) fn target_port(path: &str, port: &Value) -> Option<FieldError> {
    match port {
        Value::Number(_) => {
            let fits = port.as_i64().is_some_and(|number| (1..=65535).contains(&number));
            (!fits).then(|| FieldError::invalid(path, port, "must be between 1 and 65535, inclusive"))
        }
        Value::String(name) => port_name(path, name),
        _ => None,
    }
}

/// A name of a port.
pub(super) fn port_name(path: &str, name: &str) -> Option<FieldError> {
    let value = Value::from(name);
    if name.len() > 15 {
        return Some(FieldError::invalid(path, &value, "must be no more than 15 characters"));
    }
    let letters = name
        .chars()
        .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-');
    let some_letter = name.chars().any(|letter| letter.is_ascii_lowercase());
    let edges = !name.starts_with('-') && !name.ends_with('-') && !name.contains("--");
    let detail = "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), and at least one letter";
    (!(letters && some_letter && edges)).then(|| FieldError::invalid(path, &value, detail))
}
