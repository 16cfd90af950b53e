//! Mutating webhooks, called over HTTPS.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Cluster, Webhook, configure, create, deployment, object, patch, pod, refusal};

fn label(name: &str, value: &str) -> Value {
    patch(json!([{ "op": "add", "path": format!("/metadata/labels/{name}"), "value": value }]))
}

#[tokio::test]
async fn a_pod_is_changed_and_the_review_is_complete() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| {
        let mut response = label("injected", "yes");
        response["warnings"] = json!(["the pod got a sidecar"]);
        response
    })
    .await;
    configure(&cluster, vec![hook.entry("pods.example.com", &["pods"], &["CREATE"])]).await;
    let mut value = pod("web");
    value["metadata"] = json!({ "generateName": "web-", "labels": { "app": "web" } });
    let path = "/api/v1/namespaces/default/pods?fieldManager=tool";
    let (code, created, warnings) = cluster.request("POST", path, "application/json", &value).await;
    assert_eq!(code, 201, "{created}");
    assert_eq!(created["metadata"]["labels"]["injected"], "yes");
    assert_eq!(warnings, ["299 - \"the pod got a sidecar\""]);
    let asked = hook.asked.lock()[0].clone();
    assert_eq!(asked["operation"], "CREATE");
    assert_eq!(asked["namespace"], "default");
    assert_eq!(asked["kind"], json!({ "group": "", "version": "v1", "kind": "Pod" }));
    assert_eq!(
        asked["resource"],
        json!({ "group": "", "version": "v1", "resource": "pods" })
    );
    assert_eq!(asked["requestKind"], asked["kind"]);
    assert_eq!(asked["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(asked["dryRun"], false);
    assert_eq!(asked["options"]["fieldManager"], "tool");
    assert_eq!(asked["oldObject"], Value::Null);
    assert_eq!(
        asked["object"]["spec"]["restartPolicy"], "Always",
        "defaults come before webhooks"
    );
    assert!(
        asked["object"]["metadata"].get("name").is_none(),
        "generated names come after webhooks"
    );
}

#[tokio::test]
async fn what_a_webhook_adds_is_defaulted_validated_and_owned_by_nobody() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|request| {
        let bad = request["object"]["metadata"]["name"] == "bad";
        let name = if bad { "Not A Name" } else { "envoy" };
        let container = json!({ "name": name, "image": "envoyproxy/envoy:v1" });
        patch(json!([{ "op": "add", "path": "/spec/containers/-", "value": container }]))
    })
    .await;
    configure(&cluster, vec![hook.entry("pods.example.com", &["pods"], &["CREATE"])]).await;
    let created = create(&cluster.pods(), pod("web")).await;
    let container = &created.data["spec"]["containers"][1];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    let fields = serde_json::to_string(&created.metadata.managed_fields).unwrap();
    assert!(fields.contains("app") && !fields.contains("envoy"), "{fields}");
    let refused = refusal(cluster.pods().create(&PostParams::default(), &object(pod("bad"))).await);
    assert!(
        refused.message.contains("spec.containers[1].name"),
        "{}",
        refused.message
    );
}

#[tokio::test]
async fn an_empty_patch_of_the_scale_asks_and_writes_what_is_answered() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| {
        let mut response = patch(json!([{ "op": "add", "path": "/spec/replicas", "value": 6 }]));
        response["warnings"] = json!(["6 replicas, not 3"]);
        response
    })
    .await;
    configure(
        &cluster,
        vec![hook.entry("scale.example.com", &["deployments/scale"], &["UPDATE"])],
    )
    .await;
    let api = cluster.deployments();
    let mut value = deployment("web");
    value["spec"]["replicas"] = 0.into();
    create(&api, value).await;
    assert_eq!(
        hook.count(),
        0,
        "a rule for the subresource is not one for the resource"
    );
    let path = "/apis/apps/v1/namespaces/default/deployments/web/scale";
    let (code, scale, warnings) = cluster
        .request("PATCH", path, "application/merge-patch+json", &json!({}))
        .await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(6)));
    assert_eq!(warnings.len(), 1);
    let stored = api.get("web").await.unwrap();
    assert_eq!(stored.data["spec"]["replicas"], 6);
    assert_eq!(stored.metadata.generation, Some(2));
    let fields = serde_json::to_string(&stored.metadata.managed_fields).unwrap();
    assert!(
        !fields.contains("\"scale\""),
        "the author of an empty patch owns nothing: {fields}"
    );
    let asked = hook.asked.lock()[0].clone();
    assert_eq!(
        asked["kind"],
        json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" })
    );
    assert_eq!(asked["resource"]["resource"], "deployments");
    assert_eq!(asked["subResource"], "scale");
    assert!(
        asked["object"]["spec"].get("replicas").is_none(),
        "replicas is left out at 0"
    );
    assert_eq!(asked["oldObject"]["metadata"]["name"], "web");
    // Asking again changes nothing more.
    let before = stored.metadata.resource_version;
    cluster
        .request("PATCH", path, "application/merge-patch+json", &json!({}))
        .await;
    assert_eq!(api.get("web").await.unwrap().metadata.resource_version, before);
}

