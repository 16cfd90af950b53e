//! The whole loop: injected, measured, recommended, admitted.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::faults::{decides_again, holder};
use crate::support::{SHOP, SOON, Stage, condition, deployment, envoy, namespace, objective, service, since};

const LIVE: &str = "valence.io/optimizer.configure";

fn live() -> Value {
    json!({ LIVE: "true" })
}

fn containers(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref().unwrap();
    let initial = spec.init_containers.iter().flatten();
    spec.containers
        .iter()
        .chain(initial)
        .map(|container| container.name.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_deployment_follows_its_load() {
    if envoy("a_live_deployment_follows_its_load").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    let mut web = deployment(2, live());
    // 120 requests a second take 2.9 cores: whatever is learnt of it, two pods are too few.
    web["spec"]["template"]["spec"]["containers"][0]["args"][1] = json!("--cpu-time=24ms");
    let objects = vec![namespace(), objective(), web, service()];
    stage.playground.apply_objects(objects).await.unwrap();
    stage.playground.pods_ready(SHOP, "app=web", 2, SOON).await.unwrap();
    for pod in stage.pods().await {
        assert!(
            containers(&pod).contains(&"envoy".to_owned()),
            "{} carries no sidecar",
            pod.name_any()
        );
    }
    let _load = stage.load(120.0);
    follows_the_load(&stage).await;
    scaling_by_hand_gives_way(&stage).await;
    a_restart_continues(&stage).await;
    zero_is_left_alone(&stage).await;
    released_it_gets_its_own_number_back(&stage).await;
    crate::rights::are_all_needed(&stage.asked());
}

async fn follows_the_load(stage: &Stage) {
    let status = stage
        .recommendation(|status| status["replicas"].as_i64().is_some_and(|replicas| replicas > 2))
        .await;
    assert!(
        status["observed"]["throughputPerMinute"].as_f64().unwrap() > 0.0,
        "{status}"
    );
    assert!(condition(&status, "Metrics").unwrap()["status"] == "True", "{status}");
    assert!(
        condition(&status, "ResourceMetrics").unwrap()["status"] == "True",
        "{status}"
    );
    assert_eq!(status["original"]["replicas"], 2, "{status}");
    assert_eq!(status["live"], true);
    let deployment = stage
        .deployment(|deployment| deployment.spec.replicas.is_some_and(|replicas| replicas > 2))
        .await;
    assert_eq!(
        deployment.spec.template.spec.unwrap().containers[0]
            .resources
            .as_ref()
            .unwrap()
            .requests
            .as_ref()
            .unwrap()["cpu"]
            .0,
        "1"
    );
}

async fn scaling_by_hand_gives_way(stage: &Stage) {
    let planned = stage
        .recommendation(|status| status["replicas"].as_i64().is_some_and(|replicas| replicas > 2))
        .await;
    let (replicas, warnings) = stage.scale(1).await;
    assert!(
        replicas > 2,
        "the plan was {} and kubectl got {replicas}",
        planned["replicas"]
    );
    assert!(
        warnings.iter().any(|warning| warning.contains("replicas instead of 1")),
        "{warnings:?}"
    );
}

async fn a_restart_continues(stage: &Stage) {
    // Only a model that has learnt something can be seen to go on.
    let before = stage
        .recommendation(|status| status["checkpoint"].is_string() && status["state"] != "Cold")
        .await;
    let operators = stage
        .playground
        .pods("valence-system", "app.kubernetes.io/component=operator")
        .await
        .unwrap();
    let pods: kube::Api<Pod> = kube::Api::namespaced(stage.client(), "valence-system");
    pods.delete(&operators[0].name_any(), &kube::api::DeleteParams::default())
        .await
        .unwrap();
    let restarted = operators[0].name_any();
    valence_playground::until("another operator", SOON, || async {
        let now = stage
            .playground
            .pods_ready("valence-system", "app.kubernetes.io/component=operator", 1, SOON)
            .await;
        let now = now.map_err(|error| error.to_string())?;
        if now[0].name_any() == restarted {
            Err("the old one".to_owned())
        } else {
            Ok(())
        }
    })
    .await
    .unwrap();
    valence_playground::until("another leader", SOON, || async {
        match holder(stage).await {
            Some(holder) if holder != restarted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    // From here on only the new one writes.
    let last = stage.recommendation(|_| true).await;
    let after = decides_again(stage, &last).await;
    assert_eq!(since(&after), since(&before), "the model began anew");
    assert_eq!(after["original"]["replicas"], 2, "{after}");
    assert_ne!(after["state"], "Cold");
}

async fn zero_is_left_alone(stage: &Stage) {
    let (replicas, _) = stage.scale(0).await;
    assert_eq!(replicas, 0);
    let status = stage
        .recommendation(|status| {
            condition(status, "Converged").is_some_and(|converged| converged["reason"] == "ScaledToZero")
        })
        .await;
    assert_eq!(status["currentReplicas"], 0);
    assert_eq!(stage.deployment(|_| true).await.spec.replicas, Some(0));
    let (replicas, _) = stage.scale(1).await;
    assert!(replicas > 1, "back from zero it gets the plan's number, not {replicas}");
}

async fn released_it_gets_its_own_number_back(stage: &Stage) {
    let api: kube::Api<k8s_openapi::api::apps::v1::Deployment> = stage.api();
    let patch = json!({"metadata": {"annotations": {LIVE: null}}});
    api.patch(
        "web",
        &kube::api::PatchParams::default(),
        &kube::api::Patch::Merge(patch),
    )
    .await
    .unwrap();
    stage.deployment(|deployment| deployment.spec.replicas == Some(2)).await;
    let status = stage.recommendation(|status| status["live"] == false).await;
    assert!(status["replicas"].as_i64().is_some(), "it still recommends: {status}");
}
