//! What is asked for when, without an API server.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::Convergence;
use super::compare::{is_infeasible, may_be_cured, unsettled};
use super::eviction::{WAITS, objection};
use super::replicas::not_now;
use super::situation::Situation;
use super::sizes::{stranded, unpacked, unsettled_pod};
use super::trial::{Trial, Verdict};
use crate::cache::pods::PackedPod;
use crate::cache::{Cluster, keep};
use crate::core::decision::{Bounds, Decision};
use crate::core::observation::Resources;
use crate::core::units::Cores;
use crate::core::{Advisor, Settings};
use crate::recommender::subjects::{Matched, matched};
use crate::scrape::PodSummary;

pub const PACE: Duration = Duration::from_secs(60);

/// 2026-01-01T00:00:00Z.
pub const NEW_YEAR: f64 = 1_767_225_600.0;

/// A shop with a Deployment of which only the pods differ from case to case.
pub struct Shop {
    pub deployment: Value,
    labels: Value,
    pub pods: Vec<Value>,
}

impl Shop {
    pub fn new(pods: Vec<Value>) -> Self {
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}]},
        });
        Self {
            deployment: json!({
                "metadata": {"name": "web", "namespace": "shop", "uid": "web", "labels": {"slo": "fast"},
                    "annotations": {"valence.io/optimizer.configure": "true"}},
                "spec": {"replicas": pods.len(), "selector": {}, "template": template},
            }),
            labels: json!({"valence.io/injection": "enabled"}),
            pods,
        }
    }

    pub fn matched(&self) -> Matched {
        let cluster = Cluster::default();
        let read = |value: &Value| serde_json::from_value(value.clone()).unwrap();
        cluster.namespaces.put("", "shop", read(&self.labels));
        let deployment = serde_json::from_value(self.deployment.clone()).unwrap();
        cluster
            .deployments
            .put("shop", "web", keep::deployment(deployment, None));
        let objective = serde_json::from_value(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"name": "fast", "namespace": "shop"},
            "spec": {"selector": {"slo": "fast"}, "objectives": [{"type": "HTTP",
                "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}]},
        }));
        cluster
            .objectives
            .put("shop", "fast", keep::objective(objective.unwrap(), None));
        let replica_set = serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"pod-template-hash": "1"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "web", "controller": true}]},
        }));
        let replica_set = keep::replica_set(replica_set.unwrap(), None);
        cluster.replica_sets.put("shop", "web-1", replica_set);
        for pod in &self.pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            cluster.pods.put("shop", name, PackedPod::of(as_pod(pod)));
        }
        matched(&cluster).into_values().next().unwrap()
    }

    fn situation(&self) -> Situation {
        Situation::of(&self.matched(), NEW_YEAR + 3600.0)
    }
}

pub fn pod(name: &str, status: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 2, "labels": {"app": "web", "pod-template-hash": "1"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "controller": true}]},
        "spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}}}]},
        "status": status,
    })
}

pub fn ready(name: &str) -> Value {
    pod(name, json!({"conditions": [{"type": "Ready", "status": "True"}]}))
}

pub fn ready_all(count: usize) -> Vec<Value> {
    (0..count).map(|number| ready(&format!("web-1-{number}"))).collect()
}

/// With a sidecar, as admission gives it.
pub fn injected(name: &str) -> Value {
    let mut pod = ready(name);
    pod["metadata"]["annotations"] = json!({"valence.io/injected": "{}"});
    pod["spec"]["initContainers"] = json!([{"name": "envoy", "restartPolicy": "Always"}]);
    pod
}

fn made(mut pod: Value, at: &str) -> Value {
    pod["metadata"]["creationTimestamp"] = json!(at);
    pod
}

pub fn waiting(name: &str, reason: &str) -> Value {
    pod(
        name,
        json!({"containerStatuses": [{"name": "web", "ready": false, "restartCount": 3, "image": "", "imageID": "",
            "state": {"waiting": {"reason": reason}}}]}),
    )
}

fn homeless(name: &str) -> Value {
    pod(
        name,
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}),
    )
}

fn as_pod(pod: &Value) -> Pod {
    serde_json::from_value(pod.clone()).unwrap()
}

fn summary(pod: &Value) -> PodSummary {
    PodSummary::of(Arc::new(PackedPod::of(as_pod(pod)))).unwrap()
}

