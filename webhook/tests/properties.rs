//! What holds for any object, also for those that nobody would write.
#![allow(clippy::unwrap_used)]

mod support;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use support::case::{Asked, Case};
use support::strict;
use valence_webhook::Endpoint;
use valence_webhook::amounts::{Amounts, Kind, quality_of_service};

fn ask(endpoint: &str, cluster: &Value, object: &Value, old: Option<&Value>) -> (Asked, support::case::Answered) {
    let case = json!({"about": "", "endpoint": endpoint, "cluster": cluster, "object": object, "oldObject": old});
    let mut asked = Asked::new(serde_json::from_value::<Case>(case).unwrap());
    let answered = asked.ask(object);
    (asked, answered)
}

/// Any JSON, with keys that admission looks for among its keys.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(vec![
            "http",
            "envoy",
            "8080",
            "1Gi",
            "250m",
            "-",
            "$(POD_IP)",
            "\"}",
            "~/"
        ])
        .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let keys = select(vec![
        "metadata",
        "spec",
        "containers",
        "initContainers",
        "name",
        "ports",
        "containerPort",
        "resources",
        "requests",
        "limits",
        "cpu",
        "memory",
        "annotations",
        "labels",
        "valence.io/injection",
        "valence.io/original",
        "replicas",
        "template",
        "selector",
        "targetPort",
        "port",
        "metrics",
        "minReplicas",
        "scaleTargetRef",
        "livenessProbe",
        "httpGet",
        "lifecycle",
        "ownerReferences",
        "a/b~c",
    ]);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((keys.clone(), inner), 0..6).prop_map(|pairs| {
                Value::Object(
                    pairs
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

fn quantity_of(kind: &'static str) -> impl Strategy<Value = Option<&'static str>> {
    let cpu = vec![None, Some("50m"), Some("250m"), Some("0.5"), Some("1"), Some("2")];
    let memory = vec![None, Some("64Mi"), Some("128M"), Some("512Mi"), Some("1Gi"), Some("2G")];
    select(if kind == "cpu" { cpu } else { memory })
}

/// Requests and limits that the API server would take: no request above its limit.
fn resources() -> impl Strategy<Value = Value> {
    let pair = |kind: &'static str, parse: Kind| {
        (quantity_of(kind), quantity_of(kind)).prop_map(move |(request, limit)| {
            let amount = |text: Option<&str>| text.and_then(|text| parse.amount(text));
            let swapped = limit.is_some() && amount(request) > amount(limit);
            if swapped { (limit, request) } else { (request, limit) }
        })
    };
    (pair("cpu", Kind::Cpu), pair("memory", Kind::Memory)).prop_map(|(cpu, memory)| {
        let mut resources = json!({});
        for (kind, (request, limit)) in [("cpu", cpu), ("memory", memory)] {
            if let Some(request) = request {
                resources["requests"][kind] = json!(request);
            }
            if let Some(limit) = limit {
                resources["limits"][kind] = json!(limit);
            }
        }
        resources
    })
}

fn container() -> impl Strategy<Value = Value> {
    let port = (
        select(vec![80, 3000, 3306, 8080, 9000, 9090]),
        select(vec!["", "http", "api", "mysql", "metrics", "grpc"]),
    );
    let probe = select(vec![json!(8080), json!("http"), json!("api"), json!(9090)]);
    (
        proptest::collection::vec(port, 0..4),
        resources(),
        proptest::option::of(probe),
    )
        .prop_map(|(ports, resources, probe)| {
            let mut names = std::collections::BTreeSet::new();
            let ports: Vec<_> = ports
                .into_iter()
                .map(|(number, name)| {
                    let mut port = json!({"containerPort": number});
                    if !name.is_empty() && names.insert(name) {
                        port["name"] = json!(name);
                    }
                    port
                })
                .collect();
            let mut container = json!({"image": "web:1", "ports": ports, "resources": resources});
            if let Some(port) = probe {
                container["readinessProbe"] = json!({"httpGet": {"path": "/", "port": port}});
            }
            container
        })
}

fn pod() -> impl Strategy<Value = Value> {
    let annotation = select(vec![None, Some("enabled"), Some("disabled")]);
    (proptest::collection::vec(container(), 1..4), annotation, any::<bool>()).prop_map(|(mut containers, wish, init)| {
        for (position, container) in containers.iter_mut().enumerate() {
            container["name"] = json!(format!("c{position}"));
        }
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": "web-5d4f8c7b9-", "namespace": "shop", "labels": {"app": "web", "pod-template-hash": "5d4f8c7b9"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "1", "controller": true}],
            },
            "spec": {"containers": containers},
        });
        if let Some(wish) = wish {
            pod["metadata"]["annotations"] = json!({"valence.io/injection": wish});
        }
        if init {
            pod["spec"]["initContainers"] = json!([{"name": "init", "image": "init:1", "resources": {"limits": {"cpu": "1", "memory": "64Mi"}}}]);
        }
        pod
    })
}

fn planned() -> impl Strategy<Value = Value> {
    (quantity_of("cpu"), quantity_of("cpu"), quantity_of("memory"), quantity_of("memory")).prop_map(
        |(cpu_request, cpu_limit, memory_request, memory_limit)| {
            json!({"cpuRequest": cpu_request, "cpuLimit": cpu_limit, "memoryRequest": memory_request, "memoryLimit": memory_limit})
        },
    )
}

