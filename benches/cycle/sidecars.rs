//! A round of scrapes against real sockets, with the operator's own scraper.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::client::Body;
use serde_json::json;
use tokio::net::TcpListener;
use valence::cache::pods::PackedPod;
use valence::report::metrics::ScrapeMetrics;
use valence::scrape::{PodSummary, Scraper, Subject};

use crate::process;

/// What a sidecar with our bootstrap exposes.
const EXPOSITION: &[u8] = include_bytes!("../../webhook/tests/data/envoy.prometheus");
/// Loopback addresses that stand for the pods'.
const ADDRESSES: u8 = 200;
const ROUNDS: usize = 5;

/// Scrapes everything a few times and tells the CPU time and the memory.
pub fn scrapes(deployments: usize, pods: usize) {
    serve();
    let before = process::resident_megabytes();
    let subjects: Vec<_> = (0..deployments).map(|index| subject(index, pods)).collect();
    let metrics = ScrapeMetrics::new(&prometheus::Registry::new()).expect("metrics");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut scraper = runtime.block_on(async { Scraper::new(client(pods), Duration::from_secs(15), metrics) });
    let mut cpu = Vec::new();
    let mut wall = Vec::new();
    for round in 0..ROUNDS {
        let (begun, used) = (Instant::now(), process::thread_cpu_time());
        let found = runtime.block_on(scraper.round(&subjects, || 1_800_000_000.0 + 15.0 * round as f64));
        let failures: usize = found.failures.iter().map(Vec::len).sum();
        assert_eq!(failures, 0, "{:?}", found.failures.iter().flatten().next());
        wall.push(begun.elapsed());
        cpu.push(process::thread_cpu_time().saturating_sub(used));
    }
    let (cpu, wall) = (process::median(&mut cpu), process::median(&mut wall));
    let targets = deployments * pods;
    println!(
        "{:<34} {:>10.2} s of one core (must be <= 15)",
        "CPU time",
        cpu.as_secs_f64()
    );
    println!(
        "{:<34} {:>10.1} µs",
        "CPU time of one scrape",
        cpu.as_secs_f64() * 1e6 / targets as f64
    );
    println!(
        "{:<34} {:>10.2} s, the sidecars' side on the same machine",
        "wall time",
        wall.as_secs_f64()
    );
    println!(
        "{:<34} {:>10.1} MB with {targets} pods",
        "resident",
        process::resident_megabytes() - before
    );
    println!(
        "{:<34} {:>10.1} MB, everything in this process (must be <= 200)",
        "peak resident",
        process::peak_resident_megabytes()
    );
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 211, 77, (index % usize::from(ADDRESSES)) as u8 + 1)
}

fn subject(index: usize, pods: usize) -> Subject {
    let name = format!("service-{index}");
    Subject {
        namespace: format!("team-{}", index % 100),
        template: "7c9d8b6f5d".to_owned(),
        software: BTreeMap::new(),
        desired_replicas: pods as u32,
        pods: (0..pods)
            .filter_map(|pod_index| PodSummary::of(Arc::new(PackedPod::of(pod(&name, index, pod_index, pods)))))
            .map(Arc::new)
            .collect(),
        name,
    }
}

fn pod(name: &str, index: usize, pod_index: usize, pods: usize) -> Pod {
    let own = format!("{name}-7c9d8b6f5d-{pod_index:05}");
    let resources = json!({"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}});
    let pod = json!({
        "metadata": {"name": own, "uid": own, "labels": {"pod-template-hash": "7c9d8b6f5d"},
            "creationTimestamp": "2026-11-24T00:00:00Z"},
        "spec": {"containers": [{"name": "app", "resources": resources}, {"name": "envoy", "resources": resources}]},
        "status": {"phase": "Running", "podIP": address(index * pods + pod_index).to_string(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T00:00:10Z"}]},
    });
    serde_json::from_value(pod).expect("a pod")
}

/// An API server that knows the resource metrics of every namespace.
fn client(pods: usize) -> kube::Client {
    let service = tower::service_fn(move |request: Request<Body>| async move {
        let namespace = request
            .uri()
            .path()
            .split('/')
            .rev()
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        let number: usize = namespace.trim_start_matches("team-").parse().unwrap_or(0);
        let names = (number..1000)
            .step_by(100)
            .flat_map(|index| (0..pods).map(move |pod| format!("service-{index}-7c9d8b6f5d-{pod:05}")));
        let usage = json!({"cpu": "123456789n", "memory": "180000Ki"});
        let items = names.map(|name| {
            json!({"metadata": {"name": name, "namespace": namespace},
            "containers": [{"name": "app", "usage": usage}, {"name": "envoy", "usage": usage}]})
        });
        let list = json!({"kind": "PodMetricsList", "items": items.collect::<Vec<_>>()});
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(list.to_string()))))
    });
    kube::Client::new(service, "default")
}

/// Serves the exposition on every address, from a thread of its own.
fn serve() {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            for index in 0..usize::from(ADDRESSES) {
                let listener = TcpListener::bind((address(index), 8181))
                    .await
                    .expect("a loopback address");
                tokio::spawn(accept(listener));
            }
            sender.send(()).expect("whoever started this");
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("the sidecars listen");
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let answer = hyper::service::service_fn(async |_| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(EXPOSITION))))
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
