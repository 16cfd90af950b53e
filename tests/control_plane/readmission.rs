//! What a plan does when running workloads are admitted again, and to whom it gives way.

use serde_json::{Value, json};

use crate::admission::open_shop;
use crate::cluster::{Cluster, container, item};
use crate::objects::{deployment, pod, recommendation, resources, status};
use crate::shop::autoscaler;

crate::on_both! {
    a_new_pod_gets_what_is_recommended
    a_scale_gets_what_is_recommended
    an_empty_patch_resizes_a_pod
    an_autoscaler_is_left_alone
    two_appliers_do_not_conflict_because_of_us
    two_appliers_of_the_same_number_conflict_once_it_is_another
    a_rollout_keeps_its_pods
    a_released_workload_has_its_own_values_again
    who_fights_us_is_counted_by_user_agent
}

pub const SCALE: &str = "/apis/apps/v1/namespaces/shop/deployments/web/scale";
pub const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

/// Writes what the recommender would, and waits until admission knows it.
pub async fn recommend(cluster: &Cluster, deployment: &Value, replicas: i64) {
    let made = cluster.create(&recommendation(deployment)).await.accepted();
    let path = format!("{}/status", item(&made));
    cluster.merge(&path, &status(replicas)).await.accepted();
    cluster.would_scale(SCALE, replicas).await;
}

async fn replicas(cluster: &Cluster) -> Value {
    cluster.get(DEPLOYMENT).await["spec"]["replicas"].clone()
}

/// Sends a Scale as a whole, as autoscalers and `kubectl scale` of old do.
async fn scale(cluster: &Cluster, replicas: i64) -> (Value, Vec<String>) {
    let mut scale = cluster.get(SCALE).await;
    scale["spec"]["replicas"] = json!(replicas);
    scale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let answer = cluster.replace(SCALE, &scale).await;
    let warnings = answer.warnings.clone();
    let replicas = answer.accepted()["spec"].get("replicas").cloned();
    // A Scale of nothing says nothing.
    (replicas.unwrap_or(json!(0)), warnings)
}

async fn a_new_pod_gets_what_is_recommended(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let created = cluster.create(&pod).await.accepted();
    assert_eq!(container(&created, "application").unwrap()["resources"], resources());
    assert!(container(&created, "envoy").is_some());
}

async fn a_scale_gets_what_is_recommended(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    assert_eq!(replicas(&cluster).await, 2, "a dry run changes nothing");
    let asked = cluster.merge(SCALE, &json!({})).await;
    assert_eq!(asked.warnings, Vec::<String>::new(), "nobody asked for another number");
    assert_eq!(asked.accepted()["spec"]["replicas"], 5);
    assert_eq!(replicas(&cluster).await, 5, "what admission set is stored");
    let (set, warnings) = scale(&cluster, 1).await;
    assert_eq!(set, 5);
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("5 replicas instead of 1")),
        "{warnings:?}"
    );
    let (set, warnings) = scale(&cluster, 0).await;
    assert_eq!(
        (set, warnings),
        (json!(0), vec![]),
        "an explicit 0 is somebody's decision"
    );
    assert_eq!(replicas(&cluster).await, 0);
    // Replicas of 0 stay 0 when asked about: only somebody's number brings the workload back.
    cluster.merge(SCALE, &json!({})).await.accepted();
    assert_eq!(replicas(&cluster).await, 0);
    assert_eq!(scale(&cluster, 1).await.0, 5);
}

/// The pod is pending, which both control planes let be resized: neither has a kubelet here. Of a running pod a real one
/// would first want to see the resources in the statuses of its containers.
async fn an_empty_patch_resizes_a_pod(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    let created = cluster.create(&pod).await.accepted();
    let before = container(&created, "application").unwrap()["resources"].clone();
    assert_ne!(before, resources());
    recommend(&cluster, &deployment, 5).await;
    let path = item(&pod);
    cluster
        .merge(&format!("{path}/resize?dryRun=All"), &json!({}))
        .await
        .accepted();
    assert_eq!(
        container(&cluster.get(&path).await, "application").unwrap()["resources"],
        before
    );
    cluster.merge(&format!("{path}/resize"), &json!({})).await.accepted();
    let after = cluster.get(&path).await;
    assert_eq!(container(&after, "application").unwrap()["resources"], resources());
    assert_eq!(after["metadata"]["uid"], created["metadata"]["uid"]);
}

