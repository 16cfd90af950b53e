//! LimitRange, ResourceQuota, eviction and metrics.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use valence_playground::apiserver::{ContainerLogs, ContainerUsage, LogRequest, NodeUsage, PodUsage, ResourceUsage};

use crate::support::{Cluster, create, eventually, object, pod, refusal};

#[tokio::test]
async fn limit_ranges_fill_in_and_bound() {
    let cluster = Cluster::start().await;
    let limits = json!([
        {
            "type": "Container", "max": { "cpu": "2" }, "min": { "cpu": "100m" },
            "default": { "cpu": "1" }, "defaultRequest": { "cpu": "200m" },
        },
        { "type": "Pod", "max": { "cpu": "3" } },
    ]);
    let range = json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "bounds" }, "spec": { "limits": limits } });
    create(&cluster.api("v1", "LimitRange", "limitranges"), range).await;
    let mut bare = pod("bare");
    bare["spec"]["containers"][0]["resources"] = json!({});
    let created = create(&cluster.pods(), bare).await;
    let resources = &created.data["spec"]["containers"][0]["resources"];
    assert_eq!(
        *resources,
        json!({ "limits": { "cpu": "1" }, "requests": { "cpu": "200m" } })
    );
    let attempt = async |name: &str, cpu: &str| {
        let mut value = pod(name);
        value["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu }, "limits": { "cpu": cpu } });
        refusal(cluster.pods().create(&PostParams::default(), &object(value)).await)
    };
    let small = attempt("small", "50m").await;
    assert_eq!((small.code, small.reason.as_str()), (403, "Forbidden"));
    assert!(
        small
            .message
            .contains("minimum cpu usage per Container is 100m, but request is 50m"),
        "{}",
        small.message
    );
    let large = attempt("large", "4").await;
    assert!(
        large.message.contains("maximum cpu usage per Pod is 3, but limit is 4"),
        "{}",
        large.message
    );
    let resize = json!({ "spec": { "containers": [{ "name": "app", "resources": { "limits": { "cpu": "3" } } }] } });
    let outcome = cluster
        .pods()
        .patch_subresource("resize", "bare", &PatchParams::default(), &Patch::Strategic(resize))
        .await;
    assert!(
        refusal(outcome)
            .message
            .contains("maximum cpu usage per Container is 2")
    );
}

#[tokio::test]
async fn quotas_count_and_refuse() {
    let cluster = Cluster::start().await;
    let quotas = cluster.api("v1", "ResourceQuota", "resourcequotas");
    let hard = json!({ "requests.cpu": "1", "pods": "5", "count/deployments.apps": "0" });
    create(
        &quotas,
        json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" }, "spec": { "hard": hard } }),
    )
    .await;
    create(&cluster.pods(), pod("a")).await;
    create(&cluster.pods(), pod("b")).await;
    let status = refusal(cluster.pods().create(&PostParams::default(), &object(pod("c"))).await);
    assert_eq!(status.code, 403);
    assert_eq!(
        status.message,
        "pods \"c\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=1, limited: requests.cpu=1"
    );
    let mut bare = pod("bare");
    bare["spec"]["containers"][0]["resources"] = json!({});
    let status = refusal(cluster.pods().create(&PostParams::default(), &object(bare)).await);
    assert!(
        status
            .message
            .contains("failed quota: q: must specify requests.cpu for: app"),
        "{}",
        status.message
    );
    let resize =
        json!({ "spec": { "containers": [{ "name": "app", "resources": { "requests": { "cpu": "600m" } } }] } });
    let outcome = cluster
        .pods()
        .patch_subresource("resize", "a", &PatchParams::default(), &Patch::Strategic(resize))
        .await;
    assert!(
        refusal(outcome)
            .message
            .contains("exceeded quota: q, requested: requests.cpu=100m")
    );
    let deployment = object(crate::support::deployment("web"));
    let status = refusal(cluster.deployments().create(&PostParams::default(), &deployment).await);
    assert!(
        status.message.contains("count/deployments.apps=1"),
        "{}",
        status.message
    );
    eventually("the quota's status", async || {
        quotas.get("q").await.unwrap().data["status"]["used"]
            == json!({ "requests.cpu": "1", "pods": "2", "count/deployments.apps": "0" })
    })
    .await;
}

#[tokio::test]
async fn a_budget_stands_in_the_way_of_an_eviction() {
    let cluster = Cluster::start().await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "tier": "web" } } },
    });
    create(
        &cluster.api("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        budget,
    )
    .await;
    for name in ["a", "b"] {
        let mut value = pod(name);
        value["metadata"]["labels"]["tier"] = "web".into();
        create(&cluster.pods(), value).await;
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        cluster
            .pods()
            .patch_status(name, &PatchParams::default(), &Patch::Merge(ready))
            .await
            .unwrap();
    }
    let eviction = |name: &str| json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    let path = |name: &str| format!("/api/v1/namespaces/default/pods/{name}/eviction");
    let (code, _, _) = cluster
        .request("POST", &path("a"), "application/json", &eviction("a"))
        .await;
    assert_eq!(code, 201);
    let (code, status, _) = cluster
        .request("POST", &path("b"), "application/json", &eviction("b"))
        .await;
    assert_eq!(code, 429);
    assert_eq!(status["reason"], "TooManyRequests");
    assert_eq!(status["details"]["causes"][0]["reason"], "DisruptionBudget");
}

/// Nodes that have measured two pods, one of which is gone.
pub struct Nodes;

impl ResourceUsage for Nodes {
    fn pods(&self) -> Vec<PodUsage> {
        ["web", "gone"]
            .map(|name| PodUsage {
                namespace: "default".into(),
                name: name.into(),
                timestamp: "2026-01-01T00:00:00Z".parse().unwrap(),
                window: Duration::from_secs(15),
                containers: vec![ContainerUsage {
                    name: "app".into(),
                    cpu_cores: 0.25,
                    memory_bytes: 64 << 20,
                }],
            })
            .into()
    }

    fn nodes(&self) -> Vec<NodeUsage> {
        Vec::new()
    }
}

impl ContainerLogs for Nodes {
    fn log(&self, request: &LogRequest) -> Option<String> {
        Some(format!("{}/{} says hello\n", request.pod, request.container))
    }
}

#[tokio::test]
async fn usage_and_logs_come_from_the_nodes() {
    let cluster = Cluster::start().await;
    create(&cluster.pods(), pod("web")).await;
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods";
    let (_, empty, _) = cluster.request("GET", path, "application/json", &Value::Null).await;
    assert_eq!(empty["items"], json!([]));
    cluster.server.set_resource_usage(Arc::new(Nodes));
    cluster.server.set_container_logs(Arc::new(Nodes));
    let (_, list, _) = cluster.request("GET", path, "application/json", &Value::Null).await;
    assert_eq!(
        list["items"].as_array().unwrap().len(),
        1,
        "a pod that is gone has no usage"
    );
    let item = &list["items"][0];
    assert_eq!(item["metadata"]["labels"]["app"], "web");
    assert_eq!(
        item["containers"][0]["usage"],
        json!({ "cpu": "250000000n", "memory": "65536Ki" })
    );
    let request = http::Request::get("/api/v1/namespaces/default/pods/web/log")
        .body(Vec::new())
        .unwrap();
    assert_eq!(
        cluster.client.request_text(request).await.unwrap(),
        "web/app says hello\n"
    );
}
