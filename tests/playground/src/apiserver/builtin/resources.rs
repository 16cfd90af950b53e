//! Requests and limits of a pod: sums and quality of service.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::apiserver::quantity::Quantity;

/// Requests and limits of a whole pod, by resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodRequirements {
    pub(crate) requests: BTreeMap<String, Quantity>,
    pub(crate) limits: BTreeMap<String, Quantity>,
}

/// Containers count together, init containers by the largest, sidecars (init containers that restart) with both.
pub(crate) fn pod_requirements(spec: &Value) -> PodRequirements {
    PodRequirements {
        requests: total(spec, "requests"),
        limits: total(spec, "limits"),
    }
}

fn total(spec: &Value, which: &str) -> BTreeMap<String, Quantity> {
    let mut running: BTreeMap<String, Quantity> = BTreeMap::new();
    for container in items(spec, "containers") {
        add(&mut running, &quantities(container, which));
    }
    let (mut sidecars, mut starting) = (BTreeMap::new(), BTreeMap::new());
    for container in items(spec, "initContainers") {
        let own = quantities(container, which);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut with_sidecars = sidecars.clone();
            add(&mut with_sidecars, &own);
            raise(&mut starting, &with_sidecars);
        }
    }
    raise(&mut running, &starting);
    let pod_level = quantities(spec, which);
    for (name, quantity) in pod_level {
        running.insert(name, quantity);
    }
    running
}

fn items<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    spec[list].as_array().into_iter().flatten()
}

/// `resources.requests` or `resources.limits` of a container.
pub(crate) fn quantities(container: &Value, which: &str) -> BTreeMap<String, Quantity> {
    let entries = container["resources"][which].as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value)?)))
        .collect()
}

fn add(sum: &mut BTreeMap<String, Quantity>, other: &BTreeMap<String, Quantity>) {
    for (name, quantity) in other {
        let entry = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = entry.plus(*quantity);
    }
}

fn raise(largest: &mut BTreeMap<String, Quantity>, other: &BTreeMap<String, Quantity>) {
    for (name, quantity) in other {
        let entry = largest.entry(name.clone()).or_insert(*quantity);
        if quantity.nanos > entry.nanos {
            *entry = *quantity;
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by the CPU and memory of every container.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = items(spec, "containers").chain(items(spec, "initContainers")).collect();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let (requests, limits) = (quantities(container, "requests"), quantities(container, "limits"));
        for name in ["cpu", "memory"] {
            let amount = |map: &BTreeMap<String, Quantity>| {
                map.get(name).map(|quantity| quantity.nanos).filter(|nanos| *nanos > 0)
            };
            let (request, limit) = (amount(&requests), amount(&limits));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn container(requests: Value, limits: Value) -> Value {
        json!({ "name": "a", "resources": { "requests": requests, "limits": limits } })
    }

    #[test]
    fn quality_of_service() {
        let class = |containers: Value| qos_class(&json!({ "containers": containers }));
        let both = json!({ "cpu": "1", "memory": "1Gi" });
        assert_eq!(class(json!([container(json!({}), json!({}))])), "BestEffort");
        assert_eq!(class(json!([container(both.clone(), both.clone())])), "Guaranteed");
        assert_eq!(
            class(json!([container(
                json!({ "cpu": "1000m", "memory": "1024Mi" }),
                both.clone()
            )])),
            "Guaranteed"
        );
        assert_eq!(class(json!([container(json!({ "cpu": "1" }), json!({}))])), "Burstable");
        assert_eq!(
            class(json!([container(both.clone(), both), container(json!({}), json!({}))])),
            "Burstable"
        );
    }

    #[test]
    fn sidecars_count_beside_containers_and_below_init_containers() {
        let cpu = |cpu: &str| json!({ "requests": { "cpu": cpu } });
        let spec = json!({
            "containers": [{ "resources": cpu("500m") }],
            "initContainers": [
                { "resources": cpu("100m"), "restartPolicy": "Always" },
                { "resources": cpu("1") },
            ],
        });
        assert_eq!(pod_requirements(&spec).requests["cpu"].to_string(), "1100m");
    }
}