#[test]
fn one_pod_that_does_not_start_holds_nothing_up() {
    let mut pods = ready_all(49);
    pods.push(waiting("web-1-x", "ImagePullBackOff"));
    let shop = Shop::new(pods);
    let situation = shop.situation();
    assert!(matches!(situation, Situation::Ailing("PodFailing", _)), "{situation:?}");
    assert_eq!(not_now(&shop.matched(), &situation, 50, 60), None);
}

#[test]
fn more_pods_are_not_asked_for_where_they_find_no_node() {
    let mut pods = ready_all(8);
    pods.extend([homeless("web-1-x"), homeless("web-1-y")]);
    let shop = Shop::new(pods);
    let situation = shop.situation();
    let told = not_now(&shop.matched(), &situation, 10, 12).unwrap();
    assert_eq!(
        (told.reason, told.message.as_str()),
        (
            "PodsUnschedulable",
            "2 of 10 pods find no node: more of them would not either"
        )
    );
    assert_eq!(not_now(&shop.matched(), &situation, 10, 8), None, "fewer always are");
}

#[test]
fn more_pods_are_not_asked_for_where_half_of_them_cannot_start() {
    let shop = Shop::new(vec![ready("web-1-a"), waiting("web-1-b", "CrashLoopBackOff")]);
    let situation = shop.situation();
    assert_eq!(
        not_now(&shop.matched(), &situation, 2, 3).unwrap().reason,
        "PodsFailing"
    );
    assert_eq!(not_now(&shop.matched(), &situation, 2, 1), None);
}

#[test]
fn whoever_holds_a_deployment_keeps_it() {
    let mut shop = Shop::new(ready_all(2));
    assert_eq!(shop.situation(), Situation::Open);
    shop.deployment["status"] = json!({"conditions": [{"type": "Progressing", "status": "False", "message": "late"}]});
    assert!(matches!(shop.situation(), Situation::Stuck("RolloutStuck", _)));
    shop.deployment["spec"]["paused"] = json!(true);
    assert!(matches!(shop.situation(), Situation::Held("Paused", _)));
    shop.deployment["spec"]["replicas"] = json!(0);
    assert!(matches!(shop.situation(), Situation::Held("ScaledToZero", _)));
}

#[test]
fn a_rollout_keeps_its_pods_unasked() {
    let mut shop = Shop::new(ready_all(4));
    shop.deployment["status"] = json!({"replicas": 4, "updatedReplicas": 1});
    let told = not_now(&shop.matched(), &Situation::Open, 4, 2).unwrap();
    assert_eq!(told.reason, "RollingOut");
    assert_eq!(not_now(&shop.matched(), &Situation::Open, 4, 6), None);
}

