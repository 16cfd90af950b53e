//! What the operator does when what it depends on misbehaves.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use valence_playground::apiserver::Refusal;

use crate::ask::Caller;
use crate::beside;
use crate::support::{SOON, Stage, condition, envoy, since};

const OPERATORS: &str = "app.kubernetes.io/component=operator";

fn live() -> Value {
    json!({"valence.io/optimizer.configure": "true"})
}

pub async fn holder(stage: &Stage) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(stage.client(), "valence-system");
    leases.get_opt("valence-recommender").await.ok()??.spec?.holder_identity
}

/// Waits for a decision that is newer than this status.
pub async fn decides_again(stage: &Stage, before: &Value) -> Value {
    let decided = before["decidedAt"].clone();
    stage
        .recommendation(|status| status["decidedAt"].is_string() && status["decidedAt"] != decided)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unwell_api_server_costs_nothing_that_was_learnt() {
    if envoy("an_unwell_api_server_costs_nothing_that_was_learnt").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    stage.open_shop(2, live()).await;
    let _load = stage.load(20.0);
    let learnt = stage
        .recommendation(|status| status["model"]["cpu_per_request_seconds"].is_number())
        .await;
    away_and_back(&stage, &learnt).await;
    history_forgotten(&stage).await;
    busy_and_contended(&stage).await;
    edited_and_deleted_by_hand(&stage).await;
    without_resource_metrics(&stage).await;
    definition_removed_and_restored(&stage).await;
}

/// What an outage of ten minutes does that a short one does not: trust in the Lease runs out, the Lease itself runs out, and
/// what the watches missed is no longer in the API server's history. All of it happens here, and admission does not notice.
async fn away_and_back(stage: &Stage, learnt: &Value) {
    let server = stage.playground.server();
    let operator = &stage.playground.pods("valence-system", OPERATORS).await.unwrap()[0];
    let address: std::net::IpAddr = operator
        .status
        .as_ref()
        .unwrap()
        .pod_ip
        .as_ref()
        .unwrap()
        .parse()
        .unwrap();
    let sample = async |name: &str| {
        sample(&address.to_string(), name)
            .await
            .ok_or_else(|| format!("no {name}"))
    };
    let caller = Caller::trusting(&beside::authority(&stage.client()).await);
    let review = beside::review_of(&stage.pods().await[0].owner_references()[0].name);
    let admitted = async || {
        let answer = caller.ask((address, 8443).into(), &review).await.unwrap();
        assert!(beside::is_patched(&answer), "{answer}");
    };
    const REQUESTS: &str = "valence_slo_http_requests_total{";
    let counted = sample(REQUESTS).await.unwrap();
    server.faults().set_unreachable(true);
    valence_playground::until("a lapsed Lease", SOON, || async {
        admitted().await;
        let leads = sample("valence_leader").await?;
        if leads == 0.0 { Ok(()) } else { Err(leads.to_string()) }
    })
    .await
    .unwrap();
    // Beyond the Lease's own time, counted from its last renewal.
    let lapsed = std::time::Instant::now();
    let scraped = sample("valence_scrape_round_duration_seconds_count").await.unwrap();
    valence_playground::until("an outage beyond the Lease, measured on", SOON, || async {
        admitted().await;
        let now = sample("valence_scrape_round_duration_seconds_count").await?;
        let long = lapsed.elapsed() > std::time::Duration::from_secs(6);
        if long && now >= scraped + 3.0 {
            Ok(())
        } else {
            Err(format!("{now} after {scraped}"))
        }
    })
    .await
    .unwrap();
    server.compact();
    server.faults().clear();
    let after = decides_again(stage, learnt).await;
    assert_eq!(since(&after), since(learnt), "the model began anew: {after}");
    let now = sample(REQUESTS).await.unwrap();
    assert!(
        now > counted,
        "what was counted before and during the outage is lost: {now} after {counted}"
    );
}

/// Watches that lag behind are told 410 Gone and list anew: a change made meanwhile is not missed.
async fn history_forgotten(stage: &Stage) {
    let server = stage.playground.server();
    server.faults().cut();
    server.compact();
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = stage.api();
    let patch = json!({"metadata": {"annotations": {"valence.io/optimizer.min-replicas": "3"}}});
    deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    stage
        .deployment(|deployment| deployment.spec.replicas.is_some_and(|replicas| replicas >= 3))
        .await;
}

/// Writes that are refused are counted, and made again.
async fn busy_and_contended(stage: &Stage) {
    let before = stage.recommendation(|_| true).await;
    let leader = holder(stage).await.unwrap();
    let refused = async || {
        let [conflicts, errors] = ["conflict", "error"].map(|outcome| writes(stage, &leader, outcome));
        [conflicts.await.unwrap_or(0.0), errors.await.unwrap_or(0.0)]
    };
    let refused_before = refused().await;
    for code in [409, 429, 500, 503] {
        let path_contains = "recommendations".to_owned();
        let refusal = Refusal {
            code,
            methods: vec!["PATCH".to_owned()],
            path_contains,
            times: Some(2),
        };
        stage.playground.server().faults().refuse(refusal);
    }
    // After a conflict the write is made once more at once: two of them are one write that did not go through.
    valence_playground::until("every refusal", SOON, || async {
        let [conflicts, errors] = refused().await;
        if conflicts >= refused_before[0] + 1.0 && errors >= refused_before[1] + 6.0 {
            Ok(())
        } else {
            Err(format!(
                "{refused_before:?}, then {conflicts} conflicts and {errors} errors"
            ))
        }
    })
    .await
    .unwrap();
    decides_again(stage, &before).await;
}

async fn edited_and_deleted_by_hand(stage: &Stage) {
    let api = stage.dynamic("Recommendation");
    let planned = stage.recommendation(|status| status["replicas"].is_number()).await;
    let edit = json!({"status": {"replicas": 99}});
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(edit))
        .await
        .unwrap();
    stage
        .recommendation(|status| status["replicas"].as_i64().is_some_and(|replicas| replicas != 99))
        .await;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    let made_anew = stage
        .recommendation(|status| status["replicas"].is_number() && status["checkpoint"].is_string())
        .await;
    assert_eq!(made_anew["original"], planned["original"]);
    assert!(
        made_anew["model"]["cpu_per_request_seconds"].is_number(),
        "what was learnt is still known: {made_anew}"
    );
}