async fn an_autoscaler_is_left_alone(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let written = autoscaler(10, 80);
    let created = cluster.create(&written).await.accepted();
    for field in ["scaleTargetRef", "minReplicas", "maxReplicas", "metrics"] {
        assert_eq!(created["spec"][field], written["spec"][field]);
    }
    assert_eq!(created["metadata"]["annotations"], Value::Null);
    // Its number is its own from when admission knows of it, and so are the requests that it counts in.
    cluster.would_scale(SCALE, 2).await;
    let (set, warnings) = scale(&cluster, 3).await;
    assert_eq!((set, warnings), (json!(3), vec![]));
    let created = cluster.create(&pod).await.accepted();
    let requests = |pod: &Value| container(pod, "application").unwrap()["resources"]["requests"]["cpu"].clone();
    assert_eq!(requests(&created), requests(&pod));
}

/// One manager applies the Deployment without its replicas, another one the replicas and a label. What admission sets
/// belongs to neither and to nobody else, so that both may apply again without force.
async fn two_appliers_do_not_conflict_because_of_us(cluster: Cluster) {
    let (mut whole, mut part) = (deployment(), deployment());
    whole["spec"].as_object_mut().unwrap().remove("replicas");
    part["metadata"] = json!({"name": "web", "namespace": "shop", "labels": {"team": "shop"}});
    part["spec"] = json!({"replicas": 2});
    cluster.apply(&crate::objects::namespace()).await;
    cluster.apply(&crate::objects::objective()).await;
    let created = cluster.apply_as("one", &whole).await.accepted();
    cluster.apply_as("other", &part).await.accepted();
    recommend(&cluster, &created, 5).await;
    cluster.merge(SCALE, &json!({})).await.accepted();
    for _ in 0..2 {
        for (manager, object) in [("one", &whole), ("other", &part)] {
            let applied = cluster.apply_as(manager, object).await;
            assert_eq!(applied.code, 200, "{manager}: {applied:?}");
            assert_eq!(applied.body["spec"]["replicas"], 5, "{manager}");
        }
    }
    // A manager that has no part in the replicas still cannot take them from whoever has.
    let mut third = part.clone();
    third["spec"]["replicas"] = json!(7);
    let conflict = cluster.apply_as("third", &third).await;
    assert_eq!(conflict.code, 409, "{conflict:?}");
    let message = conflict.body["message"].as_str().unwrap();
    assert!(
        message.contains("\"other\"") && !message.contains("valence"),
        "{message}"
    );
    let replica_set = cluster.apply(&crate::objects::replica_set(&created)).await;
    cluster.would_inject(&pod(&replica_set, "web-1-a")).await;
}

/// Where two managers hold the same number they agree only while it is the number that is there. This cannot be helped
/// from admission: whoever is live leaves `replicas` out of what is applied, and then nobody conflicts.
async fn two_appliers_of_the_same_number_conflict_once_it_is_another(cluster: Cluster) {
    cluster.apply(&crate::objects::namespace()).await;
    cluster.apply(&crate::objects::objective()).await;
    let whole = deployment();
    let created = cluster.apply_as("one", &whole).await.accepted();
    cluster.apply_as("other", &whole).await.accepted();
    recommend(&cluster, &created, 5).await;
    cluster.merge(SCALE, &json!({})).await.accepted();
    let conflict = cluster.apply_as("one", &whole).await;
    assert_eq!(conflict.code, 409, "{conflict:?}");
    let message = conflict.body["message"].as_str().unwrap();
    assert!(
        message.contains("\"other\"") && message.contains(".spec.replicas"),
        "{message}"
    );
    let mut without = whole.clone();
    without["spec"].as_object_mut().unwrap().remove("replicas");
    for manager in ["one", "other", "one"] {
        let applied = cluster.apply_as(manager, &without).await;
        assert_eq!(applied.code, 200, "{manager}: {applied:?}");
        assert_eq!(applied.body["spec"]["replicas"], 5, "{manager}");
    }
}