#[test]
fn what_does_not_serve_may_be_cured_by_its_size() {
    let killed = json!({"containerStatuses": [{"name": "web", "ready": false, "restartCount": 4, "image": "", "imageID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]});
    assert!(may_be_cured(&as_pod(&pod("web-1-a", killed))));
    assert!(may_be_cured(&as_pod(&homeless("web-1-a"))));
    assert!(!may_be_cured(&as_pod(&waiting("web-1-a", "CrashLoopBackOff"))));
}

#[test]
fn pods_are_evicted_one_at_a_time_while_all_others_serve() {
    let reason = |pods: Vec<Value>, since_last| {
        let shop = Shop::new(pods);
        let matched = shop.matched();
        let victim = summary(&shop.pods[0]);
        objection(&victim, &matched, since_last, PACE).map(|(reason, _)| reason)
    };
    assert_eq!(reason(ready_all(2), None), None);
    assert_eq!(reason(ready_all(2), Some(PACE / 2)), Some(WAITS));
    assert_eq!(reason(ready_all(2), Some(PACE)), None);
    assert_eq!(reason(ready_all(1), None), Some("OnlyReplica"));
    assert_eq!(
        reason(vec![ready("web-1-a"), homeless("web-1-b")], None),
        Some("OnlyReplica"),
        "the other one does not serve"
    );
    let mut pods = ready_all(2);
    pods.push(waiting("web-1-x", "ImagePullBackOff"));
    assert_eq!(reason(pods, None), Some(WAITS));
    assert_eq!(reason(vec![homeless("web-1-a")], None), None, "nobody misses it");
}

#[test]
fn pods_that_have_ended_do_not_count() {
    let mut pods = ready_all(2);
    pods.push(pod("web-1-x", json!({"phase": "Failed", "reason": "Evicted"})));
    let mut shop = Shop::new(pods);
    shop.deployment["spec"]["replicas"] = json!(2);
    let matched = shop.matched();
    assert_eq!(matched.subject.pods.len(), 2);
    assert_eq!(objection(&summary(&shop.pods[0]), &matched, None, PACE), None);
}

#[test]
fn what_the_kubelet_puts_off_is_not_in_force() {
    let with = |conditions: Value| {
        let mut pod = ready("web-1-a");
        pod["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .extend(conditions.as_array().unwrap().clone());
        pod
    };
    let pending = |reason: &str, generation: i64| {
        with(
            json!([{"type": "PodResizePending", "status": "True", "reason": reason, "observedGeneration": generation,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]),
        )
    };
    let deferred = Shop::new(vec![pending("Deferred", 2)]);
    let told = unsettled_pod(&unpacked(&deferred.matched()), NEW_YEAR + 600.0).unwrap();
    let message = "web-1-a waits for room on its node, for 10 minutes".to_owned();
    assert_eq!(told, ("ResizeDeferred", message));
    assert!(is_infeasible(&as_pod(&pending("Infeasible", 2)), true));
    assert!(
        !is_infeasible(&as_pod(&pending("Infeasible", 1)), false),
        "that was about another size"
    );
    let silent = as_pod(&with(
        json!([{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]),
    ));
    assert_eq!(
        (is_infeasible(&silent, true), is_infeasible(&silent, false)),
        (false, true)
    );
    let word = |pod: &Value| unsettled(&as_pod(pod), NEW_YEAR).map(|(word, _)| word);
    let going_on = with(json!([{"type": "PodResizeInProgress", "status": "True"}]));
    assert_eq!(word(&going_on), Some("Resizing"));
    let failed = with(json!([{"type": "PodResizeInProgress", "status": "True", "reason": "Error"}]));
    assert_eq!(word(&failed), Some("ResizeFails"));
    let reports = |cpu: &str| {
        let mut pod = ready("web-1-a");
        pod["status"]["containerStatuses"] = json!([{"name": "web", "ready": true, "restartCount": 0, "image": "",
            "imageID": "", "resources": {"requests": {"cpu": cpu, "memory": "256Mi"}}}]);
        pod
    };
    assert_eq!(word(&reports("300m")), Some("Resizing"));
    assert_eq!(word(&reports("499m")), None, "that is a rounding");
    assert_eq!(word(&ready("web-1-a")), None, "nothing is reported");
}

#[test]
fn a_pod_that_waits_for_room_for_long_may_go_elsewhere() {
    let waiting = |reason: &str, generation: i64| {
        let mut pod = ready("web-1-a");
        let condition = json!({"type": "PodResizePending", "status": "True", "reason": reason,
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        pod["status"]["conditions"].as_array_mut().unwrap().push(condition);
        Shop::new(vec![pod, ready("web-1-b")])
    };
    let goes = |shop: &Shop, seconds: f64| {
        let (decision, memory) = (undecided(), Convergence::default());
        let matched = shop.matched();
        let pods = unpacked(&matched);
        let found = stranded(&pods, &decision, &memory, 10 * PACE, NEW_YEAR + seconds);
        found.map(|(one, why)| (one.summary.name.clone(), why))
    };
    let room = ("web-1-a".to_owned(), "found no room on its node for long");
    assert_eq!(goes(&waiting("Deferred", 2), 599.0), None);
    assert_eq!(goes(&waiting("Deferred", 2), 600.0), Some(room));
    assert_eq!(
        goes(&waiting("Deferred", 1), 6000.0),
        None,
        "that was about another size"
    );
    let never = ("web-1-a".to_owned(), "cannot be resized in place");
    assert_eq!(goes(&waiting("Infeasible", 2), 0.0), Some(never));
    assert_eq!(goes(&Shop::new(ready_all(2)), 6000.0), None);
    // One that is to be asked about another size is asked first.
    let mut decision = undecided();
    let wanted = Resources {
        cpu_request: Some(Cores(2.0)),
        ..Resources::default()
    };
    decision.containers.insert("web".to_owned(), wanted);
    let matched = waiting("Deferred", 2).matched();
    let pods = unpacked(&matched);
    assert!(stranded(&pods, &decision, &Convergence::default(), PACE, NEW_YEAR + 6000.0).is_none());
}

#[test]
fn a_successor_does_not_evict_at_once() {
    let mut memory = Convergence::default();
    memory.continue_from("Evicted");
    assert!(memory.evicted.is_some());
}

/// Of a model that has seen nothing.
pub fn undecided() -> Decision {
    Advisor::new(Vec::new(), Bounds::default(), Settings::default()).decide(NEW_YEAR)
}

fn slipped(shop: &Shop, wished_since: Option<f64>) -> Vec<String> {
    let matched = shop.matched();
    let names = matched.sidecars.slipped(wished_since).map(|pod| pod.name.clone());
    names.collect()
}

#[test]
fn pods_that_all_slipped_by_are_found_by_when_they_were_made() {
    let shop = Shop::new(ready_all(3));
    assert_eq!(shop.matched().sidecars.missing.len(), 3);
    assert_eq!(slipped(&shop, Some(NEW_YEAR - 60.0)).len(), 3);
    assert_eq!(slipped(&shop, Some(NEW_YEAR)).len(), 0, "they are older than the wish");
    assert_eq!(slipped(&shop, None).len(), 0);
}

#[test]
fn a_pod_beside_one_that_was_injected_slipped_by() {
    let later = "2026-01-01T00:01:00Z";
    let shop = Shop::new(vec![
        ready("web-1-a"),
        made(injected("web-1-b"), later),
        made(ready("web-1-c"), later),
    ]);
    assert_eq!(shop.matched().sidecars.missing.len(), 2);
    assert_eq!(slipped(&shop, None), ["web-1-c"]);
}

#[test]
fn pods_that_are_plain_by_design_did_not_slip_by() {
    let pods = || vec![injected("web-1-a"), made(ready("web-1-b"), "2026-01-01T00:01:00Z")];
    let missing = |shop: Shop| shop.matched().sidecars.missing.len();
    assert_eq!(missing(Shop::new(pods())), 1);
    let mut unlabelled = Shop::new(pods());
    unlabelled.labels = json!({});
    assert_eq!(missing(unlabelled), 0);
    let mut without_http = Shop::new(pods());
    without_http.deployment["spec"]["template"]["spec"]["containers"][0]["ports"] =
        json!([{"name": "mysql", "containerPort": 3306}]);
    assert_eq!(missing(without_http), 0);
    let mut leaving = Shop::new(pods());
    leaving.pods[1]["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:02:00Z");
    assert_eq!(missing(leaving), 0);
}

#[test]
fn a_pod_that_came_back_plain_is_the_last_that_is_evicted() {
    let before = Shop::new(ready_all(2));
    let mut trial = Trial::begin(&before.matched());
    let mut gone = Shop::new(ready_all(1));
    assert_eq!(trial.judge(&gone.matched(), PACE), Verdict::Wait);
    gone.pods.push(ready("web-1-x"));
    assert_eq!(trial.judge(&gone.matched(), PACE), Verdict::InVain);
    gone.pods.pop();
    assert_eq!(
        trial.judge(&gone.matched(), Duration::ZERO),
        Verdict::InVain,
        "that stays so"
    );
    gone.pods.push(injected("web-1-y"));
    assert_eq!(
        trial.judge(&gone.matched(), PACE),
        Verdict::GoOn,
        "until one comes with it"
    );
    let mut lost = Trial::lost(&before.matched());
    assert_eq!(lost.judge(&before.matched(), Duration::ZERO), Verdict::InVain);
}

#[test]
fn a_replacement_with_a_sidecar_proves_the_next_eviction() {
    let before = Shop::new(ready_all(2));
    let mut trial = Trial::begin(&before.matched());
    let after = Shop::new(vec![ready("web-1-0"), injected("web-1-x")]);
    assert_eq!(trial.judge(&after.matched(), PACE), Verdict::GoOn);
    let mut unwanted = Trial::begin(&before.matched());
    let mut fewer = Shop::new(ready_all(1));
    fewer.deployment["spec"]["replicas"] = json!(2);
    assert_eq!(
        unwanted.judge(&fewer.matched(), Duration::ZERO),
        Verdict::Wait,
        "two are asked for"
    );
    fewer.deployment["spec"]["replicas"] = json!(1);
    assert_eq!(unwanted.judge(&fewer.matched(), Duration::ZERO), Verdict::GoOn);
}
