//! How much the hot paths allocate. A count, unlike a time, is the same on every machine, so that it can be held.
//!
//! The bounds are a little above what is counted today. Whoever exceeds one has made a hot path dearer; whoever falls
//! well below lowers it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../../benches/admission/cluster.rs"]
#[expect(dead_code, reason = "made for a benchmark")]
mod cluster;
mod instructions;
#[path = "../../benches/cycle/observations.rs"]
mod observations;
#[path = "../../benches/admission/reviews.rs"]
mod reviews;

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use valence::cache::keep;
use valence::core::decision::Bounds;
use valence::core::{Advisor, Settings};
use valence::scrape::PodSummary;
use valence::scrape::exposition::{Filter, Limits, parse};
use valence_webhook::{Admission, Endpoint, Metrics, Settings as AdmissionSettings, notices};

const EXPOSITION: &[u8] = include_bytes!("../../webhook/tests/data/envoy.prometheus");

fn at_most(what: &str, counted: &AllocationInfo, allocations: u64, bytes: u64) {
    println!(
        "{what}: {} allocations, {} bytes",
        counted.count_total, counted.bytes_total
    );
    assert!(
        counted.count_total <= allocations,
        "{what}: {} allocations, at most {allocations}",
        counted.count_total
    );
    assert!(
        counted.bytes_total <= bytes,
        "{what}: {} bytes, at most {bytes}",
        counted.bytes_total
    );
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(vec![1_u8; 100]))).count_total, 1);
}

#[test]
fn an_exposition_is_parsed_without_allocating() {
    let filter = Filter::families(&["envoy_cluster_upstream_rq_time"]).and_prefixes(&["envoy_http_"]);
    let mut sum = 0.0;
    let mut samples = 0;
    let counted = measure(|| {
        let summary = parse(EXPOSITION, &filter, &Limits::default(), |sample| {
            sum += sample.value + sample.labels.raw("le").map_or(0.0, |bound| bound.len() as f64);
        });
        samples = summary.unwrap().samples;
    });
    assert!(samples > 50 && sum > 0.0, "{samples} samples were read");
    at_most("exposition", &counted, 0, 0);
}

#[test]
fn a_review_is_answered_with_few_allocations() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let plans = cluster::filled(100);
    let admission = Admission::new(plans, AdmissionSettings::default(), metrics, Arc::new(notices::Silent));
    let counted = |review: &reviews::Review| {
        let mut changed = false;
        let counted = measure(|| {
            let answer = admission.answer(Endpoint::Pods, &review.body).unwrap();
            changed = answer.body.windows(9).any(|window| window == b"JSONPatch");
        });
        assert!(changed, "the pod of {} is changed", review.name);
        counted
    };
    for (number, review) in reviews::all().iter().enumerate() {
        // What is made once for all pods of a kind is not part of a review's cost.
        for _ in 0..2 {
            counted(review);
        }
        let like = reviews::Review {
            name: review.name,
            body: review.again(1),
        };
        at_most(&format!("review of {}", review.name), &counted(&like), 20, 15_000);
        let other = &reviews::of(7 + number)[number];
        at_most(
            &format!("the first of a ReplicaSet, {}", review.name),
            &counted(other),
            110,
            50_000,
        );
    }
}

/// A thousand Deployments have room for their answers, however large the reviews of their pods are.
#[test]
fn an_answer_that_is_kept_takes_little() {
    const DEPLOYMENTS: usize = 100;
    let plans = cluster::filled(DEPLOYMENTS);
    for size in 0..reviews::all().len() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let admission = Admission::new(
            plans.clone(),
            AdmissionSettings::default(),
            metrics,
            Arc::new(notices::Silent),
        );
        let reviews: Vec<_> = (0..DEPLOYMENTS)
            .map(|index| reviews::of(index).swap_remove(size))
            .collect();
        let ask = || {
            for review in &reviews {
                drop(admission.answer(Endpoint::Pods, &review.body).unwrap());
            }
        };
        ask();
        let kept = measure(ask).bytes_current / DEPLOYMENTS as i64;
        println!("{kept} bytes are kept of a review of {}", reviews[0].name);
        assert!((1_000..=9_000).contains(&kept), "{kept} bytes");
    }
}