/// While pods of an older revision run, nothing is scaled in: the rollout needs them.
async fn a_rollout_keeps_its_pods(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    cluster
        .merge(DEPLOYMENT, &json!({"spec": {"replicas": 7}}))
        .await
        .accepted();
    recommend(&cluster, &deployment, 5).await;
    let status = format!("{DEPLOYMENT}/status");
    let rolling = json!({"status": {"replicas": 8, "updatedReplicas": 3}});
    cluster.merge(&status, &rolling).await.accepted();
    cluster.would_scale(SCALE, 7).await;
    assert_eq!(scale(&cluster, 1).await.0, 7);
    let settled = json!({"status": {"replicas": 7, "updatedReplicas": 7}});
    cluster.merge(&status, &settled).await.accepted();
    cluster.would_scale(SCALE, 5).await;
    assert_eq!(scale(&cluster, 1).await.0, 5);
}

/// What was asked for comes back with the admission that follows: of the Deployment at once, as the annotation is one of
/// its own, and of a pod when it is admitted again.
async fn a_released_workload_has_its_own_values_again(cluster: Cluster) {
    let (deployment, pod) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    let created = cluster.create(&pod).await.accepted();
    assert_eq!(container(&created, "application").unwrap()["resources"], resources());
    for released in [json!("false"), Value::Null] {
        let live = json!({"metadata": {"annotations": {"valence.io/optimizer.configure": "true"}}});
        cluster.merge(DEPLOYMENT, &live).await.accepted();
        cluster.would_scale(SCALE, 5).await;
        // An update of any kind.
        let asked = json!({"metadata": {"labels": {"team": "shop"}}});
        let set = cluster.merge(DEPLOYMENT, &asked).await.accepted();
        assert_eq!(set["spec"]["replicas"], 5);
        assert_eq!(
            set["metadata"]["annotations"]["valence.io/original"],
            "{\"replicas\":2}"
        );
        let release = json!({"metadata": {"annotations": {"valence.io/optimizer.configure": released}}});
        let after = cluster.merge(DEPLOYMENT, &release).await;
        assert!(
            after
                .warnings
                .iter()
                .any(|warning| warning.contains("replicas are 2 again")),
            "{:?}",
            after.warnings
        );
        let after = after.accepted();
        assert_eq!(after["spec"]["replicas"], 2, "{released}");
        assert_eq!(after["metadata"]["annotations"].get("valence.io/original"), None);
    }
    let resize = format!("{}/resize", item(&pod));
    let own = container(&pod, "application").unwrap()["resources"].clone();
    cluster
        .eventually("its own resources in a dry run", || async {
            let shown = cluster
                .merge(&format!("{resize}?dryRun=All"), &json!({}))
                .await
                .accepted();
            let found = &container(&shown, "application").unwrap()["resources"];
            (*found == own).then_some(()).ok_or(found.to_string())
        })
        .await;
    cluster.merge(&resize, &json!({})).await.accepted();
    let after = cluster.get(&item(&pod)).await;
    assert_eq!(container(&after, "application").unwrap()["resources"], own);
}

/// A review names no user agent, but the field manager that the API server makes of it.
async fn who_fights_us_is_counted_by_user_agent(cluster: Cluster) {
    let (deployment, _) = open_shop(&cluster).await;
    recommend(&cluster, &deployment, 5).await;
    for replicas in [8, 9] {
        let patch = json!({"spec": {"replicas": replicas}});
        let set = cluster
            .merge_by("meddler/2.1 (linux)", DEPLOYMENT, &patch)
            .await
            .accepted();
        assert_eq!(set["spec"]["replicas"], 5);
    }
    let once = format!("{SCALE}?fieldManager=other-scaler");
    cluster.merge(&once, &json!({"spec": {"replicas": 7}})).await.accepted();
    let metrics = cluster.metrics().await;
    let count = |manager: &str| {
        let start = format!("valence_admission_overrides_total{{manager=\"{manager}\",");
        let line = metrics.lines().find(|line| line.starts_with(&start));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(
        (count("meddler"), count("other-scaler")),
        (Some(2), Some(1)),
        "{metrics}"
    );
    let events = cluster.get("/apis/events.k8s.io/v1/namespaces/shop/events").await;
    let overridden = cluster
        .eventually("an Event", || async {
            let events = cluster.get("/apis/events.k8s.io/v1/namespaces/shop/events").await;
            let mut told = events["items"].as_array().unwrap().iter();
            let found = told.find(|event| event["reason"] == "Overridden").cloned();
            found.ok_or(events.to_string())
        })
        .await;
    assert_eq!(overridden["regarding"]["name"], "web", "{events}");
}