/// Without a metrics-server the loop goes on, and says what it lacks.
async fn without_resource_metrics(stage: &Stage) {
    let path_contains = "metrics.k8s.io".to_owned();
    stage.playground.server().faults().refuse(Refusal {
        code: 503,
        path_contains,
        ..Refusal::default()
    });
    let lacking = |status: &Value| condition(status, "ResourceMetrics").is_some_and(|known| known["status"] == "False");
    let before = stage.recommendation(lacking).await;
    let after = decides_again(stage, &before).await;
    assert!(after["replicas"].is_number(), "{after}");
    stage.playground.server().faults().clear();
    stage.recommendation(|status| !lacking(status)).await;
}

/// Removing the definition of objectives removes the objectives: what was recommended is withdrawn, what was learnt is
/// kept, and both come back with the objectives.
async fn definition_removed_and_restored(stage: &Stage) {
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.client());
    let learnt = stage.recommendation(|status| status["checkpoint"].is_string()).await;
    let name = "servicelevelobjectives.optimizer.valence.io";
    let definition = definitions.get(name).await.unwrap();
    definitions.delete(name, &DeleteParams::default()).await.unwrap();
    let withdrawn = |status: &Value| condition(status, "Ready").is_some_and(|ready| ready["reason"] == "NotSelected");
    let status = stage.recommendation(withdrawn).await;
    assert_eq!(since(&status), since(&learnt));
    let mut definition = serde_json::to_value(definition).unwrap();
    definition["metadata"] = json!({"name": name});
    definition["status"] = Value::Null;
    stage.playground.apply_objects(vec![definition]).await.unwrap();
    stage
        .playground
        .apply_objects(vec![crate::support::objective()])
        .await
        .unwrap();
    let back = stage
        .recommendation(|status| status["replicas"].is_number() && !withdrawn(status))
        .await;
    assert_eq!(since(&back), since(&learnt), "what was learnt is lost: {back}");
}

