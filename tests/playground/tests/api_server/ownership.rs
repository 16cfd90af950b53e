//! Server-side apply: who owns which field.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{Cluster, create, deployment, refusal};

fn configuration(change: impl FnOnce(&mut Value)) -> Value {
    let mut value = deployment("web");
    change(&mut value);
    value
}

#[tokio::test]
async fn two_managers_of_one_field_conflict_until_one_gives_in() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let apply = async |manager: &str, force: bool, value: Value| {
        let mut params = PatchParams::apply(manager);
        params.force = force;
        api.patch("web", &params, &Patch::Apply(value)).await
    };
    apply("first", false, configuration(|_| {})).await.unwrap();
    // The same value is no conflict: both own it then.
    apply("second", false, configuration(|_| {})).await.unwrap();
    let status = refusal(
        apply(
            "second",
            false,
            configuration(|value| value["spec"]["replicas"] = 5.into()),
        )
        .await,
    );
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(
        status.message.contains("conflict with \"first\": .spec.replicas"),
        "{}",
        status.message
    );
    let causes = status.details.unwrap().causes;
    assert_eq!(
        (causes[0].reason.as_str(), causes[0].field.as_str()),
        ("FieldManagerConflict", ".spec.replicas")
    );
    let forced = apply(
        "second",
        true,
        configuration(|value| value["spec"]["replicas"] = 5.into()),
    )
    .await
    .unwrap();
    assert_eq!(forced.data["spec"]["replicas"], 5);
    // Whoever leaves a field out gives it up.
    let without = |value: &mut Value| {
        value["spec"].as_object_mut().unwrap().remove("replicas");
    };
    let kept = apply("first", false, configuration(without)).await.unwrap();
    assert_eq!(kept.data["spec"]["replicas"], 5);
}

#[tokio::test]
async fn what_is_no_longer_applied_goes() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    let params = PatchParams::apply("tool");
    let with = configuration(|value| {
        value["metadata"]["annotations"] = json!({ "a": "1", "b": "2" });
        value["spec"]["template"]["spec"]["containers"][0]["env"] =
            json!([{ "name": "X", "value": "1" }, { "name": "Y", "value": "2" }]);
    });
    api.patch("web", &params, &Patch::Apply(with)).await.unwrap();
    let merge = json!({ "metadata": { "annotations": { "other": "3" } } });
    api.patch("web", &PatchParams::default(), &Patch::Merge(merge))
        .await
        .unwrap();
    let less = configuration(|value| {
        value["metadata"]["annotations"] = json!({ "a": "1" });
        value["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "Y", "value": "2" }]);
    });
    let object = api.patch("web", &params, &Patch::Apply(less)).await.unwrap();
    let annotations = object.metadata.annotations.clone().unwrap();
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["a", "other"]);
    let env = &object.data["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env, &json!([{ "name": "Y", "value": "2" }]));
}

#[tokio::test]
async fn an_ordinary_update_takes_ownership_of_what_it_changes() {
    let cluster = Cluster::start().await;
    let api = cluster.deployments();
    api.patch("web", &PatchParams::apply("tool"), &Patch::Apply(deployment("web")))
        .await
        .unwrap();
    let params = PatchParams {
        field_manager: Some("hand".into()),
        ..PatchParams::default()
    };
    let patched = api
        .patch("web", &params, &Patch::Merge(json!({ "spec": { "replicas": 7 } })))
        .await
        .unwrap();
    let entries = patched.metadata.managed_fields.unwrap();
    let hand = entries
        .iter()
        .find(|entry| entry.manager.as_deref() == Some("hand"))
        .unwrap();
    assert_eq!(hand.operation.as_deref(), Some("Update"));
    assert_eq!(
        hand.fields_v1.as_ref().unwrap().0,
        json!({ "f:spec": { "f:replicas": {} } })
    );
    let status = refusal(
        api.patch("web", &PatchParams::apply("tool"), &Patch::Apply(deployment("web")))
            .await,
    );
    assert!(
        status
            .message
            .contains("conflict with \"hand\" using apps/v1: .spec.replicas"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn apply_needs_a_manager() {
    let cluster = Cluster::start().await;
    create(&cluster.deployments(), deployment("web")).await;
    let path = "/apis/apps/v1/namespaces/default/deployments/web";
    let (code, status, _) = cluster
        .request("PATCH", path, "application/apply-patch+yaml", &deployment("web"))
        .await;
    assert_eq!(code, 422);
    assert!(status["message"].as_str().unwrap().contains("fieldManager"), "{status}");
}
