//! Columns of built-in kinds.

use serde_json::Value;

use super::age::age;
use super::columns::Column;
use crate::apiserver::object;

/// Columns between name and age, and those for `-o wide`.
pub(super) fn columns(group: &str, plural: &str) -> Vec<Column> {
    match (group, plural) {
        ("", "pods") => pods(),
        ("", "services") => services(),
        ("", "namespaces") => vec![Column::new("Status", "string", |ns| ns["status"]["phase"].clone())],
        ("", "configmaps") => vec![Column::new("Data", "integer", |map| count(&map["data"]).into())],
        ("", "secrets") => vec![
            Column::new("Type", "string", |secret| secret["type"].clone()),
            Column::new("Data", "integer", |secret| count(&secret["data"]).into()),
        ],
        ("", "nodes") => nodes(),
        ("", "events") => events(),
        ("events.k8s.io", "events") => new_events(),
        ("", "endpoints") => vec![Column::new("Endpoints", "string", endpoints)],
        ("", "resourcequotas") => vec![Column::new("Request", "string", quota)],
        ("discovery.k8s.io", "endpointslices") => endpoint_slices(),
        ("apps", "deployments") => deployments(),
        ("apps", "replicasets") => replica_sets(),
        ("apps", "statefulsets") => vec![Column::new("Ready", "string", ready_of_replicas)],
        ("autoscaling", "horizontalpodautoscalers") => autoscalers(),
        ("policy", "poddisruptionbudgets") => budgets(),
        ("coordination.k8s.io", "leases") => {
            vec![Column::new("Holder", "string", |lease| {
                lease["spec"]["holderIdentity"].clone()
            })]
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            vec![Column::new("Created At", "date", |definition| {
                definition["metadata"]["creationTimestamp"].clone()
            })]
        }
        ("admissionregistration.k8s.io", _) => {
            vec![Column::new("Webhooks", "integer", |object| {
                count(&object["webhooks"]).into()
            })]
        }
        _ => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    value
        .as_object()
        .map(serde_json::Map::len)
        .or_else(|| value.as_array().map(Vec::len))
        .unwrap_or(0)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn or_none(text: String) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

fn text_or_none(value: &Value) -> Value {
    or_none(value.as_str().unwrap_or_default().to_owned())
}

fn pods() -> Vec<Column> {
    vec![
        Column::new("Ready", "string", |pod| {
            let statuses = pod_statuses(pod);
            let ready = statuses.iter().filter(|status| status["ready"] == true).count();
            format!("{ready}/{}", running_containers(pod)).into()
        }),
        Column::new("Status", "string", |pod| pod_reason(pod).into()),
        Column::new("Restarts", "string", |pod| {
            let restarts: i64 = pod_statuses(pod)
                .iter()
                .map(|status| number(&status["restartCount"]))
                .sum();
            restarts.to_string().into()
        }),
        Column::new("IP", "string", |pod| text_or_none(&pod["status"]["podIP"])).wide(),
        Column::new("Node", "string", |pod| text_or_none(&pod["spec"]["nodeName"])).wide(),
        Column::new("Nominated Node", "string", |_| "<none>".into()).wide(),
        Column::new("Readiness Gates", "string", |_| "<none>".into()).wide(),
    ]
}

/// Containers that run beside each other: ordinary ones and sidecars.
fn running_containers(pod: &Value) -> usize {
    let sidecars = pod["spec"]["initContainers"].as_array().into_iter().flatten();
    count(&pod["spec"]["containers"])
        + sidecars
            .filter(|container| container["restartPolicy"] == "Always")
            .count()
}

fn pod_statuses(pod: &Value) -> Vec<&Value> {
    let sidecars: Vec<&Value> = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|container| container["restartPolicy"] == "Always")
        .map(|container| &container["name"])
        .collect();
    let init = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let init = init.filter(|status| sidecars.contains(&&status["name"]));
    init.chain(pod["status"]["containerStatuses"].as_array().into_iter().flatten())
        .collect()
}

/// What `kubectl get pods` shows as status.
fn pod_reason(pod: &Value) -> String {
    if object::is_deleting(pod) {
        return "Terminating".into();
    }
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut reason = text(&pod["status"]["reason"])
        .or_else(|| text(&pod["status"]["phase"]))
        .unwrap_or_default();
    let init = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    for (at, status) in init.enumerate() {
        let started = status["started"] == true || status["state"]["terminated"]["exitCode"] == 0;
        if !started {
            let waiting = text(&status["state"]["waiting"]["reason"]).filter(|reason| reason != "PodInitializing");
            let total = count(&pod["spec"]["initContainers"]);
            return waiting.map_or_else(|| format!("Init:{at}/{total}"), |reason| format!("Init:{reason}"));
        }
    }
    for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
        let state = &status["state"];
        if let Some(waiting) = text(&state["waiting"]["reason"]) {
            reason = waiting;
        } else if let Some(terminated) = text(&state["terminated"]["reason"]) {
            reason = terminated;
        }
    }
    reason
}

