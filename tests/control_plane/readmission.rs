//! What a plan does when running workloads are admitted again, and to whom it gives way.

use serde_json::{Value, json};

use crate::admission::open_shop;
use crate::cluster::{Cluster, container, item};
use crate::objects::{autoscaler, deployment, pod, recommendation, resources, status};

crate::on_both! {
    a_new_pod_gets_what_is_recommended
    a_scale_gets_what_is_recommended
    an_empty_patch_resizes_a_pod
    an_autoscaler_is_left_alone
    two_appliers_do_not_conflict_because_of_us
}

const SCALE: &str = "/apis/apps/v1/namespaces/shop/deployments/web/scale";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

/// Writes what the recommender would, and waits until admission knows it.
async fn recommend(cluster: &Cluster, deployment: &Value, replicas: i64) {
    let made = cluster.create(&recommendation(deployment)).await.accepted();
    let path = format!("{}/status", item(&made));
    cluster.merge(&path, &status(replicas)).await.accepted();
    cluster.would_scale(SCALE, replicas).await;
}

async fn replicas(cluster: &Cluster) -> Value {
    cluster.get(DEPLOYMENT).await["spec"]["replicas"].clone()
}

/// Sends a Scale as a whole, as autoscalers and `kubectl scale` of old do.
async fn scale(cluster: &Cluster, replicas: i64) -> (Value, Vec<String>) {
    let mut scale = cluster.get(SCALE).await;
    scale["spec"]["replicas"] = json!(replicas);
    scale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let answer = cluster.replace(SCALE, &scale).await;
    let warnings = answer.warnings.clone();
    let replicas = answer.accepted()["spec"].get("replicas").cloned();
    // A Scale of nothing says nothing.
    (replicas.unwrap_or(json!(0)), warnings)
}

async fn a_new_pod_gets_what_is_recommended(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let created = cluster.create(&pod).await.accepted();
    assert_eq!(container(&created, "application").unwrap()["resources"], resources());
    assert!(container(&created, "envoy").is_some());
}

async fn a_scale_gets_what_is_recommended(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    assert_eq!(replicas(&cluster).await, 2, "a dry run changes nothing");
    let asked = cluster.merge(SCALE, &json!({})).await;
    assert_eq!(asked.warnings, Vec::<String>::new(), "nobody asked for another number");
    assert_eq!(asked.accepted()["spec"]["replicas"], 5);
    assert_eq!(replicas(&cluster).await, 5, "what admission set is stored");
    let (set, warnings) = scale(&cluster, 1).await;
    assert_eq!(set, 5);
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("5 replicas instead of 1")),
        "{warnings:?}"
    );
    let (set, warnings) = scale(&cluster, 0).await;
    assert_eq!(
        (set, warnings),
        (json!(0), vec![]),
        "an explicit 0 is somebody's decision"
    );
    assert_eq!(replicas(&cluster).await, 0);
    // Replicas of 0 stay 0 when asked about: only somebody's number brings the workload back.
    cluster.merge(SCALE, &json!({})).await.accepted();
    assert_eq!(replicas(&cluster).await, 0);
    assert_eq!(scale(&cluster, 1).await.0, 5);
}

/// The pod is pending, which both control planes let be resized: neither has a kubelet here. Of a running pod a real one
/// would first want to see the resources in the statuses of its containers.
async fn an_empty_patch_resizes_a_pod(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    let created = cluster.create(&pod).await.accepted();
    let before = container(&created, "application").unwrap()["resources"].clone();
    assert_ne!(before, resources());
    recommend(&cluster, &deployment, 5).await;
    let path = item(&pod);
    cluster
        .merge(&format!("{path}/resize?dryRun=All"), &json!({}))
        .await
        .accepted();
    assert_eq!(
        container(&cluster.get(&path).await, "application").unwrap()["resources"],
        before
    );
    cluster.merge(&format!("{path}/resize"), &json!({})).await.accepted();
    let after = cluster.get(&path).await;
    assert_eq!(container(&after, "application").unwrap()["resources"], resources());
    assert_eq!(after["metadata"]["uid"], created["metadata"]["uid"]);
}

async fn an_autoscaler_is_left_alone(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let written = autoscaler();
    let created = cluster.create(&written).await.accepted();
    for field in ["scaleTargetRef", "minReplicas", "maxReplicas", "metrics"] {
        assert_eq!(created["spec"][field], written["spec"][field]);
    }
    assert_eq!(created["metadata"]["annotations"], Value::Null);
    // Its number is its own from when admission knows of it, and so are the requests that it counts in.
    cluster.would_scale(SCALE, 2).await;
    let (set, warnings) = scale(&cluster, 3).await;
    assert_eq!((set, warnings), (json!(3), vec![]));
    let created = cluster.create(&pod).await.accepted();
    let requests = |pod: &Value| container(pod, "application").unwrap()["resources"]["requests"]["cpu"].clone();
    assert_eq!(requests(&created), requests(&pod));
}

/// One manager applies the Deployment without its replicas, another one the replicas and a label. What admission sets
/// belongs to neither and to nobody else, so that both may apply again without force.
async fn two_appliers_do_not_conflict_because_of_us(cluster: Cluster) {
    let (mut whole, mut part) = (deployment(), deployment());
    whole["spec"].as_object_mut().unwrap().remove("replicas");
    part["metadata"] = json!({"name": "web", "namespace": "shop", "labels": {"team": "shop"}});
    part["spec"] = json!({"replicas": 2});
    cluster.apply(&crate::objects::namespace()).await;
    cluster.apply(&crate::objects::objective()).await;
    let created = cluster.apply_as("one", &whole).await.accepted();
    cluster.apply_as("other", &part).await.accepted();
    recommend(&cluster, &created, 5).await;
    cluster.merge(SCALE, &json!({})).await.accepted();
    for _ in 0..2 {
        for (manager, object) in [("one", &whole), ("other", &part)] {
            let applied = cluster.apply_as(manager, object).await;
            assert_eq!(applied.code, 200, "{manager}: {applied:?}");
            assert_eq!(applied.body["spec"]["replicas"], 5, "{manager}");
        }
    }
    // A manager that has no part in the replicas still cannot take them from whoever has.
    let mut third = part.clone();
    third["spec"]["replicas"] = json!(7);
    let conflict = cluster.apply_as("third", &third).await;
    assert_eq!(conflict.code, 409, "{conflict:?}");
    let message = conflict.body["message"].as_str().unwrap();
    assert!(
        message.contains("\"other\"") && !message.contains("valence"),
        "{message}"
    );
    let replica_set = cluster.apply(&crate::objects::replica_set(&created)).await;
    cluster.would_inject(&pod(&replica_set, "web-1-a")).await;
}