#[tokio::test]
async fn an_empty_patch_of_resize_asks_and_writes_what_is_answered() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| {
        patch(json!([{ "op": "replace", "path": "/spec/containers/0/resources/requests/cpu", "value": "750m" }]))
    })
    .await;
    configure(
        &cluster,
        vec![hook.entry("resize.example.com", &["pods/resize"], &["UPDATE"])],
    )
    .await;
    create(&cluster.pods(), pod("web")).await;
    let params = PatchParams::default();
    let empty = Patch::Merge(json!({}));
    let resized = cluster
        .pods()
        .patch_subresource("resize", "web", &params, &empty)
        .await
        .unwrap();
    assert_eq!(
        resized.data["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "750m"
    );
    let asked = hook.asked.lock()[0].clone();
    assert_eq!(
        (&asked["subResource"], &asked["kind"]["kind"]),
        (&json!("resize"), &json!("Pod"))
    );
    assert_eq!(
        asked["oldObject"]["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "500m"
    );
}

#[tokio::test]
async fn selectors_and_conditions_decide_who_is_asked() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| json!({})).await;
    let mut entry = hook.entry("pods.example.com", &["pods"], &["CREATE", "DELETE"]);
    entry["namespaceSelector"] = json!({ "matchLabels": { "injection": "enabled" } });
    entry["objectSelector"] = json!({ "matchExpressions": [{ "key": "skip", "operator": "DoesNotExist" }] });
    entry["matchConditions"] = json!([
        { "name": "not-the-kubelet", "expression": "!('system:nodes' in request.userInfo.groups)" },
        { "name": "named-web", "expression": "request.operation == 'DELETE' || object.metadata.name.startsWith('web')" },
    ]);
    configure(&cluster, vec![entry]).await;
    create(&cluster.pods(), pod("web-0")).await;
    assert_eq!(hook.count(), 0, "the namespace has no label");
    let namespaces = cluster.cluster_api("v1", "Namespace", "namespaces");
    let enable = Patch::Merge(json!({ "metadata": { "labels": { "injection": "enabled" } } }));
    namespaces
        .patch("default", &PatchParams::default(), &enable)
        .await
        .unwrap();
    create(&cluster.pods(), pod("web-1")).await;
    assert_eq!(hook.count(), 1);
    create(&cluster.pods(), pod("other")).await;
    let mut skipped = pod("web-2");
    skipped["metadata"]["labels"]["skip"] = "yes".into();
    create(&cluster.pods(), skipped).await;
    assert_eq!(hook.count(), 1);
    cluster.pods().delete("web-1", &DeleteParams::default()).await.unwrap();
    assert_eq!(hook.count(), 2);
    let asked = hook.asked.lock()[1].clone();
    assert_eq!(
        (&asked["operation"], &asked["object"]),
        (&json!("DELETE"), &Value::Null)
    );
    assert_eq!(asked["oldObject"]["metadata"]["name"], "web-1");
}

