//! What the tests of this crate share.
#![allow(dead_code, clippy::unwrap_used)]

pub mod case;
pub mod cluster;
pub mod envoy;
pub mod strict;
pub mod upstream;

/// The value of the first line with a name and a piece of its labels.
pub fn value(exposition: &str, name: &str, label: &str) -> Option<f64> {
    let line = exposition
        .lines()
        .find(|line| line.split('{').next() == Some(name) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The sidecar that is injected in front of a port.
pub fn sidecar(port: u16, objectives_seconds: &[f64]) -> serde_json::Value {
    let pod = serde_json::json!({
        "kind": "Pod", "metadata": {},
        "spec": {"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": port}]}]},
    });
    let objective = |seconds: &f64| valence_webhook::LatencyObjective {
        slo: "slo".to_owned(),
        percentile: 99,
        response_time_seconds: *seconds,
    };
    let objectives: Vec<_> = objectives_seconds.iter().map(objective).collect();
    let injected =
        valence_webhook::offline::inject(&pod, &objectives, &[], &valence_webhook::Settings::default()).unwrap();
    injected.object["spec"]["initContainers"][0].clone()
}
