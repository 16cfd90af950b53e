//! The CA and the leaf rotate under admissions: nobody's handshake fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::ask::Caller;
use crate::beside::{is_patched, review_of};
use crate::support::{SHOP, SOON, Stage, deployment, namespace, objective};

const REPLICAS: usize = 3;
const ROTATIONS: u32 = 10;
const CERTIFICATES: &str = "valence-webhook-certificates";

#[tokio::test(flavor = "multi_thread")]
async fn ten_rotations_under_admissions_fail_no_handshake() {
    let stage = Stage::with_operators(REPLICAS).await;
    let replica_set = shop(&stage).await;
    refuse_what_is_not_admitted(&stage).await;
    let traffic = Traffic::default();
    let mut callers = vec![];
    for _ in 0..2 {
        callers.push(tokio::spawn(
            traffic
                .clone()
                .through_the_api_server(stage.client(), replica_set.clone()),
        ));
    }
    for address in webhooks(&stage).await {
        callers.push(tokio::spawn(traffic.clone().directly(
            stage.client(),
            address,
            replica_set.clone(),
        )));
    }
    for round in 0..ROTATIONS {
        rotate(&stage.client(), round).await;
        // Whatever a rotation leaves behind is met by a few admissions of everybody.
        let seen = traffic.admitted.load(Ordering::SeqCst);
        traffic.reaches(seen + 20).await;
    }
    traffic.stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let admitted = traffic.admitted.load(Ordering::SeqCst);
    println!(
        "{admitted} admissions, {} handshakes",
        traffic.handshakes.load(Ordering::SeqCst)
    );
    let failures = traffic.failures.lock().clone();
    assert!(failures.is_empty(), "{} of {admitted}: {failures:?}", failures.len());
}

/// A Deployment without pods, whose ReplicaSet stands for some; its name.
async fn shop(stage: &Stage) -> String {
    let objects = vec![namespace(), objective(), deployment(0, json!({}))];
    stage.playground.apply_objects(objects).await.unwrap();
    let replica_sets: Api<k8s_openapi::api::apps::v1::ReplicaSet> = stage.api();
    valence_playground::until("a ReplicaSet", SOON, || async {
        let found = replica_sets
            .list(&Default::default())
            .await
            .map_err(|error| error.to_string())?;
        let first = found.items.into_iter().next().and_then(|found| found.metadata.name);
        first.ok_or_else(|| "none".to_owned())
    })
    .await
    .unwrap()
}

/// Valence fails open; here a webhook that cannot be called is to be seen.
async fn refuse_what_is_not_admitted(stage: &Stage) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(stage.client());
    let patch = json!([
        {"op": "test", "path": "/webhooks/0/name", "value": "pods.valence.io"},
        {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Fail"},
        {"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 30},
    ]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
    api.patch("valence", &PatchParams::default(), &patch).await.unwrap();
}

async fn webhooks(stage: &Stage) -> Vec<SocketAddr> {
    let operators = "app.kubernetes.io/component=operator";
    let pods = stage.playground.pods("valence-system", operators).await.unwrap();
    let address = |pod: &Pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok();
    pods.iter()
        .map(|pod| SocketAddr::new(address(pod).unwrap(), 8443))
        .collect()
}

/// Deletes the Secret, which asks for a new CA, and waits until a leaf of it is in force.
async fn rotate(client: &Client, round: u32) {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "valence-system");
    let part = |secret: &Secret, key: &str| secret.data.as_ref().and_then(|data| data.get(key).cloned());
    let before = secrets.get(CERTIFICATES).await.unwrap();
    secrets.delete(CERTIFICATES, &DeleteParams::default()).await.unwrap();
    valence_playground::until(format!("rotation {round}"), SOON, || async {
        let now = secrets.get_opt(CERTIFICATES).await.map_err(|error| error.to_string())?;
        let now = now.ok_or_else(|| "no Secret".to_owned())?;
        let another = |key: &str| part(&now, key).is_some() && part(&now, key) != part(&before, key);
        match (another("ca.crt"), another("tls.crt")) {
            (true, true) => Ok(()),
            seen => Err(format!("CA and leaf are others: {seen:?}")),
        }
    })
    .await
    .unwrap();
}

/// Admissions, until told to stop.
#[derive(Clone, Default)]
struct Traffic {
    stop: Arc<AtomicBool>,
    admitted: Arc<AtomicU64>,
    handshakes: Arc<AtomicU64>,
    failures: Arc<parking_lot::Mutex<Vec<String>>>,
}

impl Traffic {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    fn count(&self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => drop(self.admitted.fetch_add(1, Ordering::SeqCst)),
            Err(error) => self.failures.lock().push(error),
        }
    }

    async fn reaches(&self, count: u64) {
        valence_playground::until(format!("{count} admissions"), SOON, || async {
            let now = self.admitted.load(Ordering::SeqCst);
            if now >= count {
                Ok(())
            } else {
                Err(format!("{now}: {:?}", self.failures.lock()))
            }
        })
        .await
        .unwrap();
    }

    /// Pods made as dry runs: the API server calls the webhooks.
    async fn through_the_api_server(self, client: Client, replica_set: String) {
        let pods: Api<Pod> = Api::namespaced(client, SHOP);
        let mut pod: Pod = serde_json::from_value(review_of(&replica_set)["request"]["object"].clone()).unwrap();
        pod.metadata.namespace = None;
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        while self.goes_on() {
            let made = pods.create(&parameters, &pod).await;
            let injected = |pod: &Pod| serde_json::to_string(pod).unwrap().contains("envoyproxy");
            self.count(match made {
                Ok(made) if injected(&made) => Ok(()),
                Ok(made) => Err(format!("not injected: {made:?}")),
                Err(error) => Err(error.to_string()),
            });
        }
    }

    /// A handshake for every review, trusting what the configuration says at that moment.
    async fn directly(self, client: Client, address: SocketAddr, replica_set: String) {
        let review = review_of(&replica_set);
        while self.goes_on() {
            let bundle = bundle(&client).await;
            let answer = Caller::trusting(&bundle).ask(address, &review).await;
            // Who read the bundle long ago is no API server: those see a change at once.
            if answer.is_err() && self::bundle(&client).await != bundle {
                continue;
            }
            self.handshakes.fetch_add(1, Ordering::SeqCst);
            let patched = |answer: Value| is_patched(&answer).then_some(()).ok_or_else(|| answer.to_string());
            self.count(answer.and_then(patched));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn bundle(client: &Client) -> String {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let configuration = api.get("valence").await.unwrap();
    let webhook = &serde_json::to_value(configuration).unwrap()["webhooks"][0];
    let encoded = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    String::from_utf8(BASE64.decode(encoded).unwrap()).unwrap()
}
