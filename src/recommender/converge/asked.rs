//! What is sent to the API server for a live Deployment, and what is not.
#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::tests::{NEW_YEAR, PACE, Shop, injected, pod, ready, undecided, waiting};
use super::{Convergence, Converger};
use crate::core::decision::Decision;
use crate::core::observation::Resources;
use crate::core::units::Cores;
use crate::recommender::fencing::leading;
use crate::recommender::subjects::Matched;
use crate::report::metrics::Metrics;

/// An API server whose admission sets 7 replicas and 2 cores, and that notes what it is asked but for dry runs.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    /// Whether admission is away.
    is_plain: bool,
    /// What resizes are answered with instead.
    refuses: Option<u16>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = server.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "shop")
    }

    fn answer(&self, request: &Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let (object, verb) = path.rsplit_once('/').unwrap();
        let name = object.rsplit('/').next().unwrap();
        let is_dry = request.uri().query().is_some_and(|query| query.contains("dryRun"));
        if request.method() != Method::GET && !is_dry {
            self.asked.lock().push(format!("{verb} {name}"));
        }
        match verb {
            "resize" if self.refuses.is_some() => {
                let code = self.refuses.unwrap_or_default();
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "", "code": code});
                answer(code, &status)
            }
            "resize" => answer(200, &sized(injected(name), if self.is_plain { "500m" } else { "2" })),
            "scale" => {
                let replicas = if self.is_plain { 0 } else { 7 };
                answer(
                    200,
                    &json!({"metadata": {"name": name}, "spec": {"replicas": replicas}}),
                )
            }
            _ => answer(201, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
        }
    }

    fn converger(&self, evict: bool) -> Converger {
        let metrics = Metrics::new(Arc::default()).unwrap();
        let leadership = leading(Duration::from_secs(600));
        Converger::new(self.client(), leadership, metrics.cycles, evict, PACE)
    }

    /// What one cycle asks for.
    async fn cycle(&self, matched: &Matched, memory: Convergence) -> (Vec<String>, Convergence) {
        let converger = self.converger(true);
        let memory = converger.converge(matched, &larger(), memory, NEW_YEAR + 3600.0).await;
        (std::mem::take(&mut self.asked.lock()), memory)
    }

    async fn asked(&self, shop: &Shop) -> Vec<String> {
        self.cycle(&shop.matched(), Convergence::default()).await.0
    }
}