#[tokio::test]
async fn a_webhook_behind_a_service_is_found_by_its_endpoints() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| label("seen", "yes")).await;
    let mut entry = hook.entry("pods.example.com", &["pods"], &["CREATE"]);
    let service = json!({ "name": "hook", "namespace": "default", "path": "/mutate/pods", "port": 443 });
    entry["clientConfig"] = json!({ "service": service, "caBundle": hook.bundle });
    configure(&cluster, vec![entry]).await;
    let failed = refusal(
        cluster
            .pods()
            .create(&PostParams::default(), &object(pod("early")))
            .await,
    );
    assert!(
        failed.message.contains("failed calling webhook \"pods.example.com\""),
        "{}",
        failed.message
    );
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "hook" },
        "spec": { "selector": { "app": "hook" }, "ports": [{ "name": "https", "port": 443, "targetPort": 8443 }] },
    });
    create(&cluster.api("v1", "Service", "services"), service).await;
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "hook" },
        "subsets": [{
            "addresses": [{ "ip": hook.address.ip().to_string() }],
            "ports": [{ "name": "https", "port": hook.address.port() }],
        }],
    });
    create(&cluster.api("v1", "Endpoints", "endpoints"), endpoints).await;
    for name in ["one", "two"] {
        let created = create(&cluster.pods(), pod(name)).await;
        assert_eq!(created.metadata.labels.unwrap()["seen"], "yes");
    }
}

#[tokio::test]
async fn the_failure_policy_decides_about_webhooks_that_are_away() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| json!({})).await;
    let mut entry = hook.entry("pods.example.com", &["pods"], &["CREATE"]);
    entry["clientConfig"]["url"] = "https://127.0.0.1:1/mutate".into();
    entry["failurePolicy"] = "Ignore".into();
    let mut strict = entry.clone();
    strict["failurePolicy"] = "Fail".into();
    strict["objectSelector"] = json!({ "matchLabels": { "app": "strict" } });
    strict["name"] = "strict.example.com".into();
    configure(&cluster, vec![entry, strict]).await;
    create(&cluster.pods(), pod("lenient")).await;
    let failed = refusal(
        cluster
            .pods()
            .create(&PostParams::default(), &object(pod("strict")))
            .await,
    );
    assert_eq!((failed.code, failed.reason.as_str()), (500, "InternalError"));
    // A certificate that the bundle does not vouch for is as good as none.
    let stranger = Webhook::start(|_| json!({})).await;
    let mut wrong = hook.entry("wrong.example.com", &["configmaps"], &["CREATE"]);
    wrong["clientConfig"]["caBundle"] = stranger.bundle.clone().into();
    configure(&cluster, vec![wrong]).await;
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let failed = cluster
        .api("v1", "ConfigMap", "configmaps")
        .create(&PostParams::default(), &object(map))
        .await;
    assert!(refusal(failed).message.contains("tls:"));
}

#[tokio::test]
async fn a_refusal_names_the_webhook() {
    let cluster = Cluster::start().await;
    let hook =
        Webhook::start(|_| json!({ "allowed": false, "status": { "message": "not on a Friday", "code": 403 } })).await;
    configure(&cluster, vec![hook.entry("pods.example.com", &["pods"], &["CREATE"])]).await;
    let status = refusal(cluster.pods().create(&PostParams::default(), &object(pod("web"))).await);
    assert_eq!(status.code, 403);
    assert_eq!(
        status.message,
        "admission webhook \"pods.example.com\" denied the request: not on a Friday"
    );
}

#[tokio::test]
async fn a_dry_run_says_so_and_changes_nothing() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| label("seen", "yes")).await;
    configure(&cluster, vec![hook.entry("pods.example.com", &["pods"], &["CREATE"])]).await;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let shown = cluster.pods().create(&dry, &object(pod("web"))).await.unwrap();
    assert_eq!(shown.metadata.labels.unwrap()["seen"], "yes");
    assert_eq!(hook.asked.lock()[0]["dryRun"], true);
    assert!(cluster.pods().get_opt("web").await.unwrap().is_none());
}

