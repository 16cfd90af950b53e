//! Limits of the namespace: what is recommended is cut to them, and the API server takes what comes of it.

use serde_json::{Value, json};
use valence_playground::raw::Answer;

use crate::admission::open_shop;
use crate::cluster::{Cluster, container, item};
use crate::readmission::recommend;

crate::on_both! {
    a_limit_range_of_containers_caps
    a_limit_range_of_pods_caps
    a_quota_caps_to_what_is_left
}

fn limit_range(limit: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tight", "namespace": "shop"},
        "spec": {"limits": [limit]},
    })
}

fn mebibytes(quantity: &Value) -> u64 {
    valence_webhook::quantity::bytes(quantity.as_str().unwrap()).unwrap() >> 20
}

/// Asks by dry runs until a warning says this: limits are known from a watch. Then the pod is made, which the API server
/// checks against the same limits.
async fn made_with_a_warning(cluster: &Cluster, pod: &Value, says: &str) -> Value {
    let warns = |answer: &Answer| answer.warnings.iter().any(|warning| warning.contains(says));
    let shown = cluster
        .eventually(says, || async {
            let answer = cluster.create_dry(pod).await;
            if warns(&answer) {
                Ok(answer)
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
    let created = cluster.create(pod).await;
    assert!(warns(&created), "{created:?}");
    let created = created.accepted();
    assert_eq!(
        created["spec"]["containers"][0],
        shown.accepted()["spec"]["containers"][0]
    );
    cluster.get(&item(&created)).await
}

async fn a_limit_range_of_containers_caps(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let limits = json!({
        "type": "Container", "max": {"cpu": "500m", "memory": "660Mi"}, "min": {"cpu": "350m"},
        "maxLimitRequestRatio": {"memory": "1.01"},
    });
    cluster.apply(&limit_range(&limits)).await;
    let says = "LimitRange tight bounds the resources of container application";
    let made = made_with_a_warning(&cluster, &pod, says).await;
    let application = &container(&made, "application").unwrap()["resources"];
    assert_eq!(application["requests"]["cpu"], "350m", "not below the least");
    assert_eq!(
        application["limits"],
        json!({"cpu": "500m", "memory": "660Mi"}),
        "not above the most"
    );
    assert!(
        mebibytes(&application["requests"]["memory"]) >= 653,
        "the ratio of limit and request: {application}"
    );
    assert!(container(&made, "envoy").is_some());
}

async fn a_limit_range_of_pods_caps(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let bounds = json!({"type": "Pod", "max": {"cpu": "700m", "memory": "800Mi"}, "min": {"cpu": "500m"}});
    cluster.apply(&limit_range(&bounds)).await;
    let made = made_with_a_warning(&cluster, &pod, "LimitRange tight bounds the resources of the pod").await;
    let limit = |name: &str| mebibytes(&container(&made, name).unwrap()["resources"]["limits"]["memory"]);
    let (application, sidecar) = (limit("application"), limit("envoy"));
    assert!(application + sidecar <= 800, "{application} and {sidecar}");
    assert!(application >= 512, "what was asked for is not cut: {application}");
    let request = |name: &str| container(&made, name).unwrap()["resources"]["requests"]["cpu"].clone();
    let millicores = |name: &str| valence_webhook::quantity::millicores(request(name).as_str().unwrap()).unwrap();
    assert_eq!(
        millicores("application") + millicores("envoy"),
        500,
        "not below the least"
    );
}

async fn a_quota_caps_to_what_is_left(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let hard = json!({"limits.memory": "900Mi"});
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small", "namespace": "shop"},
        "spec": {"hard": hard},
    });
    let quota = cluster.apply(&quota).await;
    // As the quota controller does, which a real control plane lacks here.
    let counted = json!({"status": {"hard": hard, "used": {"limits.memory": "0"}}});
    cluster
        .merge(&format!("{}/status", item(&quota)), &counted)
        .await
        .accepted();
    let says = "ResourceQuota small leaves 900Mi of limits.memory for the pod";
    let made = made_with_a_warning(&cluster, &pod, says).await;
    let limit = |name: &str| mebibytes(&container(&made, name).unwrap()["resources"]["limits"]["memory"]);
    let (application, sidecar) = (limit("application"), limit("envoy"));
    assert!(application + sidecar <= 900, "{application} and {sidecar}");
    assert!(
        (512..768).contains(&application),
        "between what was asked for and what is recommended: {application}"
    );
}
