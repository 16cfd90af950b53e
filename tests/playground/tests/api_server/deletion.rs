//! Deletion: finalizers, grace, owners, namespaces.

use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::support::{Cluster, create, deployment, eventually, object, pod, refusal};

#[tokio::test]
async fn a_finalizer_keeps_an_object_until_it_is_removed() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let mut value = deployment("web");
    value["metadata"]["finalizers"] = json!(["example.com/keep"]);
    create(&api, value).await;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    let kept = api.get("web").await.unwrap();
    assert!(kept.metadata.deletion_timestamp.is_some());
    api.patch(
        "web",
        &PatchParams::default(),
        &Patch::Merge(json!({ "metadata": { "finalizers": null } })),
    )
    .await
    .unwrap();
    assert!(api.get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn a_pod_on_a_node_waits_for_its_kubelet() {
    let cluster = Cluster::start().await;
    let api = cluster.pods();
    let mut value = pod("web");
    value["spec"]["nodeName"] = "node-a".into();
    create(&api, value).await;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    let stopping = api.get("web").await.unwrap();
    assert_eq!(stopping.metadata.deletion_grace_period_seconds, Some(30));
    // As the kubelet does once the containers are gone.
    api.delete(
        "web",
        &DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        },
    )
    .await
    .unwrap();
    assert!(api.get_opt("web").await.unwrap().is_none());
    create(&api, pod("nowhere")).await;
    api.delete("nowhere", &DeleteParams::default()).await.unwrap();
    assert!(
        api.get_opt("nowhere").await.unwrap().is_none(),
        "a pod on no node is gone at once"
    );
}

async fn owner_and_dependent(cluster: &Cluster) -> (Api<DynamicObject>, Api<DynamicObject>) {
    let owner = create(&cluster.deployments(), deployment("owner")).await;
    let mut dependent = pod("dependent");
    dependent["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "owner", "uid": owner.uid().unwrap(),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    create(&cluster.pods(), dependent).await;
    (cluster.deployments(), cluster.pods())
}

async fn gone(api: &Api<DynamicObject>, name: &str) -> bool {
    api.get_opt(name).await.unwrap().is_none()
}

fn propagation(policy: PropagationPolicy) -> DeleteParams {
    DeleteParams {
        propagation_policy: Some(policy),
        ..DeleteParams::default()
    }
}

#[tokio::test]
async fn dependents_follow_their_owner() {
    let cluster = Cluster::start().await;
    let (owners, dependents) = owner_and_dependent(&cluster).await;
    owners
        .delete("owner", &propagation(PropagationPolicy::Background))
        .await
        .unwrap();
    assert!(gone(&owners, "owner").await);
    eventually("the dependent is collected", || gone(&dependents, "dependent")).await;
}

#[tokio::test]
async fn in_the_foreground_the_owner_goes_last() {
    let cluster = Cluster::start().await;
    let (owners, dependents) = owner_and_dependent(&cluster).await;
    let keep = Patch::Merge(json!({ "metadata": { "finalizers": ["example.com/keep"] } }));
    dependents
        .patch("dependent", &PatchParams::default(), &keep)
        .await
        .unwrap();
    owners
        .delete("owner", &propagation(PropagationPolicy::Foreground))
        .await
        .unwrap();
    eventually("the dependent is being deleted", async || {
        dependents
            .get("dependent")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    assert!(!gone(&owners, "owner").await);
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    dependents
        .patch("dependent", &PatchParams::default(), &release)
        .await
        .unwrap();
    eventually("the owner goes", || gone(&owners, "owner")).await;
    assert!(gone(&dependents, "dependent").await);
}

#[tokio::test]
async fn orphans_stay_without_their_owner() {
    let cluster = Cluster::start().await;
    let (owners, dependents) = owner_and_dependent(&cluster).await;
    owners
        .delete("owner", &propagation(PropagationPolicy::Orphan))
        .await
        .unwrap();
    eventually("the owner goes", || gone(&owners, "owner")).await;
    let left = dependents.get("dependent").await.unwrap();
    assert!(left.owner_references().is_empty());
}

#[tokio::test]
async fn a_namespace_goes_with_what_is_in_it() {
    let cluster = Cluster::start().await;
    let namespaces = cluster.cluster_api("v1", "Namespace", "namespaces");
    create(
        &namespaces,
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
    )
    .await;
    let accounts = cluster.api_in("shop", "v1", "ServiceAccount", "serviceaccounts");
    eventually("the default ServiceAccount", async || {
        accounts.get_opt("default").await.unwrap().is_some()
    })
    .await;
    let deployments = cluster.api_in("shop", "apps/v1", "Deployment", "deployments");
    let mut kept = deployment("web");
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    create(&deployments, kept).await;
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    let refused = deployments
        .create(&Default::default(), &object(deployment("late")))
        .await;
    assert!(refusal(refused).message.contains("because it is being terminated"));
    let shown = namespaces.get("shop").await.unwrap();
    assert_eq!(shown.data["status"]["phase"], "Terminating");
    eventually("the content is being deleted", async || {
        deployments
            .get("web")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    })
    .await;
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    deployments
        .patch("web", &PatchParams::default(), &release)
        .await
        .unwrap();
    eventually("the namespace goes", || gone(&namespaces, "shop")).await;
    let missing = deployments
        .create(&Default::default(), &object(deployment("late")))
        .await;
    assert_eq!(refusal(missing).code, 404);
}

#[tokio::test]
async fn collections_are_deleted_by_selector() {
    let cluster = Cluster::start().await;
    let api = cluster.pods();
    for name in ["a", "b"] {
        create(&api, pod(name)).await;
    }
    let path = "/api/v1/namespaces/default/pods?labelSelector=app%3Da";
    let (code, _, _) = cluster.request("DELETE", path, "application/json", &Value::Null).await;
    assert_eq!(code, 200);
    assert!(gone(&api, "a").await && !gone(&api, "b").await);
}
