//! What becomes of pods when they are made, and of our webhook configuration.

use serde_json::{Value, json};

use crate::cluster::{Cluster, collection, container, item};
use crate::objects::{deployment, namespace, objective, pod, replica_set};

crate::on_both! {
    a_pod_made_by_hand_gets_the_sidecar
    a_dry_run_shows_the_sidecar_and_stores_nothing
    the_bundle_is_patched_by_name
}

/// Namespace, objective, Deployment, ReplicaSet; answers a pod of it that is not made yet.
pub async fn open_shop(cluster: &Cluster) -> (Value, Value) {
    cluster.apply(&namespace()).await;
    cluster.apply(&objective()).await;
    let deployment = cluster.apply(&deployment()).await;
    let replica_set = cluster.apply(&replica_set(&deployment)).await;
    let pod = pod(&replica_set, "web-1-a");
    cluster.would_inject(&pod).await;
    (deployment, pod)
}

async fn a_pod_made_by_hand_gets_the_sidecar(cluster: Cluster) {
    let (_, pod) = open_shop(&cluster).await;
    let created = cluster.create(&pod).await.accepted();
    let stored = cluster.get(&item(&created)).await;
    assert_eq!(created["spec"], stored["spec"]);
    let sidecar = container(&stored, "envoy").unwrap();
    assert!(
        sidecar["image"].as_str().unwrap().starts_with("envoyproxy/envoy:v"),
        "{sidecar}"
    );
    let ports: Vec<_> = sidecar["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| &port["containerPort"])
        .collect();
    assert_eq!(ports, [8081, 8181]);
    // Nothing is recommended yet, so the application keeps what it asked for.
    assert_eq!(
        container(&stored, "application").unwrap()["resources"],
        container(&pod, "application").unwrap()["resources"]
    );
    let mut bare = pod.clone();
    bare["metadata"]["name"] = json!("nobody-s");
    bare["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    let created = cluster.create(&bare).await.accepted();
    assert!(
        container(&created, "envoy").is_none(),
        "a pod of no Deployment is not ours: {created}"
    );
}

async fn a_dry_run_shows_the_sidecar_and_stores_nothing(cluster: Cluster) {
    let (_, pod) = open_shop(&cluster).await;
    let shown = cluster.create_dry(&pod).await.accepted();
    assert!(container(&shown, "envoy").is_some(), "{shown}");
    let pods = cluster.get(&collection(&pod)).await;
    assert_eq!(pods["items"], json!([]));
    let created = cluster.create(&pod).await.accepted();
    assert_eq!(
        container(&shown, "envoy"),
        container(&created, "envoy"),
        "the dry run showed what is done"
    );
}

/// Whoever writes our configuration anew, in another order and without bundles, finds it completed, not replaced.
///
/// A real API server asks the webhooks by a bundle only some time after it was patched; each case waits for the answer.
async fn the_bundle_is_patched_by_name(cluster: Cluster) {
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/valence";
    let secret = cluster
        .get("/api/v1/namespaces/valence-system/secrets/valence-webhook-certificates")
        .await;
    let authority = secret["data"]["ca.crt"].as_str().unwrap();
    let first = patched(&cluster, path, authority).await;
    let mut rewritten = first.clone();
    let webhooks = rewritten["webhooks"].as_array_mut().unwrap();
    webhooks.reverse();
    for webhook in webhooks {
        webhook["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    }
    cluster.replace(path, &rewritten).await.accepted();
    let second = patched(&cluster, path, authority).await;
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"], "it was made anew");
    let mut expected = first["webhooks"].as_array().unwrap().clone();
    expected.reverse();
    assert_eq!(second["webhooks"], Value::Array(expected));
}

/// The configuration once every webhook has the bundle.
async fn patched(cluster: &Cluster, path: &str, authority: &str) -> Value {
    cluster
        .eventually("the bundle", || async {
            let found = cluster.get(path).await;
            let webhooks = found["webhooks"].as_array().unwrap();
            let all = webhooks
                .iter()
                .all(|webhook| webhook["clientConfig"]["caBundle"] == authority);
            assert_eq!(webhooks.len(), 6, "{found}");
            all.then_some(found.clone()).ok_or(found.to_string())
        })
        .await
}

/// Pods that controllers make, rather than the test. The playground brings its own controllers; a real control plane
/// needs kube-controller-manager for it.
mod pods_that_controllers_make_get_the_sidecar {
    use crate::cluster::Cluster;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_the_playground() {
        super::controllers_make_pods(Cluster::on_the_whole_playground().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_a_real_control_plane() {
        let name = "pods_that_controllers_make_get_the_sidecar::on_a_real_control_plane";
        if let Some(cluster) = Cluster::on_a_real_control_plane_with_controllers(name).await {
            super::controllers_make_pods(cluster).await;
        }
    }
}

async fn controllers_make_pods(cluster: Cluster) {
    cluster.apply(&namespace()).await;
    cluster.apply(&objective()).await;
    cluster.apply(&deployment()).await;
    let pods = cluster
        .eventually("two pods", || async {
            let pods = cluster.get("/api/v1/namespaces/shop/pods").await;
            let items = pods["items"].as_array().unwrap().clone();
            (items.len() == 2).then_some(items).ok_or(pods.to_string())
        })
        .await;
    for pod in pods {
        assert!(container(&pod, "envoy").is_some(), "{pod}");
    }
}
