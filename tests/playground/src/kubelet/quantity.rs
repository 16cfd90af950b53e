//! Quantities of CPU and memory as Kubernetes writes them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The number that a quantity stands for (cores, bytes, pieces); `None` where it is not one.
pub fn parse(quantity: &Quantity) -> Option<f64> {
    let text = quantity.0.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    if let Some(exponent) = suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty()) {
        return format!("{number}e{exponent}").parse().ok();
    }
    Some(number.parse::<f64>().ok()? * factor(suffix)?)
}

fn factor(suffix: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 16] = [
        ("", 1.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
    ];
    SUFFIXES
        .iter()
        .find(|(known, _)| *known == suffix)
        .map(|(_, factor)| *factor)
}

/// CPU and memory, in cores and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Cores.
    pub cpu: Option<f64>,
    /// Bytes.
    pub memory: Option<f64>,
}

impl Resources {
    /// Reads the entries `cpu` and `memory` of a resource list.
    pub fn of(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let value = |name: &str| list.and_then(|list| list.get(name)).and_then(parse);
        Self {
            cpu: value("cpu"),
            memory: value("memory"),
        }
    }

    /// The limits of a container.
    pub fn limits(resources: Option<&ResourceRequirements>) -> Self {
        Self::of(resources.and_then(|resources| resources.limits.as_ref()))
    }

    /// The requests of a container; a limit without a request stands for both.
    pub fn requests(resources: Option<&ResourceRequirements>) -> Self {
        let requests = Self::of(resources.and_then(|resources| resources.requests.as_ref()));
        let limits = Self::limits(resources);
        Self {
            cpu: requests.cpu.or(limits.cpu),
            memory: requests.memory.or(limits.memory),
        }
    }

    fn plus(self, other: Self) -> Self {
        let add = |a: Option<f64>, b: Option<f64>| Some(a.unwrap_or(0.0) + b.unwrap_or(0.0));
        Self {
            cpu: add(self.cpu, other.cpu),
            memory: add(self.memory, other.memory),
        }
    }

    fn largest(self, other: Self) -> Self {
        let max = |a: Option<f64>, b: Option<f64>| Some(a.unwrap_or(0.0).max(b.unwrap_or(0.0)));
        Self {
            cpu: max(self.cpu, other.cpu),
            memory: max(self.memory, other.memory),
        }
    }
}

/// Whether an init container keeps running beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What the scheduler sets aside for a pod: its containers and sidecars together, or, if that is more, the largest
/// init container with the sidecars that started before it.
pub fn pod_requests(pod: &Pod) -> Resources {
    let Some(spec) = pod.spec.as_ref() else {
        return Resources::default();
    };
    let request = |container: &Container| Resources::requests(container.resources.as_ref());
    let mut sidecars = Resources::default();
    let mut initial = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            sidecars = sidecars.plus(request(container));
            initial = initial.largest(sidecars);
        } else {
            initial = initial.largest(sidecars.plus(request(container)));
        }
    }
    spec.containers
        .iter()
        .map(request)
        .fold(sidecars, Resources::plus)
        .largest(initial)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn suffixes_and_exponents() {
        for (text, number) in [
            ("250m", 0.25),
            ("2", 2.0),
            ("1.5Gi", 1.5 * 1_073_741_824.0),
            ("3e2", 300.0),
            ("1E", 1e18),
            ("128Mi", 134_217_728.0),
        ] {
            assert_eq!(parse(&Quantity(text.into())), Some(number), "{text}");
        }
        assert_eq!(parse(&Quantity("lots".into())), None);
        assert_eq!(parse(&Quantity("1Xi".into())), None);
    }

    #[test]
    fn a_pod_requests_its_containers_and_sidecars() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod: Pod = serde_json::from_value(json!({
            "spec": {
                "initContainers": [
                    {"name": "envoy", "restartPolicy": "Always", "resources": cpu("100m")},
                    {"name": "migrate", "resources": cpu("2")},
                ],
                "containers": [{"name": "a", "resources": cpu("500m")}, {"name": "b", "resources": {"limits": {"cpu": "1"}}}],
            },
        }))
        .unwrap();
        assert_eq!(pod_requests(&pod).cpu, Some(2.1));
    }
}
