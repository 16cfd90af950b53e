//! Objects that change, go and come back while the recommender works on them, and what other versions wrote.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::beside::{MOMENT, Operator, Plane, Start};
use crate::support::{self, SHOP, condition};

async fn started() -> (Plane, Operator) {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let operator = plane.operator(Start::default()).await;
    plane.recommendation(|status| status["decidedAt"].is_string()).await;
    (plane, operator)
}

/// Waits for decisions that are newer than now.
async fn decides(plane: &Plane) -> Value {
    let before = plane.recommendation(|status| status["decidedAt"].is_string()).await;
    plane
        .recommendation(|status| status["decidedAt"].is_string() && status["decidedAt"] != before["decidedAt"])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn objectives_and_workloads_may_change_at_any_moment() {
    let (plane, operator) = started().await;
    what_a_later_version_wrote_stays(&plane).await;
    two_objectives_on_one_deployment_both_hold(&plane).await;
    an_objective_that_is_edited_during_decisions_ends_as_it_was_last_written(&plane).await;
    a_renamed_deployment_starts_anew(&plane).await;
    a_namespace_deleted_during_a_cycle_takes_all_of_its_own_along(&plane, &operator).await;
}

/// Of objects whose definitions have fields that this version does not know, the statuses are written and nothing else.
async fn what_a_later_version_wrote_stays(plane: &Plane) {
    let definitions: Api<CustomResourceDefinition> = Api::all(plane.client());
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/later";
    let patch = json!([{"op": "add", "path": fields, "value": anything}]);
    for kind in ["servicelevelobjectives", "recommendations"] {
        let patch = Patch::Json::<()>(serde_json::from_value(patch.clone()).unwrap());
        let name = format!("{kind}.optimizer.valence.io");
        definitions.patch(&name, &PatchParams::default(), &patch).await.unwrap();
    }
    let later = json!({"metadata": {"annotations": {"valence.io/later": "yes"}}, "spec": {"later": {"a": [1]}}});
    let own = [("ServiceLevelObjective", "slo-webapps"), ("Recommendation", "web")];
    for (kind, name) in own {
        let api = plane.dynamic(kind);
        valence_playground::until(format!("{kind} of a later version"), support::SOON, || async {
            let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&later)).await;
            let patched = patched.map_err(|error| error.to_string())?;
            // A definition takes a moment.
            let kept = patched.data["spec"]["later"] == later["spec"]["later"];
            kept.then_some(()).ok_or_else(|| patched.data["spec"].to_string())
        })
        .await
        .unwrap();
    }
    // Another response time, so that both statuses are written anew.
    let other = json!([{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "90ms"}}}]);
    let other = json!({"spec": {"objectives": other}});
    let api = plane.dynamic("ServiceLevelObjective");
    let edited = api
        .patch("slo-webapps", &PatchParams::default(), &Patch::Merge(&other))
        .await;
    let generation = edited.unwrap().metadata.generation;
    plane
        .wait("ServiceLevelObjective", "slo-webapps", |object| {
            object.data["status"]["observedGeneration"].as_i64() == generation
        })
        .await;
    plane
        .recommendation(|status| status["objectives"][0]["responseTime"] == "90ms")
        .await;
    for (kind, name) in own {
        let object = plane.dynamic(kind).get(name).await.unwrap();
        assert_eq!(object.data["spec"]["later"], later["spec"]["later"], "{kind}");
        assert_eq!(
            object.metadata.annotations.unwrap()["valence.io/later"],
            "yes",
            "{kind}"
        );
    }
}

async fn two_objectives_on_one_deployment_both_hold(plane: &Plane) {
    let mut second = support::objective();
    second["metadata"]["name"] = json!("slo-stricter");
    second["spec"]["objectives"][0]["http"]["latency"]["responseTime"] = json!("50ms");
    plane.apply(vec![second]).await;
    let status = plane
        .recommendation(|status| status["objectives"].as_array().is_some_and(|all| all.len() == 2))
        .await;
    let names: Vec<_> = status["objectives"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["slo"])
        .collect();
    assert_eq!(names, ["slo-stricter", "slo-webapps"]);
    for name in ["slo-stricter", "slo-webapps"] {
        plane
            .wait("ServiceLevelObjective", name, |object| {
                object.data["status"]["deployments"]
                    .as_array()
                    .is_some_and(|all| all.len() == 1)
            })
            .await;
    }
    let api = plane.dynamic("ServiceLevelObjective");
    api.delete("slo-stricter", &DeleteParams::default()).await.unwrap();
    plane
        .recommendation(|status| status["objectives"].as_array().is_some_and(|all| all.len() == 1))
        .await;
}

async fn an_objective_that_is_edited_during_decisions_ends_as_it_was_last_written(plane: &Plane) {
    let api = plane.dynamic("ServiceLevelObjective");
    let mut generation = None;
    for milliseconds in 100..140 {
        let latency = json!({"percentile": 99, "responseTime": format!("{milliseconds}ms")});
        let patch = json!({"spec": {"objectives": [{"type": "HTTP", "http": {"latency": latency}}]}});
        let edited = api
            .patch("slo-webapps", &PatchParams::default(), &Patch::Merge(patch))
            .await;
        generation = edited.unwrap().metadata.generation;
        tokio::time::sleep(MOMENT).await;
    }
    plane
        .recommendation(|status| status["objectives"][0]["responseTime"] == "139ms")
        .await;
    plane
        .wait("ServiceLevelObjective", "slo-webapps", |object| {
            object.data["status"]["observedGeneration"] == json!(generation)
                && condition(&object.data["status"], "Ready").is_some_and(|ready| ready["status"] == "True")
        })
        .await;
}

