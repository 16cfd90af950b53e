//! Reading and writing objects.

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Cluster, create, deployment, object, pod, refusal};

#[tokio::test]
async fn a_new_object_gets_its_metadata_and_defaults() {
    let cluster = Cluster::start().await;
    let created = create(&cluster.deployments(), deployment("web")).await;
    assert_eq!(created.metadata.generation, Some(1));
    assert!(created.uid().is_some() && created.resource_version().is_some() && created.creation_timestamp().is_some());
    assert_eq!(created.data["spec"]["strategy"]["type"], "RollingUpdate");
    assert_eq!(
        created.data["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    let again = cluster
        .deployments()
        .create(&PostParams::default(), &object(deployment("web")))
        .await;
    assert_eq!(refusal(again).reason, "AlreadyExists");
}

#[tokio::test]
async fn a_stale_revision_is_a_conflict_and_generation_counts_specifications() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let created = create(&api, deployment("web")).await;
    let mut changed = created.clone();
    changed.data["spec"]["replicas"] = 3.into();
    let changed = api.replace("web", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(changed.metadata.generation, Some(2));
    let mut stale = created;
    stale.data["spec"]["replicas"] = 4.into();
    assert_eq!(
        refusal(api.replace("web", &PostParams::default(), &stale).await).reason,
        "Conflict"
    );

    let status = json!({ "status": { "replicas": 3, "observedGeneration": 2 }, "spec": { "replicas": 9 } });
    let patched = api
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&status))
        .await
        .unwrap();
    assert_eq!(patched.data["status"]["replicas"], 3);
    assert_eq!(
        patched.data["spec"]["replicas"], 3,
        "the status subresource leaves the specification alone"
    );
    assert_eq!(patched.metadata.generation, Some(2));
}

#[tokio::test]
async fn a_patch_that_changes_nothing_is_no_write() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let created = create(&api, deployment("web")).await;
    let same = api
        .patch("web", &PatchParams::default(), &Patch::Merge(json!({})))
        .await
        .unwrap();
    assert_eq!(same.resource_version(), created.resource_version());
}

