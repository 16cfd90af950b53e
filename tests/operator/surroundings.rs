//! What surrounds a workload: limits of its namespace, other autoscalers, Services that were written with a number.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::shop::{autoscaler, vertical_autoscaler, vertical_definition};
use crate::support::{SHOP, SOON, Stage, condition, deployment, envoy, namespace, objective, service};

const LIVE: &str = "valence.io/optimizer.configure";

fn cpu_request(pod: &Pod) -> String {
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let requests = container.resources.as_ref().unwrap().requests.as_ref().unwrap();
    requests["cpu"].0.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_other_autoscalers_are_conditions_while_they_last() {
    if envoy("limits_and_other_autoscalers_are_conditions_while_they_last").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    // A definition that comes later is found too, some time after it came.
    stage
        .playground
        .apply_objects(vec![vertical_definition()])
        .await
        .unwrap();
    stage
        .playground
        .apply_objects(vec![namespace(), vertical_autoscaler()])
        .await
        .unwrap();
    // Whatever the model learns, new pods are to become smaller, but for their memory.
    let smaller = json!({
        LIVE: "true", "valence.io/optimizer.max-cpu-requests": "600m", "valence.io/optimizer.min-memory-requests": "400Mi",
    });
    stage.open_shop(2, smaller).await;
    let _load = stage.load(10.0);
    a_vertical_autoscaler_is_a_conflict(&stage).await;
    a_limit_range_caps(&stage).await;
}

async fn a_vertical_autoscaler_is_a_conflict(stage: &Stage) {
    let known = |status: &Value| condition(status, "Conflict").is_some() && status["containers"].is_array();
    let status = stage.recommendation(known).await;
    let conflict = condition(&status, "Conflict").unwrap();
    assert_eq!(conflict["reason"], "VerticalPodAutoscaler", "{conflict}");
    assert!(
        conflict["message"]
            .as_str()
            .unwrap()
            .contains("VerticalPodAutoscaler web")
    );
    assert_eq!(new_pods(stage, "1").await, ["1"], "its sizes are left to the other");
    stage
        .event("Conflict", "VerticalPodAutoscaler web changes the same pods")
        .await;
    let vertical = stage.playground.client();
    let kind = kube::core::GroupVersionKind::gvk("autoscaling.k8s.io", "v1", "VerticalPodAutoscaler");
    let api: Api<kube::api::DynamicObject> =
        Api::namespaced_with(vertical, SHOP, &kube::core::ApiResource::from_gvk(&kind));
    api.delete("web", &DeleteParams::default()).await.unwrap();
    stage
        .recommendation(|status| condition(status, "Conflict").is_none())
        .await;
    assert_eq!(new_pods(stage, "2").await, ["600m"]);
}

/// Sizes of the pods after a rollout.
async fn new_pods(stage: &Stage, round: &str) -> Vec<String> {
    let deployments: Api<Deployment> = stage.api();
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"rolled": round}}}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    stage.playground.deployment_settled(SHOP, "web", SOON).await.unwrap();
    let mut sizes: Vec<String> = stage.pods().await.iter().map(cpu_request).collect();
    sizes.dedup();
    sizes
}

/// The memory limit of the plan is above a most of the namespace.
async fn a_limit_range_caps(stage: &Stage) {
    let tight = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "tight", "namespace": SHOP},
        "spec": {"limits": [{"type": "Container", "max": {"cpu": "2", "memory": "300Mi"}}]},
    });
    stage.playground.apply_objects(vec![tight]).await.unwrap();
    let capped = |status: &Value| condition(status, "Capped").cloned();
    let status = stage.recommendation(|status| capped(status).is_some()).await;
    let condition = capped(&status).unwrap();
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("True"), &json!("LimitRange"))
    );
    assert!(
        condition["message"].as_str().unwrap().contains("LimitRange tight"),
        "{condition}"
    );
    let limits: Api<LimitRange> = stage.api();
    limits.delete("tight", &DeleteParams::default()).await.unwrap();
    stage.recommendation(|status| capped(status).is_none()).await;
}

