//! The controllers and the kubelet together, through the API.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodCondition};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use valence_playground::kubelet::node::Resizes;
use valence_playground::load::{Settings, Shape};
use valence_playground::{Options, Playground};

const SOON: Duration = Duration::from_secs(60);
const IMAGE: &str = "ghcr.io/valencenet/playground:0.1.0";

async fn playground() -> Playground {
    let mut options = Options::default();
    options.node.start_delay = (Duration::ZERO, Duration::ZERO);
    options.node.back_off = Duration::from_millis(200);
    options.node.capacity.cpu_cores = 4.0;
    Playground::start(options).await.unwrap()
}

/// A container of the sample application, changed by `changes`.
fn application(changes: Value) -> Value {
    let mut container = json!({
        "name": "application",
        "image": IMAGE,
        "args": ["application", "--cpu-time=2ms", "--start-time=0s", "--warm-up=0s"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
        "resources": {"requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
    });
    container
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    container
}

fn deployment(replicas: i32, spec: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec},
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    })
}

fn pod(name: &str, spec: Value) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": labels}, "spec": spec})
}

fn api<K>(playground: &Playground) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(playground.client(), "default")
}

fn statuses(pod: &Pod) -> Vec<ContainerStatus> {
    let status = pod.status.clone().unwrap_or_default();
    status
        .container_statuses
        .unwrap_or_default()
        .into_iter()
        .chain(status.init_container_statuses.unwrap_or_default())
        .collect()
}

fn condition(pod: &Pod, type_: &str) -> Option<PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == type_)
        .cloned()
}