/// A namespace with a live Deployment, its plan and sometimes limits.
fn cluster() -> impl Strategy<Value = Value> {
    let range = select(vec![
        Value::Null,
        json!({"type": "Container", "min": {"cpu": "100m", "memory": "100Mi"}, "max": {"cpu": "1", "memory": "1Gi"}}),
        json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2", "memory": "2"}}),
        json!({"type": "Pod", "max": {"cpu": "3", "memory": "3Gi"}}),
    ]);
    let quota = select(vec![
        Value::Null,
        json!({"requests.cpu": "2", "requests.memory": "2Gi"}),
        json!({"limits.cpu": "4", "limits.memory": "4Gi", "requests.cpu": "3"}),
    ]);
    (planned(), planned(), planned(), range, quota).prop_map(|(first, second, sidecar, range, quota)| {
        let mut cluster = json!({
            "namespaceLabels": {"valence.io/injection": "enabled"},
            "objectives": [{"slo": "s", "selector": {"slo": "s"}, "percentile": 99, "responseTimeSeconds": 0.1}],
            "deployments": [{
                "metadata": {"name": "web", "namespace": "shop", "labels": {"slo": "s"}, "annotations": {"valence.io/optimizer.configure": "true"}},
                "spec": {"selector": {}, "template": {}},
            }],
            "plans": {"web": {"replicas": 3, "containers": {"c0": first, "c2": second}, "sidecar": sidecar}},
        });
        if !range.is_null() {
            cluster["limitRanges"] = json!([{"metadata": {"name": "range"}, "spec": {"limits": [range]}}]);
        }
        if !quota.is_null() {
            cluster["resourceQuotas"] = json!([{"metadata": {"name": "quota"}, "spec": {"hard": quota}}]);
        }
        cluster
    })
}

fn amounts(pod: &Value) -> Vec<Amounts> {
    let containers =
        ["containers", "initContainers"].map(|field| pod["spec"][field].as_array().cloned().unwrap_or_default());
    let read = |container: Value| {
        let text = container["resources"].to_string();
        if text == "null" {
            Amounts::default()
        } else {
            Amounts::parse(&text).unwrap()
        }
    };
    containers.into_iter().flatten().map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Nothing that can be said about any object keeps it from being admitted.
    #[test]
    fn any_object_is_admitted(object in anything(), old in proptest::option::of(anything())) {
        let cluster = json!({"namespaceLabels": {"valence.io/injection": "enabled"}});
        for endpoint in Endpoint::ALL {
            ask(endpoint.label(), &cluster, &object, old.as_ref());
        }
    }

    /// A new pod is admitted once: the second time there is nothing to add, and what came out is a pod.
    #[test]
    fn pods_settle_at_once(pod in pod(), cluster in cluster()) {
        let (mut asked, once) = ask("pods", &cluster, &pod, None);
        strict::deserialises(Endpoint::Pods, &once.object, "");
        let twice = asked.ask(&once.object);
        prop_assert_eq!(twice.patch, json!([]), "after {}", once.patch);
        for amounts in amounts(&once.object) {
            for kind in Kind::ALL {
                let pair = amounts.pair(kind);
                prop_assert!(pair.limit.is_none_or(|limit| pair.request.unwrap_or(0) <= limit), "{:?}", pair);
            }
        }
    }

    /// A running pod keeps its class whatever the plan says, and settles too.
    #[test]
    fn running_pods_keep_their_class(pod in pod(), cluster in cluster()) {
        let class = quality_of_service(&amounts(&pod));
        let (mut asked, once) = ask("pods/resize", &cluster, &pod, Some(&pod));
        prop_assert_eq!(quality_of_service(&amounts(&once.object)), class);
        let twice = asked.ask(&once.object);
        prop_assert_eq!(twice.patch, json!([]), "after {}", once.patch);
    }

    /// A quota that had room for the pod as it came has room for it as it goes.
    #[test]
    fn quotas_are_respected(pod in pod(), cluster in cluster()) {
        let (_, once) = ask("pods", &cluster, &pod, None);
        let hard = &cluster["resourceQuotas"][0]["spec"]["hard"];
        for kind in Kind::ALL {
            for (field, limits) in [("requests", false), ("limits", true)] {
                let Some(hard) = hard[format!("{field}.{}", kind.name())].as_str().and_then(|hard| kind.amount(hard)) else {
                    continue;
                };
                let sum = |pod: &Value| -> u64 {
                    let restarting = pod["spec"]["initContainers"].as_array().into_iter().flatten();
                    let sidecars = restarting.filter(|container| container["restartPolicy"] == "Always").cloned();
                    let all = pod["spec"]["containers"].as_array().cloned().unwrap_or_default().into_iter().chain(sidecars);
                    let amounts = all.map(|container| Amounts::parse(&container["resources"].to_string()).unwrap());
                    amounts.filter_map(|amounts| if limits { amounts.pair(kind).limit } else { amounts.pair(kind).request }).sum()
                };
                prop_assert!(sum(&once.object) <= hard.max(sum(&pod)), "{} {field}: {}", kind.name(), once.patch);
            }
        }
    }

    /// Bytes that are no review are refused, not feared.
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let case = json!({"about": "", "endpoint": "pods", "object": {}});
        let asked = Asked::new(serde_json::from_value::<Case>(case).unwrap());
        for endpoint in Endpoint::ALL {
            prop_assert!(asked.answer(endpoint, &bytes).is_err());
        }
    }
}
