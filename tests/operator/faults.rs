//! What the operator does when what it depends on misbehaves.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use valence_playground::apiserver::Refusal;

use crate::support::{SOON, Stage, condition, envoy, since};

const OPERATORS: &str = "app.kubernetes.io/component=operator";

fn live() -> Value {
    json!({"valence.io/optimizer.configure": "true"})
}

async fn holder(stage: &Stage) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(stage.client(), "valence-system");
    leases.get_opt("valence-recommender").await.ok()??.spec?.holder_identity
}

/// Waits for a decision that is newer than this status.
async fn decides_again(stage: &Stage, before: &Value) -> Value {
    let decided = before["decidedAt"].clone();
    stage
        .recommendation(|status| status["decidedAt"].is_string() && status["decidedAt"] != decided)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwell_api_server_costs_nothing_that_was_learnt() {
    if envoy("an_unwell_api_server_costs_nothing_that_was_learnt").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    stage.open_shop(2, live()).await;
    let _load = stage.load(20.0);
    let learnt = stage
        .recommendation(|status| status["model"]["cpu_per_request_seconds"].is_number())
        .await;
    away_and_back(&stage, &learnt).await;
    history_forgotten(&stage).await;
    busy_and_contended(&stage).await;
    edited_and_deleted_by_hand(&stage).await;
}

async fn away_and_back(stage: &Stage, learnt: &Value) {
    let faults = stage.playground.server().faults();
    faults.set_unreachable(true);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    faults.clear();
    let after = decides_again(stage, learnt).await;
    assert!(after["model"]["cpu_per_request_seconds"].is_number(), "{after}");
}

/// Watches that lag behind are told 410 Gone and list anew: a change made meanwhile is not missed.
async fn history_forgotten(stage: &Stage) {
    let server = stage.playground.server();
    server.faults().cut();
    server.compact();
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = stage.api();
    let patch = json!({"metadata": {"annotations": {"valence.io/optimizer.min-replicas": "3"}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    stage
        .deployment(|deployment| deployment.spec.replicas.is_some_and(|replicas| replicas >= 3))
        .await;
}

async fn busy_and_contended(stage: &Stage) {
    let before = stage.recommendation(|_| true).await;
    for code in [409, 429, 500, 503] {
        let path_contains = "recommendations".to_owned();
        let refusal = Refusal {
            code,
            methods: vec!["PATCH".to_owned()],
            path_contains,
            times: Some(2),
        };
        stage.playground.server().faults().refuse(refusal);
    }
    decides_again(stage, &before).await;
}

async fn edited_and_deleted_by_hand(stage: &Stage) {
    let api = stage.dynamic("Recommendation");
    let planned = stage.recommendation(|status| status["replicas"].is_number()).await;
    let edit = json!({"status": {"replicas": 99}});
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(edit))
        .await
        .unwrap();
    stage
        .recommendation(|status| status["replicas"].as_i64().is_some_and(|replicas| replicas != 99))
        .await;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    let made_anew = stage
        .recommendation(|status| status["replicas"].is_number() && status["checkpoint"].is_string())
        .await;
    assert_eq!(made_anew["original"], planned["original"]);
    assert!(
        made_anew["model"]["cpu_per_request_seconds"].is_number(),
        "what was learnt is still known: {made_anew}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_continues_what_the_leader_learnt() {
    if envoy("a_successor_continues_what_the_leader_learnt").is_none() {
        return;
    }
    let stage = Stage::with_operators(2).await;
    stage.open_shop(2, live()).await;
    let _load = stage.load(20.0);
    let learnt = stage
        .recommendation(|status| status["model"]["cpu_per_request_seconds"].is_number())
        .await;
    let leader = holder(&stage).await.unwrap();
    let killed = stage.playground.kubelet().crash("valence-system", &leader, "valence");
    assert!(killed, "{leader} does not run");
    let pods: Api<Pod> = Api::namespaced(stage.client(), "valence-system");
    pods.delete(&leader, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    let successor = valence_playground::until("a successor", SOON, || async {
        match holder(&stage).await {
            Some(holder) if holder != leader => Ok(holder),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let names: Vec<_> = stage
        .playground
        .pods("valence-system", OPERATORS)
        .await
        .unwrap()
        .iter()
        .map(|pod| pod.name_any())
        .collect();
    assert!(names.contains(&successor), "{successor} is none of {names:?}");
    let after = decides_again(&stage, &learnt).await;
    assert_eq!(since(&after), since(&learnt), "the successor began anew: {after}");
    assert_ne!(after["state"], "Cold", "{after}");
    assert_eq!(after["replicas"], learnt["replicas"]);
    assert_eq!(after["containers"], learnt["containers"]);
    assert!(condition(&after, "Ready").is_some());
}
