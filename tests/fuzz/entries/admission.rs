//! An AdmissionReview: never a panic; an answer allows, is of the same uid, and its patch fits the object and settles.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use valence::cache::{Cluster, keep};
use valence_webhook::{Admission, Endpoint, Metrics, Settings, notices};

static ADMISSION: LazyLock<Admission> = LazyLock::new(|| {
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics register once");
    Admission::new(
        Arc::new(cluster()),
        Settings::default(),
        metrics,
        Arc::new(notices::Silent),
    )
});

/// Asks every endpoint.
pub fn run(bytes: &[u8]) {
    patches(bytes);
}

/// Asks every endpoint; how many of them answer with a patch.
pub fn patches(bytes: &[u8]) -> usize {
    let mut patches = 0;
    for endpoint in Endpoint::ALL {
        let Ok(answer) = ADMISSION.answer(endpoint, bytes) else {
            continue;
        };
        let answer: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
        let response = &answer["response"];
        assert_eq!(response["allowed"], json!(true), "admission is never the reason");
        if let Some(patch) = response["patch"].as_str() {
            check_patch(endpoint, bytes, patch);
            patches += 1;
        }
    }
    patches
}

fn check_patch(endpoint: Endpoint, bytes: &[u8], patch: &str) {
    let patch: json_patch::Patch =
        serde_json::from_slice(&STANDARD.decode(patch).expect("a patch is base64")).expect("a patch is a JSON patch");
    // Duplicate keys may be read in two ways; then there is no single object to try the patch on.
    let Ok(mut review) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    if review.to_string().len() > bytes.len() * 2 {
        return;
    }
    json_patch::patch(&mut review["request"]["object"], &patch).expect("a patch fits the object that it answers");
    let again = ADMISSION
        .answer(endpoint, review.to_string().as_bytes())
        .expect("a patched object is a review too");
    let again: Value = serde_json::from_slice(&again.body).expect("an answer is JSON");
    assert_eq!(
        again["response"]["patch"],
        Value::Null,
        "a second admission changes nothing"
    );
}

/// A namespace with injection, a live Deployment `web` with a plan, its ReplicaSet and its Service.
fn cluster() -> Cluster {
    let cluster = Cluster::default();
    let injected = [("valence.io/injection".to_owned(), "enabled".to_owned())];
    cluster.namespaces.put("", "shop", injected.into());
    let labels = json!({"app": "web", "slo": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app"}]}});
    let deployment = json!({"metadata": {"name": "web", "uid": "u", "labels": labels,
        "annotations": {"valence.io/optimizer.configure": "true"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}});
    let deployment = keep::deployment(read(deployment), None);
    cluster.deployments.put("shop", "web", deployment);
    let replica_set = keep::ReplicaSetSummary {
        name: "web-1".to_owned(),
        deployment: Some("web".to_owned()),
        template: "1".to_owned(),
        revision: 1,
    };
    cluster.replica_sets.put("shop", "web-1", replica_set);
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    cluster.services.put("shop", "web", read(service));
    let recommendation = json!({"metadata": {"name": "web", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u", "controller": true}]},
        "spec": {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        "status": {"replicas": 3, "live": true, "state": "Confident", "reason": "p99 holds", "containers": [
            {"name": "app", "requests": {"cpu": "300m", "memory": "200Mi"}, "limits": {"cpu": "900m", "memory": "300Mi"}}]}});
    let recommendation = keep::recommendation(read(recommendation), None);
    cluster.recommendations.put("shop", "web", recommendation);
    let objective = json!({"metadata": {"name": "web", "generation": 1}, "spec": {"selector": {"slo": "web"}, "objectives": [
        {"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}]}});
    let objective = keep::objective(read(objective), None);
    cluster.objectives.put("shop", "web", objective);
    cluster.set_filled();
    cluster
}

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object of this file is well-formed")
}