fn services() -> Vec<Column> {
    vec![
        Column::new("Type", "string", |service| service["spec"]["type"].clone()),
        Column::new("Cluster-IP", "string", |service| {
            text_or_none(&service["spec"]["clusterIP"])
        }),
        Column::new("External-IP", "string", |service| {
            match service["spec"]["type"].as_str() {
                Some("ExternalName") => service["spec"]["externalName"].clone(),
                Some("LoadBalancer") => "<pending>".into(),
                _ => "<none>".into(),
            }
        }),
        Column::new("Port(s)", "string", |service| {
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            let ports: Vec<String> = ports
                .map(|port| {
                    let protocol = port["protocol"].as_str().unwrap_or("TCP");
                    match port["nodePort"].as_i64() {
                        Some(node) => format!("{}:{node}/{protocol}", port["port"]),
                        None => format!("{}/{protocol}", port["port"]),
                    }
                })
                .collect();
            or_none(ports.join(","))
        }),
        Column::new("Selector", "string", |service| labels(&service["spec"]["selector"])).wide(),
    ]
}

fn labels(map: &Value) -> Value {
    or_none(
        object::string_map(map)
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(","),
    )
}

fn selector(object: &Value) -> Value {
    labels(&object["spec"]["selector"]["matchLabels"])
}

fn nodes() -> Vec<Column> {
    vec![
        Column::new("Status", "string", |node| {
            let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            let ready = conditions
                .filter(|condition| condition["type"] == "Ready")
                .any(|condition| condition["status"] == "True");
            let mut text = if ready { "Ready" } else { "NotReady" }.to_owned();
            if node["spec"]["unschedulable"] == true {
                text.push_str(",SchedulingDisabled");
            }
            text.into()
        }),
        Column::new("Roles", "string", |node| {
            let labels = object::string_map(&node["metadata"]["labels"]);
            let roles: Vec<&str> = labels
                .keys()
                .filter_map(|key| key.strip_prefix("node-role.kubernetes.io/"))
                .collect();
            or_none(roles.join(","))
        }),
        Column::new("Version", "string", |node| {
            node["status"]["nodeInfo"]["kubeletVersion"].clone()
        }),
    ]
}

fn events() -> Vec<Column> {
    vec![
        Column::new("Last Seen", "string", |event| {
            let seen = ["lastTimestamp", "eventTime", "firstTimestamp"]
                .iter()
                .find_map(|field| event[*field].as_str());
            seen.map_or_else(|| "<unknown>".into(), |seen| age(seen).into())
        }),
        Column::new("Type", "string", |event| event["type"].clone()),
        Column::new("Reason", "string", |event| event["reason"].clone()),
        Column::new("Object", "string", |event| reference(&event["involvedObject"])),
        Column::new("Message", "string", |event| event["message"].clone()),
    ]
}

fn new_events() -> Vec<Column> {
    vec![
        Column::new("Last Seen", "string", |event| {
            let seen = ["deprecatedLastTimestamp", "eventTime"]
                .iter()
                .find_map(|field| event[*field].as_str());
            seen.map_or_else(|| "<unknown>".into(), |seen| age(seen).into())
        }),
        Column::new("Type", "string", |event| event["type"].clone()),
        Column::new("Reason", "string", |event| event["reason"].clone()),
        Column::new("Object", "string", |event| reference(&event["regarding"])),
        Column::new("Message", "string", |event| event["note"].clone()),
    ]
}

fn reference(object: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    format!("{kind}/{}", object["name"].as_str().unwrap_or_default()).into()
}

fn endpoints(object: &Value) -> Value {
    let mut all = Vec::new();
    for subset in object["subsets"].as_array().into_iter().flatten() {
        for address in subset["addresses"].as_array().into_iter().flatten() {
            let ports = subset["ports"].as_array().into_iter().flatten();
            all.extend(ports.map(|port| format!("{}:{}", address["ip"].as_str().unwrap_or_default(), port["port"])));
        }
    }
    let more = all.len().saturating_sub(3);
    all.truncate(3);
    let text = all.join(",");
    or_none(if more > 0 {
        format!("{text} + {more} more...")
    } else {
        text
    })
}