/// The recommender asks for the autoscaler's admission when the model moved; nobody else touches it here.
#[tokio::test(flavor = "multi_thread")]
async fn a_managed_autoscaler_is_admitted_again_when_the_model_moves() {
    if envoy("a_managed_autoscaler_is_admitted_again_when_the_model_moves").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    stage
        .playground
        .apply_objects(vec![namespace(), autoscaler(20, 90)])
        .await
        .unwrap();
    let manage = json!({LIVE: "true", "valence.io/optimizer.horizontal-pod-autoscaler": "manage"});
    stage.open_shop(2, manage).await;
    let _load = stage.load(20.0);
    let api: Api<HorizontalPodAutoscaler> = stage.api();
    let has_least = async |least: i32| {
        let found = |autoscaler: &HorizontalPodAutoscaler| autoscaler.spec.min_replicas >= Some(least);
        stage.playground.wait_for(&api, "web", SOON, found).await.unwrap()
    };
    let deployments: Api<Deployment> = stage.api();
    for least in [3, 5] {
        let patch = json!({"metadata": {"annotations": {"valence.io/optimizer.min-replicas": least.to_string()}}});
        deployments
            .patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        has_least(least).await;
    }
    let steered = has_least(5).await;
    let annotations = steered.metadata.annotations.as_ref().unwrap();
    let original: Value = serde_json::from_str(&annotations["valence.io/original"]).unwrap();
    assert_eq!(original["minReplicas"], 1);
    // The autoscaler acts on its least replicas.
    stage.deployment(|deployment| deployment.spec.replicas >= Some(5)).await;
    let status = stage
        .recommendation(|status| status["replicas"].as_i64() >= Some(5))
        .await;
    let condition = condition(&status, "HorizontalPodAutoscaler").unwrap();
    assert_eq!(condition["reason"], "FollowsModel", "{condition}");
}

/// A Service by number, from before its namespace asked for injection; the operator has these rights besides its own.
async fn shop_by_number(arguments: &[&str], rights: Option<&str>) -> Stage {
    let stage = Stage::with_arguments(1, arguments).await;
    if let Some(rights) = rights {
        stage.playground.apply(rights).await.unwrap();
    }
    let mut plain = namespace();
    plain["metadata"].as_object_mut().unwrap().remove("labels");
    let mut by_number = service();
    by_number["spec"]["ports"][0]["targetPort"] = json!(8080);
    let objects = vec![plain, objective(), deployment(2, json!({})), by_number];
    stage.playground.apply_objects(objects).await.unwrap();
    stage.playground.pods_ready(SHOP, "app=web", 2, SOON).await.unwrap();
    stage.playground.apply_objects(vec![namespace()]).await.unwrap();
    stage
}

fn target(service: &Service) -> &IntOrString {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).unwrap();
    ports[0].target_port.as_ref().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_service_by_number_is_told_to_have_it_admitted() {
    let stage = shop_by_number(&[], None).await;
    stage
        .event("PastEnvoy", "kubectl -n shop patch service web -p '{}'")
        .await;
    let api: Api<Service> = stage.api();
    assert_eq!(
        *target(&api.get("web").await.unwrap()),
        IntOrString::Int(8080),
        "it is left to its owner"
    );
    let admitted = api
        .patch("web", &PatchParams::default(), &Patch::Merge(json!({})))
        .await;
    assert_eq!(*target(&admitted.unwrap()), IntOrString::String("http".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_by_number_is_admitted_again_where_that_is_chosen() {
    let right = include_str!("../../deploy/components/readmit-services/rbac-services.yaml");
    let stage = shop_by_number(&["--readmit-services"], Some(right)).await;
    let api: Api<Service> = stage.api();
    stage
        .playground
        .wait_for(&api, "web", SOON, |service| {
            *target(service) == IntOrString::String("http".to_owned())
        })
        .await
        .unwrap();
}