fn phase(pod: &Pod) -> String {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_and_its_undoing_fail_no_request() {
    let playground = playground().await;
    let first = deployment(3, json!({"containers": [application(json!({}))]}));
    playground.apply_objects(vec![first.clone(), service()]).await.unwrap();
    playground.deployment_settled("default", "web", SOON).await.unwrap();
    let settings = Settings {
        shape: Shape::Constant { rate: 60.0 },
        ..Settings::default()
    };
    let load = playground.load("default", "web", settings);
    let args = json!({"args": ["application", "--cpu-time=3ms", "--start-time=0s", "--warm-up=0s"]});
    for (revision, next) in [
        ("2", deployment(3, json!({"containers": [application(args)]}))),
        ("3", first),
    ] {
        playground.apply_objects(vec![next]).await.unwrap();
        let settled = playground.deployment_settled("default", "web", SOON).await.unwrap();
        assert_eq!(settled.annotations()["deployment.kubernetes.io/revision"], revision);
    }
    let report = load.stop().await;
    assert!(report.served > 100, "{report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    let sets = api::<ReplicaSet>(&playground)
        .list(&ListParams::default())
        .await
        .unwrap()
        .items;
    let mut sizes: Vec<i32> = sets.iter().map(|set| set.spec.replicas.unwrap()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 3]);
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_starts_first_and_serves_the_named_port() {
    let playground = playground().await;
    let sidecar = json!({
        "name": "proxy", "image": IMAGE, "restartPolicy": "Always",
        "args": ["application", "--port=9000", "--start-time=1s"],
        "ports": [{"name": "http", "containerPort": 9000}],
        "startupProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1, "failureThreshold": 20},
    });
    let initial = json!({"name": "setup", "image": IMAGE, "args": ["exit"]});
    let main = application(json!({"ports": [{"containerPort": 8080}], "readinessProbe": null}));
    let spec = json!({"initContainers": [initial, sidecar], "containers": [main], "terminationGracePeriodSeconds": 5});
    playground
        .apply_objects(vec![deployment(1, spec), service()])
        .await
        .unwrap();
    playground.deployment_settled("default", "web", SOON).await.unwrap();
    let pod = playground.pods("default", "app=web").await.unwrap().remove(0);
    let since = |name: &str| {
        let status = statuses(&pod).into_iter().find(|status| status.name == name).unwrap();
        status.state.unwrap().running.unwrap().started_at.unwrap()
    };
    assert!(since("proxy") < since("application"));
    let slices: Api<EndpointSlice> = api(&playground);
    let slice = playground
        .wait_for(&slices, "web-0", SOON, |slice| {
            slice
                .endpoints
                .iter()
                .flatten()
                .any(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true))
        })
        .await
        .unwrap();
    assert_eq!(slice.ports.unwrap()[0].port, Some(9000));
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hook_of_a_sidecar_runs_with_those_of_the_others_and_it_ends_last() {
    let playground = playground().await;
    let mark = playground.directory().join("stopping");
    let sidecar = json!({
        "name": "proxy", "image": IMAGE, "restartPolicy": "Always",
        "args": ["application", "--port=9000", "--start-time=0s"],
        "lifecycle": {"preStop": {"exec": {"command": ["touch", mark]}}},
    });
    let main = application(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 60}}}}));
    let spec = json!({"initContainers": [sidecar], "containers": [main], "terminationGracePeriodSeconds": 120});
    playground.apply_objects(vec![pod("web", spec)]).await.unwrap();
    let pods: Api<Pod> = api(&playground);
    let ready = |pod: &Pod| condition(pod, "Ready").is_some_and(|ready| ready.status == "True");
    playground.wait_for(&pods, "web", SOON, ready).await.unwrap();
    pods.delete("web", &DeleteParams::default()).await.unwrap();
    valence_playground::until("the hook of the sidecar", SOON, || async {
        mark.exists().then_some(()).ok_or_else(|| "nothing".to_owned())
    })
    .await
    .unwrap();
    let stopping = pods.get("web").await.unwrap();
    for status in statuses(&stopping) {
        let state = status.state.unwrap();
        assert!(state.running.is_some(), "{} is over: {state:?}", status.name);
    }
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resizes_in_place_take_effect_or_say_why_not() {
    let playground = playground().await;
    playground
        .apply_objects(vec![pod("web", json!({"containers": [application(json!({}))]}))])
        .await
        .unwrap();
    playground.pods_ready("default", "app=web", 1, SOON).await.unwrap();
    let pods: Api<Pod> = api(&playground);
    let resize = |cpu: &str| {
        let resources = json!({"requests": {"cpu": cpu}});
        Patch::Strategic(json!({"spec": {"containers": [{"name": "application", "resources": resources}]}}))
    };
    pods.patch_resize("web", &PatchParams::default(), &resize("300m"))
        .await
        .unwrap();
    let requested = |pod: &Pod| {
        statuses(pod)[0].resources.clone().unwrap().requests.unwrap()["cpu"]
            .0
            .clone()
    };
    let resized = playground
        .wait_for(&pods, "web", SOON, |pod| requested(pod) == "300m")
        .await
        .unwrap();
    assert_eq!(statuses(&resized)[0].restart_count, 0);
    assert_eq!(condition(&resized, "PodResizePending"), None);

    *playground.kubelet().node().resizes.lock() = Resizes::Infeasible;
    pods.patch_resize("web", &PatchParams::default(), &resize("400m"))
        .await
        .unwrap();
    let pending = playground
        .wait_for(&pods, "web", SOON, |pod| condition(pod, "PodResizePending").is_some())
        .await
        .unwrap();
    assert_eq!(
        condition(&pending, "PodResizePending").unwrap().reason.unwrap(),
        "Infeasible"
    );
    assert_eq!(requested(&pending), "300m");

    *playground.kubelet().node().resizes.lock() = Resizes::Done;
    playground
        .wait_for(&pods, "web", SOON, |pod| {
            requested(pod) == "400m" && condition(pod, "PodResizePending").is_none()
        })
        .await
        .unwrap();
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_memory_and_failing_probes_end_in_restarts() {
    let playground = playground().await;
    let hungry = application(json!({
        "args": ["application", "--memory-mib=600", "--start-time=0s"],
        "resources": {"limits": {"memory": "512Mi"}},
    }));
    let deaf = application(json!({
        "livenessProbe": {"tcpSocket": {"port": 9999}, "periodSeconds": 1, "failureThreshold": 1},
        "lifecycle": null,
    }));
    let objects = vec![
        pod("hungry", json!({"containers": [hungry]})),
        pod("deaf", json!({"containers": [deaf]})),
    ];
    playground.apply_objects(objects).await.unwrap();
    let pods: Api<Pod> = api(&playground);
    let restarted = |pod: &Pod| statuses(pod).first().is_some_and(|status| status.restart_count >= 1);
    let hungry = playground.wait_for(&pods, "hungry", SOON, restarted).await.unwrap();
    let last = statuses(&hungry)[0].last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.reason.as_deref(), last.exit_code), (Some("OOMKilled"), 137));
    playground.wait_for(&pods, "deaf", SOON, restarted).await.unwrap();
    let events: Api<Event> = api(&playground);
    let about = ListParams::default().fields("involvedObject.name=deaf");
    let reasons: Vec<String> = events
        .list(&about)
        .await
        .unwrap()
        .items
        .into_iter()
        .filter_map(|event| event.reason)
        .collect();
    assert!(
        reasons.contains(&"Unhealthy".into()) && reasons.contains(&"Killing".into()),
        "{reasons:?}"
    );
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_complete_and_keep_their_log() {
    let playground = playground().await;
    let container = json!({"name": "work", "image": IMAGE, "args": ["exit", "--after=200ms"]});
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work", "namespace": "default"},
        "spec": {"completions": 2, "parallelism": 1, "template": template},
    });
    playground.apply_objects(vec![job]).await.unwrap();
    let complete = |job: &Job| {
        let conditions = job
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Complete" && condition.status == "True")
    };
    let done = playground
        .wait_for(&api::<Job>(&playground), "work", SOON, complete)
        .await
        .unwrap();
    assert_eq!(done.status.unwrap().succeeded, Some(2));
    let pods = api::<Pod>(&playground)
        .list(&ListParams::default().labels("job-name=work"))
        .await
        .unwrap()
        .items;
    assert!(pods.iter().all(|pod| phase(pod) == "Succeeded"));
    let mistaken = json!({"name": "work", "image": IMAGE, "args": ["aplication"]});
    playground
        .apply_objects(vec![pod(
            "mistaken",
            json!({"restartPolicy": "Never", "containers": [mistaken]}),
        )])
        .await
        .unwrap();
    let pods: Api<Pod> = api(&playground);
    playground
        .wait_for(&pods, "mistaken", SOON, |pod| phase(pod) == "Failed")
        .await
        .unwrap();
    let log = pods.logs("mistaken", &Default::default()).await.unwrap();
    assert!(log.contains("unrecognized subcommand"), "{log}");
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_says_so() {
    let playground = playground().await;
    let stranger = json!({"containers": [{"name": "web", "image": "nginx:1"}]});
    let giant = json!({"containers": [application(json!({"resources": {"requests": {"cpu": "5"}}}))]});
    playground
        .apply_objects(vec![pod("stranger", stranger), pod("giant", giant)])
        .await
        .unwrap();
    let pods: Api<Pod> = api(&playground);
    let waiting = |pod: &Pod| {
        let state = statuses(pod)
            .into_iter()
            .next()
            .and_then(|status| status.state?.waiting?.reason);
        matches!(state.as_deref(), Some("ErrImagePull" | "ImagePullBackOff"))
    };
    playground.wait_for(&pods, "stranger", SOON, waiting).await.unwrap();
    let unscheduled = playground
        .wait_for(&pods, "giant", SOON, |pod| condition(pod, "PodScheduled").is_some())
        .await
        .unwrap();
    let why = condition(&unscheduled, "PodScheduled").unwrap();
    assert_eq!(
        (why.status.as_str(), why.reason.as_deref()),
        ("False", Some("Unschedulable"))
    );
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_respect_the_budget() {
    let playground = playground().await;
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    });
    let web = deployment(2, json!({"containers": [application(json!({}))]}));
    playground.apply_objects(vec![budget, web]).await.unwrap();
    let running = playground.pods_ready("default", "app=web", 2, SOON).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = api(&playground);
    let allowed = |budget: &PodDisruptionBudget| budget.status.as_ref().and_then(|status| status.disruptions_allowed);
    let healthy =
        |budget: &PodDisruptionBudget| budget.status.as_ref().and_then(|status| status.current_healthy) == Some(2);
    let full = playground.wait_for(&budgets, "web", SOON, healthy).await.unwrap();
    assert_eq!(allowed(&full), Some(0));
    let pods: Api<Pod> = api(&playground);
    let refused = pods
        .evict(&running[0].name_any(), &EvictParams::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 429),
        "{refused}"
    );
    let relaxed = Patch::Merge(json!({"spec": {"minAvailable": 1}}));
    budgets.patch("web", &PatchParams::default(), &relaxed).await.unwrap();
    playground
        .wait_for(&budgets, "web", SOON, |budget| allowed(budget) == Some(1))
        .await
        .unwrap();
    pods.evict(&running[0].name_any(), &EvictParams::default())
        .await
        .unwrap();
    playground.deployment_settled("default", "web", SOON).await.unwrap();
    let names: Vec<String> = playground
        .pods("default", "app=web")
        .await
        .unwrap()
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    assert!(!names.contains(&running[0].name_any()), "{names:?}");
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_adopted_and_surplus_pods_go() {
    let playground = playground().await;
    let spec = json!({"containers": [application(json!({}))]});
    playground
        .apply_objects(vec![deployment(2, spec.clone())])
        .await
        .unwrap();
    let settled = playground.deployment_settled("default", "web", SOON).await.unwrap();
    let owned = playground.pods("default", "app=web").await.unwrap();
    let mut orphan: Pod = serde_json::from_value(pod("orphan", spec)).unwrap();
    orphan.metadata.labels.clone_from(&owned[0].metadata.labels);
    let pods: Api<Pod> = api(&playground);
    pods.create(&PostParams::default(), &orphan).await.unwrap();
    // Three match, two are wanted: the newest, which is not ready, goes.
    let gone = playground
        .wait_for(&pods, "orphan", SOON, |pod| pod.metadata.deletion_timestamp.is_some())
        .await;
    let gone = gone.map(|pod| pod.owner_references().first().map(|owner| owner.kind.clone()));
    if let Ok(owner) = gone {
        assert_eq!(owner.as_deref(), Some("ReplicaSet"));
    }
    let deployments: Api<Deployment> = api(&playground);
    let scale = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments
        .patch_scale(&settled.name_any(), &PatchParams::default(), &scale)
        .await
        .unwrap();
    playground.pods_ready("default", "app=web", 0, SOON).await.unwrap();
    playground.stop().await;
}