fn endpoint_slices() -> Vec<Column> {
    vec![
        Column::new("AddressType", "string", |slice| slice["addressType"].clone()),
        Column::new("Ports", "string", |slice| {
            let ports = slice["ports"].as_array().into_iter().flatten();
            or_none(ports.map(|port| port["port"].to_string()).collect::<Vec<_>>().join(","))
        }),
        Column::new("Endpoints", "string", |slice| {
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            or_none(
                endpoints
                    .flat_map(|endpoint| object::strings(&endpoint["addresses"]))
                    .collect::<Vec<_>>()
                    .join(","),
            )
        }),
    ]
}

fn quota(object: &Value) -> Value {
    let hard = object["spec"]["hard"].as_object().into_iter().flatten();
    let used = &object["status"]["used"];
    let parts = hard.map(|(name, limit)| {
        let used = used[name].as_str().unwrap_or("0");
        format!("{name}: {used}/{}", limit.as_str().unwrap_or_default())
    });
    or_none(parts.collect::<Vec<_>>().join(", "))
}

fn ready_of_replicas(object: &Value) -> Value {
    format!(
        "{}/{}",
        number(&object["status"]["readyReplicas"]),
        number(&object["spec"]["replicas"])
    )
    .into()
}

fn containers(object: &Value, field: &str) -> Value {
    let containers = object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten();
    containers
        .filter_map(|container| container[field].as_str())
        .collect::<Vec<_>>()
        .join(",")
        .into()
}

fn deployments() -> Vec<Column> {
    vec![
        Column::new("Ready", "string", ready_of_replicas),
        Column::new("Up-to-date", "string", |object| {
            number(&object["status"]["updatedReplicas"]).to_string().into()
        }),
        Column::new("Available", "string", |object| {
            number(&object["status"]["availableReplicas"]).to_string().into()
        }),
        Column::new("Containers", "string", |object| containers(object, "name")).wide(),
        Column::new("Images", "string", |object| containers(object, "image")).wide(),
        Column::new("Selector", "string", selector).wide(),
    ]
}

fn replica_sets() -> Vec<Column> {
    vec![
        Column::new("Desired", "integer", |object| {
            number(&object["spec"]["replicas"]).into()
        }),
        Column::new("Current", "integer", |object| {
            number(&object["status"]["replicas"]).into()
        }),
        Column::new("Ready", "integer", |object| {
            number(&object["status"]["readyReplicas"]).into()
        }),
        Column::new("Containers", "string", |object| containers(object, "name")).wide(),
        Column::new("Images", "string", |object| containers(object, "image")).wide(),
        Column::new("Selector", "string", selector).wide(),
    ]
}

fn autoscalers() -> Vec<Column> {
    vec![
        Column::new("Reference", "string", |object| {
            let target = &object["spec"]["scaleTargetRef"];
            let text = |field: &str| target[field].as_str().unwrap_or_default();
            format!("{}/{}", text("kind"), text("name")).into()
        }),
        Column::new("Targets", "string", targets),
        Column::new("MinPods", "string", |object| {
            number(&object["spec"]["minReplicas"]).to_string().into()
        }),
        Column::new("MaxPods", "string", |object| {
            number(&object["spec"]["maxReplicas"]).to_string().into()
        }),
        Column::new("Replicas", "string", |object| {
            number(&object["status"]["currentReplicas"]).to_string().into()
        }),
    ]
}

/// Each metric of an autoscaler as `NAME: CURRENT/TARGET`.
fn targets(object: &Value) -> Value {
    let current = |name: &str| {
        let mut metrics = object["status"]["currentMetrics"].as_array().into_iter().flatten();
        let metric = metrics.find(|metric| metric["resource"]["name"] == name)?;
        metric["resource"]["current"]["averageUtilization"].as_i64()
    };
    let metrics = object["spec"]["metrics"].as_array().into_iter().flatten();
    let parts = metrics.map(|metric| {
        let name = metric["resource"]["name"].as_str().unwrap_or("metric");
        let now = current(name).map_or_else(|| "<unknown>".to_owned(), |percent| format!("{percent}%"));
        match metric["resource"]["target"]["averageUtilization"].as_i64() {
            Some(percent) => format!("{name}: {now}/{percent}%"),
            None => format!("{name}: {now}"),
        }
    });
    or_none(parts.collect::<Vec<_>>().join(", "))
}

fn budgets() -> Vec<Column> {
    vec![
        Column::new("Min Available", "string", |object| {
            int_or_string(&object["spec"]["minAvailable"])
        }),
        Column::new("Max Unavailable", "string", |object| {
            int_or_string(&object["spec"]["maxUnavailable"])
        }),
        Column::new("Allowed Disruptions", "integer", |object| {
            number(&object["status"]["disruptionsAllowed"]).into()
        }),
    ]
}

fn int_or_string(value: &Value) -> Value {
    match value {
        Value::String(text) => text.clone().into(),
        Value::Null => "N/A".into(),
        other => other.to_string().into(),
    }
}