/// Reviews of the largest size that is read, made to become as much as possible in memory: what they are, and their text.
fn hostile() -> Vec<(&'static str, String)> {
    const SPEC: &str = r#""spec":{"containers":[{"name":"app","ports":[{"containerPort":8080}]}]"#;
    let many = |before: &str, element: &str, after: &str| {
        let head = r#"{"apiVersion":"admission.k8s.io/v1","request":{"uid":"u","operation":"CREATE","namespace":"team-42","object":{"#;
        let room = valence_webhook::MOST_BODY_BYTES - head.len() - before.len() - after.len() - 8;
        let elements = element.repeat(room / element.len());
        let elements = elements.trim_end_matches(',');
        format!("{head}{before}{elements}{after}}}}}}}")
    };
    let list = |list: &str| {
        (
            many(&format!(r#""metadata":{{"{list}":["#), "{},", &format!("]}},{SPEC}}}")),
            many(&format!(r#""spec":{{"{list}":["#), "{},", "]}"),
            many(&format!(r#""spec":{{"containers":[{{"{list}":["#), "{},", "]}]}"),
        )
    };
    let pairs = |map: &str| {
        many(
            &format!(r#""metadata":{{"{map}":{{"#),
            r#""":"","#,
            &format!("}}}},{SPEC}}}"),
        )
    };
    let live = r#""metadata":{"name":"service-42","labels":{"slo":"web"},"annotations":{"valence.io/optimizer.configure":"true","valence.io/original":"["#;
    vec![
        ("managed fields", list("managedFields").0),
        ("owners", list("ownerReferences").0),
        ("containers", list("containers").1),
        ("init containers", list("initContainers").1),
        ("ports of a Service", list("ports").1),
        ("metrics", list("metrics").1),
        ("ports of a container", list("ports").2),
        ("resize policies", list("resizePolicy").2),
        ("labels", pairs("labels")),
        ("annotations", pairs("annotations")),
        (
            "ports of many containers",
            many(r#""spec":{"containers":["#, r#"{"ports":[{},{}]},"#, "]}"),
        ),
        (
            "containers that serde_json reads",
            many(r#""spec":{"hostNetwork":0,"containers":["#, "{},", "]}"),
        ),
        (
            "containers under an escaped key",
            many(r#""spec":{"\u0063ontainers":["#, "{},", "]}"),
        ),
        ("a record", many(live, "0,", &format!("0]\"}}}},{SPEC}}}"))),
    ]
}

/// Whoever reaches the port may send as much as is read, and must not get much more memory for it. What is not looked
/// through is admitted as it is, and the caller is told.
#[test]
fn a_hostile_review_takes_no_more_than_some_times_its_size() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let admission = Admission::new(
        cluster::filled(100),
        AdmissionSettings::default(),
        metrics,
        Arc::new(notices::Silent),
    );
    for (what, review) in hostile() {
        let length = review.len() as u64;
        assert!((3 << 20..=4 << 20).contains(&length), "{what}: {length} bytes");
        let (mut most, mut told) = (0, false);
        for endpoint in Endpoint::ALL {
            let counted = measure(|| {
                let answer = admission.answer(endpoint, review.as_bytes()).unwrap();
                let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(answer["response"]["allowed"], true, "{what}");
                told |= answer["response"]["warnings"][0]
                    .to_string()
                    .contains("more than 10000 elements");
            });
            most = most.max(counted.bytes_max);
        }
        assert!(told || what == "a record", "{what}");
        println!("{what}: at most {:.1} times its size", most as f64 / length as f64);
        assert!(most <= 8 * length, "{what}: {most} bytes for {length}");
    }
}

/// Whoever reaches the port can ask about pods of names without end, each as large as what is kept may be.
#[test]
fn what_is_remembered_of_reviews_is_bounded() {
    const REVIEWS: usize = 1000;
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let plans = cluster::filled(100);
    let admission = Admission::new(plans, AdmissionSettings::default(), metrics, Arc::new(notices::Silent));
    let containers = "{},".repeat(5_000);
    let text = "x".repeat(30_000);
    let review = |number: usize| {
        let (many, long) = if number.is_multiple_of(2) {
            (&*containers, "")
        } else {
            ("", &*text)
        };
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","operation":"CREATE","namespace":"team-42","object":{{
            "metadata":{{"generateName":"made-up-{number}-1-","labels":{{"slo":"web","pod-template-hash":"1"}},"annotations":{{"valence.io/injection":"enabled","note":"{long}"}},
                "ownerReferences":[{{"kind":"ReplicaSet","name":"service-42-7c9d8b6f5d","controller":true}}]}},
            "spec":{{"containers":[{many}{{"name":"app","ports":[{{"name":"http","containerPort":8080}}]}}]}}}}}}}}"#
        )
    };
    let counted = measure(|| {
        for number in 0..REVIEWS {
            let review = review(number);
            for _ in 0..3 {
                drop(admission.answer(Endpoint::Pods, review.as_bytes()).unwrap());
            }
        }
    });
    println!("{} bytes stay of {REVIEWS} reviews", counted.bytes_current);
    assert!(counted.bytes_current >= 8 << 20, "{} bytes stay", counted.bytes_current);
    assert!(
        counted.bytes_current <= 10 << 20,
        "{} bytes stay",
        counted.bytes_current
    );
}

/// Whether a Deployment's template changes is seen without a tree of all that is in it.
#[test]
fn templates_are_compared_as_they_are_written() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let plans = cluster::filled(100);
    let admission = Admission::new(plans, AdmissionSettings::default(), metrics, Arc::new(notices::Silent));
    let tolerations = r#"{"key":"a"},"#.repeat(100_000);
    let deployment = |more: &str| {
        format!(
            r#"{{"metadata":{{"name":"service-42","labels":{{"slo":"web"}},"annotations":{{"valence.io/optimizer.configure":"true"}}}},
            "spec":{{"replicas":9,"template":{{"spec":{{"containers":[{{"name":"app","ports":[{{"name":"http","containerPort":8080}}]}}],
            "tolerations":[{tolerations}{{"key":"{more}"}}]}}}}}}}}"#
        )
    };
    for (new, changes) in [("same", false), ("other", true)] {
        let review = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","operation":"UPDATE","namespace":"team-42","name":"service-42",
            "object":{},"oldObject":{}}}}}"#,
            deployment(new),
            deployment("same")
        );
        let mut patched = false;
        let counted = measure(|| {
            let answer = admission.answer(Endpoint::Deployments, review.as_bytes()).unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            patched = !answer["response"]["patch"].is_null();
        });
        // A change of the template starts a rollout, during which replicas are not taken away.
        assert_eq!(patched, !changes, "the template is {new}");
        at_most(&format!("a template that is {new}"), &counted, 300, 40_000);
    }
}