#[tokio::test]
async fn patches_of_every_form() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    create(&api, deployment("web")).await;
    let params = PatchParams::default();
    let merged = api
        .patch(
            "web",
            &params,
            &Patch::Merge(json!({ "metadata": { "labels": { "x": "y" } } })),
        )
        .await
        .unwrap();
    assert_eq!(merged.labels()["x"], "y");
    let operations: json_patch::Patch =
        serde_json::from_value(json!([{ "op": "remove", "path": "/metadata/labels/x" }])).unwrap();
    let removed = api.patch("web", &params, &Patch::Json::<()>(operations)).await.unwrap();
    assert!(!removed.labels().contains_key("x"));
    let sidecar =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "side", "image": "side:1" }] } } } });
    let strategic = api.patch("web", &params, &Patch::Strategic(sidecar)).await.unwrap();
    assert_eq!(
        strategic.data["spec"]["template"]["spec"]["containers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn bad_objects_are_refused_by_field() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let attempt = async |change: &dyn Fn(&mut Value)| {
        let mut value = deployment("web");
        change(&mut value);
        refusal(api.create(&PostParams::default(), &object(value)).await)
    };
    let status = attempt(&|value| value["spec"]["replicas"] = (-1).into()).await;
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"));
    assert_eq!(status.details.unwrap().causes[0].field, "spec.replicas");
    let status = attempt(&|value| value["spec"]["template"]["metadata"]["labels"]["app"] = "other".into()).await;
    assert!(
        status.message.contains("`selector` does not match template `labels`"),
        "{}",
        status.message
    );
    let status = attempt(&|value| value["spec"]["template"]["spec"]["containers"] = json!([])).await;
    assert!(
        status.message.contains("spec.template.spec.containers: Required value"),
        "{}",
        status.message
    );
    let status = attempt(&|value| value["metadata"]["name"] = "Web".into()).await;
    assert!(status.message.contains("metadata.name"), "{}", status.message);
    let status = attempt(&|value| value["spec"]["replicas"] = "three".into()).await;
    assert_eq!(status.code, 400);
    let status = attempt(&|value| {
        value["spec"]["template"]["spec"]["containers"][0]["resources"] =
            json!({ "requests": { "cpu": "2" }, "limits": { "cpu": "1" } });
    })
    .await;
    assert!(
        status.message.contains("must be less than or equal to cpu limit of 1"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn unknown_fields_are_named() {
    let cluster = Cluster::start().await;
    let mut value = deployment("web");
    value["spec"]["replicaz"] = 3.into();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let (code, status, _) = cluster
        .request(
            "POST",
            &format!("{path}?fieldValidation=Strict"),
            "application/json",
            &value,
        )
        .await;
    assert_eq!(code, 400);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("unknown field \"spec.replicaz\""),
        "{status}"
    );
    let (code, created, warnings) = cluster.request("POST", path, "application/json", &value).await;
    assert_eq!(code, 201);
    assert!(created["spec"].get("replicaz").is_none());
    assert!(warnings[0].contains("unknown field"), "{warnings:?}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let shown = api.create(&dry, &object(deployment("web"))).await.unwrap();
    assert_eq!(shown.data["spec"]["progressDeadlineSeconds"], 600);
    assert!(api.get_opt("web").await.unwrap().is_none());
    create(&api, deployment("web")).await;
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let shown = api
        .patch("web", &params, &Patch::Merge(json!({ "spec": { "replicas": 8 } })))
        .await
        .unwrap();
    assert_eq!(shown.data["spec"]["replicas"], 8);
    assert_eq!(api.get("web").await.unwrap().data["spec"]["replicas"], 2);
    api.delete(
        "web",
        &DeleteParams {
            dry_run: true,
            ..DeleteParams::default()
        },
    )
    .await
    .unwrap();
    assert!(api.get_opt("web").await.unwrap().is_some());
}

#[tokio::test]
async fn lists_select_and_page() {
    let cluster = Cluster::start().await;
    let api = cluster.pods();
    for name in ["a", "b", "c"] {
        create(&api, pod(name)).await;
    }
    let names = |list: kube::core::ObjectList<kube::api::DynamicObject>| -> Vec<String> {
        list.items.iter().map(ResourceExt::name_any).collect()
    };
    assert_eq!(
        names(api.list(&ListParams::default().labels("app in (a,c)")).await.unwrap()),
        ["a", "c"]
    );
    assert_eq!(
        names(
            api.list(&ListParams::default().fields("metadata.name!=a"))
                .await
                .unwrap()
        ),
        ["b", "c"]
    );
    assert_eq!(
        names(
            api.list(&ListParams::default().fields("status.phase=Running"))
                .await
                .unwrap()
        ),
        [""; 0]
    );
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(1));
    assert_eq!(names(first), ["a", "b"]);
    let rest = api
        .list(&ListParams::default().limit(2).continue_token(&token))
        .await
        .unwrap();
    assert!(rest.metadata.continue_.is_none());
    assert_eq!(names(rest), ["c"]);
    let unknown = refusal(api.list(&ListParams::default().fields("spec.color=red")).await);
    assert!(unknown.message.contains("spec.color"), "{}", unknown.message);
}

#[tokio::test]
async fn names_are_generated() {
    let cluster = Cluster::start().await;
    let mut value = pod("x");
    value["metadata"] = json!({ "generateName": "web-abc-" });
    let first = create(&cluster.pods(), value.clone()).await.name_any();
    let second = create(&cluster.pods(), value).await.name_any();
    assert!(
        first.starts_with("web-abc-") && first.len() == "web-abc-".len() + 5,
        "{first}"
    );
    assert_ne!(first, second);
}

#[tokio::test]
async fn the_scale_subresource_writes_replicas_through() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    create(&api, deployment("web")).await;
    let scale = api.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=web"));
    let patch = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    api.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    let path = "/apis/apps/v1/namespaces/default/deployments/web/scale";
    let (_, raw, _) = cluster.request("GET", path, "application/json", &Value::Null).await;
    assert!(
        raw["spec"].get("replicas").is_none(),
        "the Go type leaves a 0 out: {raw}"
    );
    let changed = api.get("web").await.unwrap();
    assert_eq!(changed.data["spec"]["replicas"], 0);
    assert_eq!(changed.metadata.generation, Some(2));
    let negative = Patch::Merge(json!({ "spec": { "replicas": -1 } }));
    assert_eq!(
        refusal(api.patch_scale("web", &PatchParams::default(), &negative).await).code,
        422
    );
}

#[tokio::test]
async fn events_of_both_groups_are_the_same_events() {
    let cluster = Cluster::start().await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "web.1" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "valence", "reportingInstance": "a",
        "action": "Decide", "reason": "Decided", "note": "four replicas", "type": "Normal",
        "regarding": { "kind": "Deployment", "namespace": "default", "name": "web" },
    });
    create(&cluster.api("events.k8s.io/v1", "Event", "events"), event).await;
    let core = cluster.api("v1", "Event", "events");
    let found = core
        .list(&ListParams::default().fields("involvedObject.name=web"))
        .await
        .unwrap();
    assert_eq!(found.items[0].data["message"], "four replicas");
    assert_eq!(found.items[0].data["involvedObject"]["kind"], "Deployment");
}

#[tokio::test]
async fn a_pod_is_resized_only_where_that_is_allowed() {
    let cluster = Cluster::start().await;
    let api = cluster.pods();
    create(&api, pod("web")).await;
    let direct = json!({ "spec": { "containers": [{ "name": "app", "resources": { "requests": { "cpu": "1" } } }] } });
    let refused = refusal(
        api.patch("web", &PatchParams::default(), &Patch::Strategic(direct.clone()))
            .await,
    );
    assert!(
        refused.message.contains("pod updates may not change fields"),
        "{}",
        refused.message
    );
    let resized = api
        .patch_subresource("resize", "web", &PatchParams::default(), &Patch::Strategic(direct))
        .await
        .unwrap();
    assert_eq!(
        resized.data["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "1"
    );
    assert_eq!(resized.metadata.generation, Some(2));
    let revision = resized.resource_version();
    let empty = Patch::Merge(json!({ "metadata": { "annotations": { "a": "b" } } }));
    let same = api
        .patch_subresource("resize", "web", &PatchParams::default(), &empty)
        .await
        .unwrap();
    assert_eq!(
        same.resource_version(),
        revision,
        "a resize changes nothing but resources"
    );
    let more = json!({ "spec": { "containers": [{ "name": "late", "image": "late:1" }] } });
    let outcome = api
        .patch_subresource("resize", "web", &PatchParams::default(), &Patch::Strategic(more))
        .await;
    assert!(
        refusal(outcome)
            .message
            .contains("may not be added or removed on resize")
    );
    let guaranteed = json!({ "spec": { "containers": [{ "name": "app", "resources": {
        "requests": { "cpu": "1", "memory": "64Mi" }, "limits": { "cpu": "1", "memory": "64Mi" },
    } }] } });
    let outcome = api
        .patch_subresource("resize", "web", &PatchParams::default(), &Patch::Strategic(guaranteed))
        .await;
    assert!(refusal(outcome).message.contains("Pod QOS Class may not change"));
}
