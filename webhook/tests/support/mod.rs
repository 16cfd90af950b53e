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

/// A loopback address that no other test uses, also where two runs of the tests share the machine.
pub fn address(number: u8) -> String {
    let process = std::process::id();
    format!("127.{}.{}.{}", 100 + number, process / 254 % 254 + 1, process % 254 + 1)
}

/// Waits for something that comes by itself; how long it takes on a busy machine does not matter.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("in vain: {what}");
}
