//! Other autoscalers of the same workload.

use serde_json::{Value, json};

use crate::admission::open_shop;
use crate::cluster::{Cluster, container, item};
use crate::objects::resources;
use crate::readmission::{DEPLOYMENT, SCALE, recommend};
use crate::shop::{autoscaler, vertical_autoscaler, vertical_definition};

crate::on_both! {
    a_managed_autoscaler_follows_the_model
    a_vertical_autoscaler_keeps_its_pods
}

async fn annotate(cluster: &Cluster, annotations: Value) {
    let patch = json!({"metadata": {"annotations": annotations}});
    cluster.merge(DEPLOYMENT, &patch).await.accepted();
}

fn bounds(autoscaler: &Value) -> (Value, Value) {
    let target = &autoscaler["spec"]["metrics"][0]["resource"]["target"];
    (
        autoscaler["spec"]["minReplicas"].clone(),
        target["averageUtilization"].clone(),
    )
}

/// Waits until an empty patch would give the autoscaler these bounds, and sends it.
async fn readmitted(cluster: &Cluster, path: &str, wanted: (Value, Value)) {
    let dry = format!("{path}?dryRun=All");
    cluster
        .eventually("the bounds in a dry run", || async {
            let shown = cluster.merge(&dry, &json!({})).await.accepted();
            if bounds(&shown) == wanted {
                Ok(())
            } else {
                Err(shown.to_string())
            }
        })
        .await;
    let before = bounds(&cluster.get(path).await);
    assert_ne!(before, wanted, "a dry run changes nothing");
    cluster.merge(path, &json!({})).await.accepted();
    assert_eq!(bounds(&cluster.get(path).await), wanted);
}

async fn a_managed_autoscaler_follows_the_model(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let steered = json!({"status": {"replicas": 5, "targetUtilisation": 0.55}});
    let status = "/apis/optimizer.valence.io/v1alpha1/namespaces/shop/recommendations/web/status";
    cluster.merge(status, &steered).await.accepted();
    let path = item(&cluster.create(&autoscaler(10, 80)).await.accepted());
    assert_eq!(
        bounds(&cluster.get(&path).await),
        (json!(1), json!(80)),
        "it was not asked for"
    );
    // From when it is known, the Deployment's number is the autoscaler's.
    cluster.would_scale(SCALE, 2).await;
    annotate(
        &cluster,
        json!({"valence.io/optimizer.horizontal-pod-autoscaler": "manage"}),
    )
    .await;
    readmitted(&cluster, &path, (json!(5), json!(55))).await;
    let stored = cluster.get(&path).await;
    let original = stored["metadata"]["annotations"]["valence.io/original"]
        .as_str()
        .unwrap();
    let original: Value = serde_json::from_str(original).unwrap();
    assert_eq!(original, json!({"minReplicas": 1, "cpuUtilisation": 80}));
    cluster
        .merge(status, &json!({"status": {"replicas": 6}}))
        .await
        .accepted();
    readmitted(&cluster, &path, (json!(6), json!(55))).await;
    cluster.would_scale(SCALE, 2).await;
    annotate(&cluster, json!({"valence.io/optimizer.configure": "false"})).await;
    readmitted(&cluster, &path, (json!(1), json!(80))).await;
    let released = cluster.get(&path).await;
    for record in ["valence.io/original", "valence.io/effective"] {
        assert_eq!(released["metadata"]["annotations"].get(record), None, "{released}");
    }
}

async fn a_vertical_autoscaler_keeps_its_pods(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    cluster.apply(&vertical_definition()).await;
    cluster.apply(&vertical_autoscaler()).await;
    let says = "VerticalPodAutoscaler web changes the same pods";
    let shown = cluster
        .eventually(says, || async {
            let answer = cluster.create_dry(&pod).await;
            let warned = answer.warnings.iter().any(|warning| warning.contains(says));
            if warned {
                Ok(answer.accepted())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
    let of = |pod: &Value| container(pod, "application").unwrap()["resources"].clone();
    assert_eq!(of(&shown), of(&pod), "its sizes are left to the other");
    assert!(
        container(&shown, "envoy").is_some(),
        "the sidecar is nobody else's business"
    );
    annotate(
        &cluster,
        json!({"valence.io/optimizer.vertical-pod-autoscaler": "override"}),
    )
    .await;
    cluster
        .eventually("the plan against a VerticalPodAutoscaler", || async {
            let shown = cluster.create_dry(&pod).await.accepted();
            if of(&shown) == resources() {
                Ok(())
            } else {
                Err(shown.to_string())
            }
        })
        .await;
}