/// A review of a Service in a namespace that holds this many pods which it does not select.
fn review_of_a_service(foreign: usize) -> AllocationInfo {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let plans = cluster::filled(100);
    let text = realistic_pod().to_string();
    for number in 0..foreign {
        let pod = serde_json::from_str(&text.replace("00000", &format!("{number:05}"))).unwrap();
        plans
            .pods
            .put("team-42", &format!("foreign-{number}"), keep::pod(pod, None));
    }
    let admission = Admission::new(plans, AdmissionSettings::default(), metrics, Arc::new(notices::Silent));
    let service = cluster::service("service-42");
    let review = serde_json::json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "CREATE", "namespace": "team-42", "name": "service-42", "object": service, "oldObject": null}});
    let review = review.to_string().into_bytes();
    drop(admission.answer(Endpoint::Services, &review).unwrap());
    measure(|| {
        let answer = admission.answer(Endpoint::Services, &review).unwrap();
        assert!(answer.body.windows(9).any(|window| window == b"JSONPatch"));
    })
}

#[test]
fn a_review_of_a_service_takes_no_notice_of_foreign_pods() {
    let alone = review_of_a_service(0);
    let crowded = review_of_a_service(1_000);
    at_most("review of a Service", &alone, 80, 24_000);
    at_most(
        "among 1,000 foreign pods",
        &crowded,
        alone.count_total,
        alone.bytes_total,
    );
}

