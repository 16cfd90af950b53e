//! Misbehaviour on demand.

use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;
use valence_playground::apiserver::{Refusal, User};

use crate::support::{Cluster, create, deployment, refusal};

#[tokio::test]
async fn refusals_come_as_often_as_they_are_asked_for() {
    let cluster = Cluster::start().await;
    create(&cluster.deployments(), deployment("web")).await;
    cluster.server.faults().refuse(Refusal {
        code: 409,
        methods: vec!["PATCH".into()],
        path_contains: "/deployments/web".into(),
        times: Some(1),
    });
    assert!(cluster.deployments().get("web").await.is_ok());
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    let refused = cluster
        .deployments()
        .patch("web", &PatchParams::default(), &patch)
        .await;
    assert_eq!(refusal(refused).reason, "Conflict");
    assert!(
        cluster
            .deployments()
            .patch("web", &PatchParams::default(), &patch)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_unreachable_server_comes_back() {
    let cluster = Cluster::start().await;
    let mut config = cluster.server.client_config(&User::administrator()).unwrap();
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(2));
    let client = kube::Client::try_from(config).unwrap();
    assert!(client.apiserver_version().await.is_ok());
    cluster.server.faults().set_unreachable(true);
    assert!(client.apiserver_version().await.is_err());
    cluster.server.faults().clear();
    assert!(client.apiserver_version().await.is_ok());
    assert!(cluster.pods().list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn users_are_who_their_credentials_say() {
    let cluster = Cluster::start().await;
    let user = User::service_account("valence-system", "valence");
    let path = cluster.server.kubeconfig_for(&user, "valence-system").unwrap();
    let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .unwrap();
    assert_eq!(config.default_namespace, "valence-system");
    let client = kube::Client::try_from(config).unwrap();
    let request = http::Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("content-type", "application/json")
        .body(json!({}).to_string().into_bytes())
        .unwrap();
    let review: serde_json::Value = client.request(request).await.unwrap();
    assert_eq!(
        review["status"]["userInfo"]["username"],
        "system:serviceaccount:valence-system:valence"
    );
    let administrator = kube::config::Kubeconfig::read_from(cluster.server.kubeconfig()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(administrator, &Default::default())
        .await
        .unwrap();
    assert!(
        kube::Client::try_from(config)
            .unwrap()
            .apiserver_version()
            .await
            .is_ok()
    );
}