/// A leader that was paused past its Lease finds itself deposed when it wakes, and writes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_that_wakes_writes_nothing() {
    if envoy("a_paused_leader_that_wakes_writes_nothing").is_none() {
        return;
    }
    let stage = Stage::with_operators(2).await;
    stage.open_shop(1, json!({})).await;
    let _load = stage.load(10.0);
    let before = stage.recommendation(|status| status["checkpoint"].is_string()).await;
    let leader = holder(&stage).await.unwrap();
    let process = process_of(&leader).unwrap();
    assert_eq!(metric(&stage, &leader, "valence_leader").await, Some(1.0));
    signal(process, "STOP");
    valence_playground::until("a successor", SOON, || async {
        let holder = holder(&stage).await;
        if holder.as_ref().is_some_and(|holder| *holder != leader) {
            Ok(())
        } else {
            Err(format!("{holder:?}"))
        }
    })
    .await
    .unwrap();
    decides_again(&stage, &before).await;
    let answer = metric(&stage, &leader, "valence_leader").await;
    assert!(answer.is_none(), "a paused process answered");
    signal(process, "CONT");
    let written = || writes(&stage, &leader, "success");
    let awake = valence_playground::until("the metrics of the old leader", SOON, || async {
        written().await.ok_or_else(|| "nothing".to_owned())
    });
    let awake = awake.await.unwrap();
    let mut status = stage.recommendation(|_| true).await;
    for _ in 0..3 {
        status = decides_again(&stage, &status).await;
    }
    assert_eq!(
        written().await,
        Some(awake),
        "the old leader wrote after it was deposed"
    );
    valence_playground::until("the old leader to know", SOON, || async {
        let leads = metric(&stage, &leader, "valence_leader").await;
        if leads == Some(0.0) {
            Ok(())
        } else {
            Err(format!("{leads:?}"))
        }
    })
    .await
    .unwrap();
}

/// The process of an operator's pod, a child of this one.
fn process_of(pod: &str) -> Option<u32> {
    let wanted = format!("POD_NAME={pod}");
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.into_iter().find(|process: &u32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let is_operator = std::fs::read_link(format!("/proc/{process}/exe")).is_ok_and(|exe| exe.ends_with("valence"));
        is_operator
            && environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
    })
}

fn signal(process: u32, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([format!("-{name}"), process.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// How many writes of Recommendations ended so.
async fn writes(stage: &Stage, pod: &str, outcome: &str) -> Option<f64> {
    let sample = format!("valence_status_writes_total{{kind=\"Recommendation\",outcome=\"{outcome}\"}}");
    metric(stage, pod, &sample).await
}

/// The first sample of an operator's metrics that begins like this.
async fn sample(address: &str, begins: &str) -> Option<f64> {
    let text = crate::support::get(&format!("http://{address}:8080/metrics")).await?;
    text.lines()
        .find(|line| line.starts_with(begins))
        .and_then(|line| line.rsplit(' ').next()?.parse().ok())
}

/// A sample of an operator's metrics; `None` while it does not answer or has none.
pub async fn metric(stage: &Stage, pod: &str, sample: &str) -> Option<f64> {
    let pods: Api<Pod> = Api::namespaced(stage.client(), "valence-system");
    let address = pods.get(pod).await.ok()?.status?.pod_ip?;
    let text = crate::support::get(&format!("http://{address}:8080/metrics")).await?;
    sample_of(&text, sample)
}

/// A sample of a page of metrics.
pub fn sample_of(page: &str, sample: &str) -> Option<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_continues_what_the_leader_learnt() {
    if envoy("a_successor_continues_what_the_leader_learnt").is_none() {
        return;
    }
    let stage = Stage::with_operators(2).await;
    let mut annotations = live();
    annotations["valence.io/optimizer.min-replicas"] = json!("2");
    annotations["valence.io/optimizer.max-replicas"] = json!("2");
    stage.open_shop(2, annotations).await;
    let _load = stage.load(20.0);
    stage
        .recommendation(|status| status["model"]["cpu_per_request_seconds"].is_number())
        .await;
    let leader = holder(&stage).await.unwrap();
    let killed = stage.playground.kubelet().crash("valence-system", &leader, "valence");
    assert!(killed, "{leader} does not run");
    // It writes nothing any more.
    let learnt = stage.recommendation(|_| true).await;
    let pods: Api<Pod> = Api::namespaced(stage.client(), "valence-system");
    pods.delete(&leader, &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    let successor = valence_playground::until("a successor", SOON, || async {
        match holder(&stage).await {
            Some(holder) if holder != leader => Ok(holder),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    let names: Vec<_> = stage
        .playground
        .pods("valence-system", OPERATORS)
        .await
        .unwrap()
        .iter()
        .map(|pod| pod.name_any())
        .collect();
    assert!(names.contains(&successor), "{successor} is none of {names:?}");
    let after = decides_again(&stage, &learnt).await;
    assert_eq!(since(&after), since(&learnt), "the successor began anew: {after}");
    assert_ne!(after["state"], "Cold", "{after}");
    assert_eq!(after["replicas"], learnt["replicas"]);
    assert_eq!(after["containers"], learnt["containers"]);
    assert!(condition(&after, "Ready").is_some());
}
