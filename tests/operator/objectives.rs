//! What users write, and what they are told about it.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{self, SHOP, SOON, Stage, condition};

fn with_latency(latency: Value) -> Value {
    let mut objective = support::objective();
    objective["spec"]["objectives"][0]["http"]["latency"] = latency;
    objective
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_objectives_are_refused_by_field() {
    let stage = Stage::with_operators(1).await;
    stage
        .playground
        .apply_objects(vec![support::namespace()])
        .await
        .unwrap();
    for (latency, field) in [
        (
            json!({"percentile": 42, "responseTime": "100ms"}),
            "spec.objectives[0].http.latency.percentile",
        ),
        (
            json!({"percentile": 99, "responseTime": "fast"}),
            "spec.objectives[0].http.latency.responseTime",
        ),
        (
            json!({"percentile": 99, "responseTime": "2h"}),
            "spec.objectives[0].http.latency.responseTime",
        ),
        (
            json!({"percentile": 99}),
            "spec.objectives[0].http.latency.responseTime",
        ),
    ] {
        let refused = stage
            .playground
            .apply_objects(vec![with_latency(latency.clone())])
            .await
            .unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.contains(field), "{latency}: {refused}");
    }
    for selector in [
        json!({"slo": "slo-webapps"}),
        json!({"matchLabels": {"slo": "slo-webapps"}}),
    ] {
        let mut objective = support::objective();
        objective["spec"]["selector"] = selector;
        stage.playground.apply_objects(vec![objective]).await.unwrap();
    }
    what_only_a_program_sees_is_told(&stage).await;
    annotations_are_told(&stage).await;
}

/// The schema cannot look into a plain label map.
async fn what_only_a_program_sees_is_told(stage: &Stage) {
    let mut objective = support::objective();
    objective["spec"]["selector"] = json!({"slo": 5});
    stage.playground.apply_objects(vec![objective]).await.unwrap();
    let api = stage.dynamic("ServiceLevelObjective");
    let told = |status: &Value| {
        condition(status, "Ready").is_some_and(|ready| {
            ready["status"] == "False" && ready["message"].as_str().unwrap().contains("spec.selector.slo")
        })
    };
    let object = stage
        .playground
        .wait_for(&api, "slo-webapps", SOON, |object| told(&object.data["status"]))
        .await
        .unwrap();
    assert_eq!(
        object.data["status"]["observedGeneration"],
        json!(object.metadata.generation)
    );
    stage.event("InvalidSpec", "spec.selector.slo").await;
}

async fn annotations_are_told(stage: &Stage) {
    let annotations = json!({"valence.io/optimizer.min-replicas": "two"});
    stage
        .playground
        .apply_objects(vec![support::objective(), support::deployment(1, annotations)])
        .await
        .unwrap();
    stage
        .event("AnnotationIgnored", "valence.io/optimizer.min-replicas")
        .await;
    let named = |status: &Value| {
        condition(status, "AnnotationsValid")
            .is_some_and(|valid| valid["status"] == "False" && valid["message"].as_str().unwrap().contains("\"two\""))
    };
    stage.recommendation(named).await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(stage.client(), SHOP);
    let cured = json!({"metadata": {"annotations": {"valence.io/optimizer.min-replicas": "2"}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(cured))
        .await
        .unwrap();
    stage
        .recommendation(|status| condition(status, "AnnotationsValid").is_some_and(|valid| valid["status"] == "True"))
        .await;
    no_longer_selected_it_is_withdrawn(stage).await;
}

async fn no_longer_selected_it_is_withdrawn(stage: &Stage) {
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(stage.client(), SHOP);
    let unlabelled = json!({"metadata": {"labels": {"slo": null}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(unlabelled))
        .await
        .unwrap();
    let withdrawn = |status: &Value| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "NotSelected");
    let status = stage.recommendation(withdrawn).await;
    assert_eq!(status["replicas"], Value::Null, "{status}");
}
