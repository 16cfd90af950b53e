//! How running workloads come to carry what is in force, and get back what was their own.

use kube::api::DeleteParams;
use serde_json::json;

use crate::support::{Stage, condition, envoy};

/// Nobody touches the Deployment: its number comes back through its scale, as the plan's did.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_objective_a_workload_has_its_own_replicas_again() {
    if envoy("without_its_objective_a_workload_has_its_own_replicas_again").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    let annotations = json!({
        "valence.io/optimizer.configure": "true",
        "valence.io/optimizer.min-replicas": "4",
    });
    stage.open_shop(2, annotations).await;
    let _load = stage.load(20.0);
    stage
        .deployment(|deployment| deployment.spec.replicas.is_some_and(|replicas| replicas >= 4))
        .await;
    let objectives = stage.dynamic("ServiceLevelObjective");
    objectives
        .delete("slo-webapps", &DeleteParams::default())
        .await
        .unwrap();
    let withdrawn = stage
        .recommendation(|status| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "NotSelected"))
        .await;
    assert_eq!(withdrawn["original"]["replicas"], 2, "{withdrawn}");
    let deployment = stage.deployment(|_| true).await;
    assert_eq!(deployment.spec.replicas, Some(2), "they were given back before that");
}
