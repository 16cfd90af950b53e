//! What users write, and what they are told about it.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{self, SHOP, SOON, Stage, condition};

const OPERATORS: &str = "app.kubernetes.io/component=operator";

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
    for (selector, field) in [
        (json!({"matchLabels": {}}), "spec.selector"),
        (
            json!({"matchExpressions": [{"key": "slo", "operator": "In"}]}),
            "spec.selector.matchExpressions[0]",
        ),
        (
            json!({"matchExpressions": [{"key": "slo", "operator": "Exists", "values": ["a"]}]}),
            "spec.selector.matchExpressions[0]",
        ),
    ] {
        let mut objective = support::objective();
        objective["spec"]["selector"] = selector.clone();
        let refused = stage.playground.apply_objects(vec![objective]).await.unwrap_err();
        let refused = format!("{refused:#}");
        assert!(refused.contains(field), "{selector}: {refused}");
    }
    what_only_a_program_sees_is_told(&stage).await;
    annotations_are_told(&stage).await;
}

/// An objective that was made useless leaves its last good spec in force, for a replica too that never saw that.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_objective_and_a_restart_withdraw_nothing() {
    let stage = Stage::with_operators(1).await;
    stage.open_shop(1, json!({})).await;
    let objectives = stage.dynamic("ServiceLevelObjective");
    let wait = async |holds: fn(&Value) -> bool| {
        let found = stage
            .playground
            .wait_for(&objectives, "slo-webapps", SOON, |object| holds(&object.data["status"]))
            .await;
        found.unwrap();
    };
    wait(|status| status["inForce"]["selector"]["slo"] == "slo-webapps").await;
    let useless = json!({"spec": {"selector": {"slo": 5}}});
    objectives
        .patch("slo-webapps", &PatchParams::default(), &Patch::Merge(useless))
        .await
        .unwrap();
    wait(|status| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "InvalidSpec")).await;
    let operators = stage.playground.pods("valence-system", OPERATORS).await.unwrap();
    let operator = kube::ResourceExt::name_any(&operators[0]);
    let before = stage.recommendation(|status| status["decidedAt"].is_string()).await;
    assert!(
        stage.playground.kubelet().crash("valence-system", &operator, "valence"),
        "{operator} does not run"
    );
    let after = stage
        .recommendation(|status| status["decidedAt"].is_string() && status["decidedAt"] != before["decidedAt"])
        .await;
    assert_eq!(after["objectives"], before["objectives"], "{after}");
    assert_ne!(condition(&after, "Ready").unwrap()["reason"], "NotSelected", "{after}");
    wait(|status| status["matched"] == 1 && status["inForce"]["selector"]["slo"] == "slo-webapps").await;
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