#[tokio::test]
async fn an_earlier_webhook_is_asked_again_when_a_later_one_changes_the_object() {
    let cluster = Cluster::start().await;
    let count = |request: &Value| {
        request["object"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .len()
            .to_string()
    };
    let first = Webhook::start(move |request| label("containers", &count(request))).await;
    let second = Webhook::start(|request| {
        if request["object"]["spec"]["containers"].as_array().unwrap().len() > 1 {
            return json!({});
        }
        patch(json!([{ "op": "add", "path": "/spec/containers/-", "value": { "name": "late", "image": "late:1" } }]))
    })
    .await;
    let mut entry = first.entry("first.example.com", &["pods"], &["CREATE"]);
    entry["reinvocationPolicy"] = "IfNeeded".into();
    configure(
        &cluster,
        vec![entry, second.entry("second.example.com", &["pods"], &["CREATE"])],
    )
    .await;
    let created = create(&cluster.pods(), pod("web")).await;
    assert_eq!((first.count(), second.count()), (2, 1));
    assert_eq!(created.metadata.labels.unwrap()["containers"], "2");
}

#[tokio::test]
async fn validating_webhooks_see_the_final_object() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|request| json!({ "allowed": request["object"]["spec"]["replicas"] != 13 })).await;
    let api = cluster.cluster_api(
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    );
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "luck" },
        "webhooks": [hook.entry("luck.example.com", &["deployments"], &["CREATE", "UPDATE"])],
    });
    create(&api, configuration).await;
    create(&cluster.deployments(), deployment("web")).await;
    let unlucky = Patch::Merge(json!({ "spec": { "replicas": 13 } }));
    let status = refusal(
        cluster
            .deployments()
            .patch("web", &PatchParams::default(), &unlucky)
            .await,
    );
    assert!(status.message.contains("luck.example.com"), "{}", status.message);
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| json!({})).await;
    let api = cluster.cluster_api(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    );
    let mut entry = hook.entry("a.example.com", &["pods"], &["CREATE"]);
    entry["matchConditions"] = json!([{ "name": "broken", "expression": "object.(" }]);
    entry["sideEffects"] = "Some".into();
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "broken" }, "webhooks": [entry],
    });
    let status = refusal(api.create(&PostParams::default(), &object(configuration)).await);
    let fields: Vec<String> = status
        .details
        .unwrap()
        .causes
        .iter()
        .map(|cause| cause.field.clone())
        .collect();
    assert_eq!(
        fields,
        ["webhooks[0].sideEffects", "webhooks[0].matchConditions[0].expression"]
    );
}

#[tokio::test]
async fn a_rule_stands_for_every_version_of_what_it_names() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| patch(json!([{ "op": "replace", "path": "/spec/minReplicas", "value": 3 }]))).await;
    let mut entry = hook.entry("hpa.example.com", &["horizontalpodautoscalers"], &["CREATE"]);
    entry["rules"][0]["apiGroups"] = json!(["autoscaling"]);
    entry["rules"][0]["apiVersions"] = json!(["v2"]);
    configure(&cluster, vec![entry]).await;
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    let autoscaler = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": { "scaleTargetRef": target, "maxReplicas": 9, "targetCPUUtilizationPercentage": 60 },
    });
    let first = cluster.api("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers");
    let created = create(&first, autoscaler).await;
    assert_eq!(created.data["spec"]["minReplicas"], 3);
    assert_eq!(created.data["spec"]["targetCPUUtilizationPercentage"], 60);
    let asked = hook.asked.lock()[0].clone();
    assert_eq!(
        (&asked["kind"]["version"], &asked["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    let metric = &asked["object"]["spec"]["metrics"][0]["resource"];
    assert_eq!(metric["target"]["averageUtilization"], 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_webhook_that_is_too_slow_is_given_up() {
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|request| {
        if request["object"]["metadata"]["name"] == "slow" {
            std::thread::sleep(std::time::Duration::from_millis(4000));
        }
        label("seen", "yes")
    })
    .await;
    let mut entry = hook.entry("pods.example.com", &["pods"], &["CREATE"]);
    entry["timeoutSeconds"] = 3.into();
    entry["failurePolicy"] = "Ignore".into();
    configure(&cluster, vec![entry]).await;
    let slow = create(&cluster.pods(), pod("slow")).await;
    assert!(!slow.metadata.labels.unwrap().contains_key("seen"));
    let next = create(&cluster.pods(), pod("next")).await;
    assert_eq!(
        next.metadata.labels.unwrap()["seen"],
        "yes",
        "the next request gets a connection of its own"
    );
}
