//! How running workloads come to carry what is in force, and get back what was their own.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use valence_playground::kubelet::node::Resizes;
use valence_playground::until;

use crate::faults::{decides_again, sample_of};
use crate::support::{SHOP, SOON, Stage, condition, deployment, envoy, get, namespace, objective, service};

/// Nobody touches the Deployment: its number comes back through its scale, as the plan's did.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_objective_a_workload_has_its_own_replicas_again() {
    if envoy("without_its_objective_a_workload_has_its_own_replicas_again").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    let annotations = json!({
        "valence.io/optimizer.configure": "true",
        "valence.io/optimizer.min-replicas": "4",
    });
    stage.open_shop(2, annotations).await;
    let _load = stage.load(20.0);
    stage
        .deployment(|deployment| deployment.spec.replicas.is_some_and(|replicas| replicas >= 4))
        .await;
    let objectives = stage.dynamic("ServiceLevelObjective");
    objectives
        .delete("slo-webapps", &DeleteParams::default())
        .await
        .unwrap();
    let withdrawn = stage
        .recommendation(|status| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "NotSelected"))
        .await;
    assert_eq!(withdrawn["original"]["replicas"], 2, "{withdrawn}");
    let deployment = stage.deployment(|_| true).await;
    assert_eq!(deployment.spec.replicas, Some(2), "they were given back before that");
}

/// Annotations that hold the replicas where they are, so that only pods change.
fn held(replicas: u32, live: bool) -> Value {
    json!({
        "valence.io/optimizer.configure": live.to_string(),
        "valence.io/optimizer.min-replicas": replicas.to_string(),
        "valence.io/optimizer.max-replicas": replicas.to_string(),
    })
}

/// The same, with the CPU request of the application: what is decided does not depend on what was learnt.
fn sized(replicas: u32, cpu: &str) -> Value {
    let mut annotations = held(replicas, true);
    for bound in ["min", "max"] {
        annotations[format!("valence.io/optimizer.{bound}-cpu-requests")] = json!(cpu);
    }
    annotations
}

