//! What a workload gets back that is no longer Valence's, and what a rollout keeps.

use serde_json::json;

use crate::admission::open_shop;
use crate::cluster::{Cluster, item};
use crate::objects::{objective, recommendation};
use crate::readmission::{DEPLOYMENT, SCALE, recommend};

crate::on_both! {
    without_its_objective_a_scale_gets_its_own_number
    the_request_that_starts_a_rollout_scales_nothing_in
}

async fn without_its_objective_a_scale_gets_its_own_number(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let original = json!({"status": {"original": {"replicas": 2}}});
    let status = format!("{}/status", item(&recommendation(&deployment)));
    cluster.merge(&status, &original).await.accepted();
    cluster.merge(SCALE, &json!({})).await.accepted();
    assert_eq!(cluster.get(DEPLOYMENT).await["spec"]["replicas"], 5);
    cluster.delete(&item(&objective())).await.accepted();
    cluster.would_scale(SCALE, 2).await;
    assert_eq!(
        cluster.get(DEPLOYMENT).await["spec"]["replicas"],
        5,
        "a dry run changes nothing"
    );
    let asked = cluster.merge(SCALE, &json!({"spec": {"replicas": 4}})).await.accepted();
    assert_eq!(asked["spec"]["replicas"], 4, "a number that somebody asks for stays");
    let released = cluster.merge(SCALE, &json!({})).await.accepted();
    assert_eq!(released["spec"]["replicas"], 2);
    assert_eq!(cluster.get(DEPLOYMENT).await["spec"]["replicas"], 2);
}

/// A client that replaces the object sends no status, and the controller has seen nothing of the new template yet.
async fn the_request_that_starts_a_rollout_scales_nothing_in(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    let seven = json!({"spec": {"replicas": 7}});
    cluster.merge(DEPLOYMENT, &seven).await.accepted();
    recommend(&cluster, &deployment, 5).await;
    let mut next = cluster.get(DEPLOYMENT).await;
    next["spec"]["template"]["spec"]["containers"][0]["image"] = json!("registry.k8s.io/pause:3.9");
    next.as_object_mut().unwrap().remove("status");
    next["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let set = cluster.replace(DEPLOYMENT, &next).await.accepted();
    assert_eq!(set["spec"]["replicas"], 7, "the rollout needs its pods");
    let again = cluster.replace(DEPLOYMENT, &next).await.accepted();
    assert_eq!(again["spec"]["replicas"], 5, "the template is the same");
}