async fn a_renamed_deployment_starts_anew(plane: &Plane) {
    let deployments: Api<Deployment> = Api::namespaced(plane.client(), SHOP);
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    let mut renamed = support::deployment(3, json!({}));
    renamed["metadata"]["name"] = json!("shop");
    plane.apply(vec![renamed]).await;
    let anew = plane
        .wait("Recommendation", "shop", |object| {
            object.data["status"]["state"].is_string()
        })
        .await;
    assert_eq!(anew.data["status"]["state"], "Cold");
    assert_eq!(anew.data["status"]["original"]["replicas"], 3);
    let recommendations = plane.dynamic("Recommendation");
    valence_playground::until("the old Recommendation's end", support::SOON, || async {
        match recommendations.get_opt("web").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

async fn a_namespace_deleted_during_a_cycle_takes_all_of_its_own_along(plane: &Plane, operator: &Operator) {
    let namespaces: Api<Namespace> = Api::all(plane.client());
    namespaces.delete(SHOP, &DeleteParams::default()).await.unwrap();
    operator
        .until("nothing managed", || async {
            let managed = operator.metric("valence_workloads").await;
            let left = namespaces.get_opt(SHOP).await.map_err(|error| error.to_string())?;
            if managed == Some(0.0) && left.is_none() {
                Ok(())
            } else {
                Err(format!("{managed:?} {left:?}"))
            }
        })
        .await;
    plane.open_shop().await;
    let status = decides(plane).await;
    assert_eq!(
        status["state"], "Cold",
        "nothing of the old namespace is left: {status}"
    );
    assert!(operator.ended().is_none());
}

/// What a later version wrote is held to and told, not followed blindly and not a reason to end.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_another_version_is_told_and_the_plan_in_force_stays() {
    let (plane, operator) = started().await;
    operator.signal("TERM");
    operator.end().await;
    let api = plane.dynamic("Recommendation");
    let later = json!({"status": {
        "checkpoint": "v999:{\"everything\":\"else\"}", "replicas": 7, "state": "Confident", "live": true,
        "containers": [{"name": "application", "requests": {"cpu": "300m"}, "limits": {"cpu": "900m"}}],
    }});
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(later))
        .await
        .unwrap();
    let live = json!({"metadata": {"annotations": {"valence.io/optimizer.configure": "true"}}});
    let deployments: Api<Deployment> = Api::namespaced(plane.client(), SHOP);
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(live))
        .await
        .unwrap();
    let operator = plane.operator(Start::default()).await;
    let status = plane
        .recommendation(|status| {
            status["checkpoint"]
                .as_str()
                .is_some_and(|text| text.starts_with("v1:"))
        })
        .await;
    assert_eq!(status["replicas"], 7, "{status}");
    assert_eq!(status["containers"][0]["requests"]["cpu"], "300m", "{status}");
    assert_eq!(condition(&status, "Ready").unwrap()["reason"], "Continued", "{status}");
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(plane.client(), SHOP);
    operator
        .until("an Event about the checkpoint", || async {
            let events = events
                .list(&Default::default())
                .await
                .map_err(|error| error.to_string())?;
            let told = events
                .items
                .iter()
                .filter(|event| event.reason.as_deref() == Some("CheckpointUnusable"));
            let notes: Vec<_> = told.filter_map(|event| event.note.clone()).collect();
            if notes.iter().any(|note| note.contains("v999")) {
                Ok(())
            } else {
                Err(format!("{notes:?}"))
            }
        })
        .await;
}

/// An hour back, as after a clock that was wrong: decisions go on, and the certificate stays in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_back_stops_nothing() {
    let plane = Plane::start().await;
    plane.open_shop().await;
    let Some(library) = slow_clock(plane.folder()) else {
        println!("skipped: a_clock_that_jumps_back_stops_nothing (no C compiler builds the clock)");
        return;
    };
    let switch = plane.folder().join("jumped");
    let operator = plane
        .operator(Start {
            environment: &[
                ("LD_PRELOAD", library.to_str().unwrap()),
                ("CLOCK_JUMPED", switch.to_str().unwrap()),
            ],
            ..Start::default()
        })
        .await;
    let caller = operator.caller().await;
    operator.injects(&caller).await;
    let before = plane.recommendation(|status| status["decidedAt"].is_string()).await;
    let decided_at = |status: &Value| {
        status["decidedAt"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    std::fs::write(&switch, "").unwrap();
    let hour = jiff::SignedDuration::from_mins(50);
    let jumped = plane
        .recommendation(|status| decided_at(&before).duration_since(decided_at(status)) > hour)
        .await;
    let after = decides(&plane).await;
    assert!(decided_at(&after) > decided_at(&jumped), "it goes on from there");
    operator.injects(&caller).await;
    assert_eq!(operator.readiness().await.as_deref(), Some("ok"));
    assert_eq!(operator.metric("valence_leader").await, Some(1.0));
    std::fs::remove_file(&switch).unwrap();
    plane
        .recommendation(|status| decided_at(status) > decided_at(&before))
        .await;
}

/// A library that takes an hour off the wall clock of a process while a file is there.
fn slow_clock(folder: &std::path::Path) -> Option<std::path::PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, include_str!("clock.c")).unwrap();
    let mut compiler = std::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    compiler
        .status()
        .is_ok_and(|status| status.success())
        .then_some(library)
}