async fn annotate(stage: &Stage, annotations: Value) {
    let api: Api<Deployment> = stage.api();
    let patch = json!({"metadata": {"annotations": annotations}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// Waits until the Deployment is reported to stand like this.
async fn stands(stage: &Stage, reason: &str) -> Value {
    let api = stage.dynamic("Recommendation");
    let holds = |object: &DynamicObject| {
        let converged = condition(&object.data["status"], "Converged");
        converged.is_some_and(|converged| converged["reason"] == reason)
    };
    let found = stage.playground.wait_for(&api, "web", SOON, holds).await;
    found.unwrap().data["status"].clone()
}

async fn some_decisions(stage: &Stage) {
    for _ in 0..8 {
        let before = stage.recommendation(|_| true).await;
        decides_again(stage, &before).await;
    }
}

/// A sample of the operator's metrics, 0 where it counted nothing yet.
async fn of_operator(stage: &Stage, sample: &str) -> f64 {
    let operators = "app.kubernetes.io/component=operator";
    let pods = stage.playground.pods("valence-system", operators).await.unwrap();
    let address = pods[0].status.as_ref().unwrap().pod_ip.clone().unwrap();
    let page = until("the operator's metrics", SOON, || async {
        let page = get(&format!("http://{address}:8080/metrics")).await;
        page.ok_or_else(|| "no answer".to_owned())
    });
    sample_of(&page.await.unwrap(), sample).unwrap_or_default()
}

async fn evictions(stage: &Stage) -> f64 {
    of_operator(stage, "valence_evictions_total{outcome=\"success\"}").await
}

fn is_injected(pod: &Pod) -> bool {
    pod.annotations().contains_key("valence.io/injected")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    pod.metadata.deletion_timestamp.is_none() && ready.any(|condition| condition.status == "True")
}

/// Waits until so many pods are ready, all of them as they should be.
async fn pods_are(stage: &Stage, count: usize, holds: impl Fn(&Pod) -> bool) -> Vec<Pod> {
    until(format!("{count} pods as they should be"), SOON, || async {
        let pods = stage.pods().await;
        if pods.len() == count && pods.iter().all(|pod| is_ready(pod) && holds(pod)) {
            Ok(pods)
        } else {
            let seen: Vec<_> = pods
                .iter()
                .map(|pod| (pod.name_any(), is_ready(pod), is_injected(pod)))
                .collect();
            Err(format!("{seen:?}"))
        }
    })
    .await
    .unwrap()
}

async fn delete(stage: &Stage, pods: &[Pod]) {
    let api: Api<Pod> = stage.api();
    for pod in pods {
        let now = DeleteParams::default().grace_period(0);
        api.delete(&pod.name_any(), &now).await.unwrap();
    }
}

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(Pod::uid).collect()
}

/// Lets pods pass by admission, as they do while it cannot be reached; nothing else of Valence notices.
async fn pass_by(stage: &Stage, passes: bool) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(stage.client());
    until("the webhook of pods changed", SOON, || async {
        let mut configuration = api.get("valence").await.map_err(|error| error.to_string())?;
        let webhooks = configuration.webhooks.iter_mut().flatten();
        for webhook in webhooks.filter(|webhook| webhook.name == "pods.valence.io") {
            let nowhere = ("nobody".to_owned(), "here".to_owned());
            let labels = &mut webhook
                .object_selector
                .get_or_insert_with(LabelSelector::default)
                .match_labels;
            if passes {
                labels.get_or_insert_default().extend([nowhere]);
            } else if let Some(labels) = labels {
                labels.remove(&nowhere.0);
            }
        }
        let replaced = api.replace("valence", &PostParams::default(), &configuration).await;
        replaced.map(drop).map_err(|error| error.to_string())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_slipped_by_are_reported_and_a_live_one_gets_new_ones() {
    if envoy("pods_that_slipped_by_are_reported_and_a_live_one_gets_new_ones").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    stage.open_shop(2, held(2, false)).await;
    let _load = stage.load(20.0);
    let due = |status: &Value| condition(status, "Injection").is_some_and(|injection| injection["status"] == "True");
    stage.recommendation(due).await;
    // What is told to the second must be over by one.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    all_slipped_are_reported(&stage).await;
    live_but_in_vain(&stage).await;
    live_and_cured(&stage).await;
    plain_by_design(&stage).await;
}

async fn all_slipped_are_reported(stage: &Stage) {
    pass_by(stage, true).await;
    delete(stage, &stage.pods().await).await;
    let plain = pods_are(stage, 2, |pod| !is_injected(pod)).await;
    stage.event("SidecarMissing", "2 pods carry no sidecar").await;
    some_decisions(stage).await;
    assert_eq!(of_operator(stage, "valence_pods_without_sidecar").await, 2.0);
    assert_eq!(uids(&stage.pods().await), uids(&plain), "it is not live");
}

/// Admission is still away: one pod is tried, and no other.
async fn live_but_in_vain(stage: &Stage) {
    annotate(stage, held(2, true)).await;
    stands(stage, "ReplacedInVain").await;
    some_decisions(stage).await;
    assert_eq!(evictions(stage).await, 1.0);
    pods_are(stage, 2, |pod| !is_injected(pod)).await;
}

/// The first pod that comes with a sidecar shows that the others would.
async fn live_and_cured(stage: &Stage) {
    pass_by(stage, false).await;
    delete(stage, &stage.pods().await[..1]).await;
    pods_are(stage, 2, is_injected).await;
    assert_eq!(evictions(stage).await, 2.0);
    stage
        .recommendation(|status| {
            condition(status, "Converged").is_some_and(|converged| converged["reason"] != "ReplacedInVain")
        })
        .await;
    assert_eq!(of_operator(stage, "valence_pods_without_sidecar").await, 0.0);
}

/// Without the namespace's label every new pod is plain, and that is no slip.
async fn plain_by_design(stage: &Stage) {
    let api: Api<Namespace> = Api::all(stage.client());
    let patch = json!({"metadata": {"labels": {"valence.io/injection": null}}});
    api.patch(SHOP, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    until("a plain pod", SOON, || async {
        delete(stage, &stage.pods().await[..1]).await;
        stage.playground.pods_ready(SHOP, "app=web", 2, SOON).await.unwrap();
        let pods = stage.pods().await;
        let plain = pods.iter().filter(|pod| !is_injected(pod)).count();
        if plain > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await
    .unwrap();
    let not_asked =
        |status: &Value| condition(status, "Injection").is_some_and(|injection| injection["reason"] == "NotAsked");
    stage.recommendation(not_asked).await;
    let before = uids(&stage.pods().await);
    some_decisions(stage).await;
    assert_eq!(uids(&stage.pods().await), before);
    assert_eq!(of_operator(stage, "valence_pods_without_sidecar").await, 0.0);
}

/// CPU that the application's container of a pod requests.
fn cpu(pod: &Pod) -> String {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let application = containers.iter().find(|container| container.name == "application");
    let requests = application.unwrap().resources.as_ref().unwrap().requests.as_ref();
    requests.unwrap()["cpu"].0.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_be_resized_is_evicted_where_that_costs_nobody() {
    if envoy("a_pod_that_cannot_be_resized_is_evicted_where_that_costs_nobody").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    *stage.playground.kubelet().node().resizes.lock() = Resizes::Infeasible;
    stage.open_shop(1, sized(1, "654m")).await;
    let _load = stage.load(20.0);
    let only = stage.pods().await;
    stands(&stage, "OnlyReplica").await;
    some_decisions(&stage).await;
    assert_eq!(uids(&stage.pods().await), uids(&only), "nobody else serves");
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": SHOP},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    });
    stage.playground.apply_objects(vec![budget]).await.unwrap();
    annotate(&stage, sized(2, "654m")).await;
    stands(&stage, "EvictionRefused").await;
    assert!(uids(&stage.pods().await).is_superset(&uids(&only)), "the budget holds");
    assert_eq!(evictions(&stage).await, 0.0);
    let budgets: Api<PodDisruptionBudget> = stage.api();
    budgets.delete("web", &DeleteParams::default()).await.unwrap();
    let pods = pods_are(&stage, 2, |pod| {
        cpu(pod) == "654m" && !uids(&only).contains(&pod.uid().unwrap())
    })
    .await;
    assert!(evictions(&stage).await >= 1.0);
    without_room_for_long(&stage, &pods).await;
}

/// The kubelet puts a size off, again and again: the pod gets it elsewhere, by the same guards.
async fn without_room_for_long(stage: &Stage, pods: &[Pod]) {
    *stage.playground.kubelet().node().resizes.lock() = Resizes::Deferred;
    let (before, evicted) = (uids(pods), evictions(stage).await);
    annotate(stage, sized(2, "321m")).await;
    pods_are(stage, 2, |pod| {
        cpu(pod) == "321m" && !before.contains(&pod.uid().unwrap())
    })
    .await;
    assert!(evictions(stage).await >= evicted + 2.0);
}

/// A release that needs more memory than its limit is killed before it serves: it gets more without being made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_is_killed_for_memory_gets_more() {
    if envoy("a_pod_that_is_killed_for_memory_gets_more").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    let mut web = deployment(1, held(1, true));
    let limits = "/spec/template/spec/containers/0/resources/limits/memory";
    *web.pointer_mut(limits).unwrap() = json!("256Mi");
    let objects = vec![namespace(), objective(), web, service()];
    stage.playground.apply_objects(objects).await.unwrap();
    stage.playground.pods_ready(SHOP, "app=web", 1, SOON).await.unwrap();
    let _load = stage.load(20.0);
    stage
        .recommendation(|status| status["model"]["cpu_per_request_seconds"].is_number())
        .await;
    let before = stage.pods().await;
    let api: Api<Deployment> = stage.api();
    let mut next = api.get("web").await.unwrap();
    let container = &mut next.spec.template.spec.as_mut().unwrap().containers[0];
    container.args.as_mut().unwrap().push("--memory-mib=400".to_owned());
    let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    api.patch("web", &PatchParams::default(), &Patch::Strategic(template))
        .await
        .unwrap();
    let gets_more = |pod: &Pod| {
        let status = pod.status.as_ref().unwrap();
        let mut containers = status.container_statuses.iter().flatten();
        let application = containers.find(|one| one.name == "application").unwrap();
        let in_force = application
            .resources
            .as_ref()
            .and_then(|resources| resources.limits.as_ref());
        let limit = in_force.map(|limits| limits["memory"].0.as_str());
        application.restart_count > 0 && limit.is_some_and(|limit| limit != "256Mi")
    };
    let pods = pods_are(&stage, 1, gets_more).await;
    assert!(!uids(&before).contains(&pods[0].uid().unwrap()));
    assert_eq!(evictions(&stage).await, 0.0);
}