#[test]
fn a_decision_allocates_little() {
    let mut application = observations::Application::new(1, 10);
    let mut advisor = Advisor::new(vec![application.objective()], Bounds::default(), Settings::default());
    let mut now = 1_800_000_000.0;
    for _ in 0..240 {
        now += 15.0;
        advisor.observe(&application.observe(now, 15.0));
        application.follow(&advisor.decide(now));
    }
    now += 15.0;
    let observation = application.observe(now, 15.0);
    let observed = measure(|| advisor.observe(&observation));
    at_most("observe", &observed, 40, 12_000);
    let decided = measure(|| drop(advisor.decide(now)));
    at_most("decide", &decided, 150, 90_000);
}

/// A pod as clusters have them: a mesh's annotations, probes, projected volumes, managed fields. Some 10 KB of JSON.
fn realistic_pod() -> serde_json::Value {
    use serde_json::json;
    let (number, application) = (0_usize, 7);
    let (name, hash) = (
        format!("checkout-service-{application}"),
        format!("{:08x}", 0x5bd1_e995_u64 * application as u64 % 0xffff_ffff),
    );
    let resources = json!({"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}});
    let probe = json!({"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3});
    let container = |name: &str, image: &str, ports: serde_json::Value| {
        let environment: Vec<_> = (0..15).map(|variable| json!({"name": format!("SETTING_{variable}"), "value": format!("https://settings.example.com/{variable}")})).collect();
        json!({"name": name, "image": image, "ports": ports, "env": environment, "resources": resources, "livenessProbe": probe, "readinessProbe": probe,
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true},
            "volumeMounts": [{"name": "kube-api-access", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]})
    };
    let status = |name: &str, image: &str| {
        json!({"name": name, "ready": true, "started": true, "restartCount": 0, "image": image,
        "imageID": format!("{image}@sha256:2bb5a1c3f8a9d7e6f5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2"),
        "containerID": "containerd://2bb5a1c3f8a9d7e6f5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2",
        "state": {"running": {"startedAt": "2026-11-24T00:00:05Z"}}, "resources": resources, "allocatedResources": {"cpu": "250m", "memory": "256Mi"}})
    };
    let conditions: Vec<_> = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].iter()
        .map(|kind| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": "2026-11-24T00:00:10Z"})).collect();
    let managed: Vec<_> = ["kube-controller-manager", "kubelet"].iter().map(|manager| json!({"manager": manager, "operation": "Update", "apiVersion": "v1",
        "time": "2026-11-24T00:00:10Z", "fieldsType": "FieldsV1", "fieldsV1": (0..20).map(|field| (format!("f:field-{field}"), json!({"f:inner": {}, "f:other": {}}))).collect::<serde_json::Map<_, _>>()})).collect();
    let (image, envoy) = (
        "registry.example.com/shop/checkout:2026.11.24-1a2b3c4d",
        "envoyproxy/envoy:v1.38.3",
    );
    json!({
        "metadata": {"name": format!("{name}-{hash}-{number:05}"), "namespace": format!("team-{}", number % 50), "uid": format!("6f9619ff-8b86-d011-b42d-{number:012}"),
            "resourceVersion": format!("{}", 1_000_000 + number), "generateName": format!("{name}-{hash}-"), "creationTimestamp": "2026-11-24T00:00:00Z", "generation": 1,
            "labels": {"app": name, "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/version": "2026.11.24", "team": "checkout", "pod-template-hash": hash},
            "annotations": {"valence.io/injected": "{\"port\":8080,\"name\":\"http\",\"form\":\"native\"}", "prometheus.io/scrape": "true", "prometheus.io/port": "8181",
                "example.com/config-hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "kubernetes.io/psp": "restricted", "cni.projectcalico.org/podIPs": "10.0.0.1/32"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{hash}"), "uid": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "controller": true, "blockOwnerDeletion": true}],
            "managedFields": managed},
        "spec": {"containers": [container("application", image, json!([{"name": "http", "containerPort": 8080, "protocol": "TCP"}, {"name": "admin", "containerPort": 9090, "protocol": "TCP"}]))],
            "initContainers": [{"name": "migrate", "image": image, "command": ["/migrate"], "resources": {}},
                {"name": "envoy", "image": envoy, "restartPolicy": "Always", "args": ["--config-yaml", "x".repeat(2500)], "resources": resources,
                    "ports": [{"name": "http-envoy", "containerPort": 8081, "protocol": "TCP"}, {"name": "metrics", "containerPort": 8181, "protocol": "TCP"}]}],
            "nodeName": format!("ip-10-0-{}-17.eu-central-1.compute.internal", number % 200), "serviceAccountName": "checkout", "serviceAccount": "checkout",
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "securityContext": {"runAsNonRoot": true}, "enableServiceLinks": true,
            "priority": 0, "preemptionPolicy": "PreemptLowerPriority", "terminationGracePeriodSeconds": 30,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
            "volumes": [{"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}]},
        "status": {"phase": "Running", "hostIP": "10.0.1.17", "podIP": format!("10.{}.{}.{}", number / 65536, number / 256 % 256, number % 256), "podIPs": [{"ip": "10.0.0.1"}], "qosClass": "Burstable",
            "startTime": "2026-11-24T00:00:00Z", "conditions": conditions, "containerStatuses": [status("application", image)], "initContainerStatuses": [status("envoy", envoy)]},
    })
}

#[test]
fn a_cached_pod_takes_little_memory_and_a_relist_no_more() {
    const PODS: usize = 10_000;
    let text = realistic_pod().to_string();
    assert!((8_000..12_000).contains(&text.len()), "{} bytes of JSON", text.len());
    let index = valence::cache::index::Index::default();
    let list = || -> Vec<_> {
        let listed = (0..PODS).map(|number| {
            let text = text
                .replace("00000", &format!("{number:05}"))
                .replace("team-0", &format!("team-{}", number % 50));
            let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_str(&text).unwrap();
            let (namespace, name) = (
                pod.metadata.namespace.clone().unwrap(),
                pod.metadata.name.clone().unwrap(),
            );
            let before = index.get(&namespace, &name);
            let kept = valence::cache::follow::kept(keep::pod, pod, before);
            (namespace, name, kept)
        });
        listed.collect()
    };
    let first = measure(|| index.replace_shared(list()));
    let held = first.bytes_current / PODS as i64;
    println!("{held} bytes a cached pod, of {} of JSON", text.len());
    let unpacked = measure(|| std::mem::forget(index.all()[0].unpack().map(Box::new)));
    println!("{} bytes of one that is unpacked", unpacked.bytes_current);
    let packed = index.all();
    let mut summaries = Vec::with_capacity(PODS);
    let summed_up = measure(|| summaries.extend(packed.iter().cloned().filter_map(PodSummary::of)));
    let summary = summed_up.bytes_current / PODS as i64 + size_of::<PodSummary>() as i64;
    println!("{summary} bytes of its summary");
    assert_eq!(summaries.len(), PODS);
    assert!(summary <= 850, "{summary} bytes of a pod's summary");
    let unpacked_meanwhile = summed_up.bytes_max as i64 - summed_up.bytes_current;
    assert!(
        unpacked_meanwhile <= 40_000,
        "{unpacked_meanwhile} bytes of pods that are unpacked at a time"
    );
    drop((summaries, packed));
    let again = measure(|| index.replace_shared(list()));
    println!(
        "a relist adds at most {} bytes a pod, and {} stay",
        again.bytes_max / PODS as u64,
        again.bytes_current / PODS as i64
    );
    assert!(held <= 3_000, "{held} bytes a cached pod");
    assert!(
        again.bytes_max / PODS as u64 <= 600,
        "{} bytes a pod while it is listed again",
        again.bytes_max / PODS as u64
    );
    assert!(again.bytes_current.abs() / PODS as i64 <= 100);
}