fn answer(code: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

fn sized(mut pod: Value, cpu: &str) -> Value {
    pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
    pod
}

/// Seven replicas of two cores.
fn larger() -> Decision {
    let mut decision = undecided();
    decision.replicas = Some(7);
    let resources = Resources {
        cpu_request: Some(Cores(2.0)),
        ..Resources::default()
    };
    decision.containers.insert("web".to_owned(), resources);
    decision
}

fn killed(name: &str) -> Value {
    pod(
        name,
        json!({"containerStatuses": [{"name": "web", "ready": false, "restartCount": 4, "image": "", "imageID": "",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
    )
}

/// Pods that carry what they should but for their size.
fn injected_all(count: usize) -> Vec<Value> {
    (0..count).map(|number| injected(&format!("web-1-{number}"))).collect()
}

#[tokio::test]
async fn a_tenth_of_the_pods_is_resized_at_once_and_none_twice() {
    let shop = Shop::new(injected_all(30));
    let server = Server::default();
    let (first, memory) = server.cycle(&shop.matched(), Convergence::default()).await;
    assert_eq!(
        first,
        ["scale web", "resize web-1-0", "resize web-1-1", "resize web-1-10"]
    );
    let (second, _) = server.cycle(&shop.matched(), memory).await;
    assert_eq!(second.len(), 4, "{second:?}");
    assert!(second[1..].iter().all(|asked| !first.contains(asked)), "{second:?}");
}

#[tokio::test]
async fn a_deployment_of_any_size_is_through_soon() {
    let server = Server::default();
    let asked = server.asked(&Shop::new(injected_all(400))).await;
    assert_eq!(asked.len(), 1 + 20, "a tenth would be forty");
    let ill: Vec<_> = (0..50).map(|number| killed(&format!("web-1-{number}"))).collect();
    let mut asked = server.asked(&Shop::new(ill)).await;
    asked.retain(|asked| asked.starts_with("resize"));
    assert_eq!(asked.len(), 20);
}

#[tokio::test]
async fn nothing_is_asked_for_where_the_dry_run_changes_nothing() {
    let plain = Server {
        is_plain: true,
        ..Server::default()
    };
    let mut shop = Shop::new(injected_all(2));
    assert_eq!(plain.asked(&shop).await, ["scale web"], "0 is another number than 2");
    shop.deployment["spec"]["replicas"] = json!(7);
    assert_eq!(plain.asked(&shop).await, [""; 0]);
}

#[tokio::test]
async fn admission_that_has_not_heard_of_new_sizes_is_asked_again() {
    let unaware = Server {
        is_plain: true,
        ..Server::default()
    };
    let mut shop = Shop::new(injected_all(1));
    shop.deployment["spec"]["replicas"] = json!(7);
    let (asked, memory) = unaware.cycle(&shop.matched(), Convergence::default()).await;
    assert_eq!(asked, [""; 0]);
    let standing = memory.standing.as_ref().unwrap();
    assert_eq!(
        standing.reason, "NotAdmitted",
        "the pod carries other values: {standing:?}"
    );
    let (asked, _) = Server::default().cycle(&shop.matched(), memory).await;
    assert_eq!(asked, ["resize web-1-0"]);
}

#[tokio::test]
async fn a_deployment_that_somebody_holds_is_left_alone() {
    let server = Server::default();
    let mut shop = Shop::new(injected_all(2));
    shop.deployment["spec"]["paused"] = json!(true);
    assert_eq!(server.asked(&shop).await, [""; 0]);
    shop.deployment["spec"]["paused"] = json!(false);
    shop.deployment["spec"]["replicas"] = json!(0);
    assert_eq!(server.asked(&shop).await, [""; 0]);
}

#[tokio::test]
async fn of_a_rollout_that_is_stuck_only_pods_that_may_be_cured_are_resized() {
    let mut pods = injected_all(2);
    pods.extend([killed("web-1-x"), waiting("web-1-y", "CrashLoopBackOff")]);
    let mut shop = Shop::new(pods);
    let server = Server::default();
    shop.deployment["status"] = json!({"conditions": [{"type": "Progressing", "status": "False", "message": "late"}]});
    assert_eq!(server.asked(&shop).await, ["resize web-1-x"]);
}

#[tokio::test]
async fn what_another_autoscaler_steers_is_left_to_it() {
    let server = Server::default();
    let mut matched = Shop::new(injected_all(2)).matched();
    matched.vertical = Some("web".to_owned());
    let (asked, _) = server.cycle(&matched, Convergence::default()).await;
    assert_eq!(asked, ["scale web"]);
    matched.horizontal = Some("web".to_owned());
    let (asked, _) = server.cycle(&matched, Convergence::default()).await;
    assert_eq!(asked, [""; 0]);
}

#[tokio::test]
async fn a_pod_whose_size_is_refused_is_evicted_by_the_guards() {
    let refusing = |code| Server {
        refuses: Some(code),
        ..Server::default()
    };
    assert_eq!(
        refusing(422).asked(&Shop::new(injected_all(2))).await,
        ["scale web", "eviction web-1-0"]
    );
    assert_eq!(
        refusing(503).asked(&Shop::new(injected_all(2))).await,
        ["scale web"],
        "that is no judgement"
    );
    assert_eq!(
        refusing(422).asked(&Shop::new(injected_all(1))).await,
        ["scale web"],
        "nobody else serves"
    );
    let server = refusing(422);
    let converger = server.converger(false);
    let matched = Shop::new(injected_all(2)).matched();
    let mut decision = larger();
    decision.replicas = Some(2);
    let memory = Convergence::default();
    let memory = converger.converge(&matched, &decision, memory, NEW_YEAR).await;
    assert_eq!(*server.asked.lock(), [""; 0], "evictions are turned off");
    assert_eq!(memory.standing.as_ref().unwrap().reason, "EvictionOff");
    let memory = converger.converge(&matched, &decision, memory, NEW_YEAR + 10.0).await;
    assert_eq!(
        memory.standing.as_ref().unwrap().reason,
        "EvictionOff",
        "that it was told once changes nothing"
    );
    let (again, _) = refusing(422).cycle(&matched, memory).await;
    assert!(again.contains(&"eviction web-1-0".to_owned()), "now it may: {again:?}");
}

#[tokio::test]
async fn a_pod_that_slipped_by_is_evicted_once_and_the_next_when_that_helped() {
    let later = |mut pod: Value| {
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:01:00Z");
        pod
    };
    let fits = |name: &str| sized(ready(name), "2");
    let with = sized(injected("web-1-a"), "2");
    let mut shop = Shop::new(vec![with, later(fits("web-1-b")), later(fits("web-1-c"))]);
    let server = Server::default();
    let of_pods = |asked: Vec<String>| -> Vec<String> {
        asked
            .into_iter()
            .filter(|asked| asked.starts_with("eviction"))
            .collect()
    };
    shop.deployment["spec"]["replicas"] = json!(3);
    let mut seven = larger();
    seven.replicas = Some(3);
    let converger = server.converger(true);
    let memory = converger
        .converge(&shop.matched(), &seven, Convergence::default(), NEW_YEAR + 3600.0)
        .await;
    assert_eq!(of_pods(std::mem::take(&mut server.asked.lock())), ["eviction web-1-b"]);
    // The replacement came without a sidecar as well.
    shop.pods[1] = later(fits("web-1-d"));
    let memory = converger
        .converge(&shop.matched(), &seven, memory, NEW_YEAR + 3600.0)
        .await;
    assert_eq!(of_pods(std::mem::take(&mut server.asked.lock())), [""; 0]);
    assert_eq!(memory.standing.unwrap().reason, "ReplacedInVain");
}

#[tokio::test]
async fn only_ready_pods_are_resized_for_the_plan() {
    let mut pods = injected_all(1);
    pods.push(waiting("web-1-x", "ContainerCreating"));
    let asked = Server::default().asked(&Shop::new(pods)).await;
    assert_eq!(asked, ["scale web", "resize web-1-0"]);
}
