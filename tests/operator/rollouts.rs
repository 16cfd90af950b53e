//! Injection that comes and goes under load, in more than one order: nobody loses a request.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use valence_playground::load::Generator;

use crate::support::{SHOP, SOON, Stage, deployment, envoy, get, objective};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_request_when_injection_comes_and_goes() {
    if envoy("nobody_loses_a_request_when_injection_comes_and_goes").is_none() {
        return;
    }
    let stage = Stage::with_operators(1).await;
    stage.playground.apply_objects(shop()).await.unwrap();
    stage.playground.pods_ready(SHOP, "app=web", 2, SOON).await.unwrap();
    let load = stage.load(20.0);
    label_then_service_then_roll(&stage, &load).await;
    unlabel_then_roll_then_service(&stage, &load).await;
    label_then_roll_then_service(&stage, &load).await;
    unlabel_then_service_then_roll(&stage, &load).await;
    let report = load.stop().await;
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.served > 100, "{report:?}");
    every_sidecar_could_say_goodbye(&stage).await;
}

/// The hook that tells clients to leave ran wherever a sidecar was stopped.
async fn every_sidecar_could_say_goodbye(stage: &Stage) {
    let api: Api<Event> = stage.api();
    let events = api.list(&ListParams::default()).await.unwrap().items;
    let reasons = |reason: &str| {
        events
            .iter()
            .filter(|event| event.reason.as_deref() == Some(reason))
            .count()
    };
    assert!(reasons("Killing") > 0, "nothing was stopped");
    assert_eq!(reasons("FailedPreStopHook"), 0, "{events:?}");
}

/// A namespace that does not ask yet, and a Service by number.
fn shop() -> Vec<Value> {
    let mut web = deployment(2, json!({}));
    let pod = &mut web["spec"]["template"]["spec"];
    pod["terminationGracePeriodSeconds"] = json!(20);
    // The news that a pod leaves takes its time, with a sidecar and without: more of it on a busy machine.
    pod["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 5}}});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}}),
        objective(),
        web,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }),
    ]
}

async fn label_then_service_then_roll(stage: &Stage, load: &Generator) {
    label(stage, json!("enabled")).await;
    readmit(stage, |service| {
        target(service) == IntOrString::String("http".to_owned())
    })
    .await;
    roll(stage, "1", true).await;
    serves_through_envoy(stage).await;
    assert_eq!(load.report().failed, 0, "{:?}", load.report());
}

async fn unlabel_then_roll_then_service(stage: &Stage, load: &Generator) {
    label(stage, Value::Null).await;
    roll(stage, "2", false).await;
    readmit(stage, is_as_written).await;
    assert_eq!(load.report().failed, 0, "{:?}", load.report());
}

async fn label_then_roll_then_service(stage: &Stage, load: &Generator) {
    label(stage, json!("enabled")).await;
    roll(stage, "3", true).await;
    readmit(stage, |service| {
        target(service) == IntOrString::String("http".to_owned())
    })
    .await;
    serves_through_envoy(stage).await;
    assert_eq!(load.report().failed, 0, "{:?}", load.report());
}

/// The Service is asked about too early: it stays as it is until the last sidecar is gone.
async fn unlabel_then_service_then_roll(stage: &Stage, load: &Generator) {
    label(stage, Value::Null).await;
    readmit(stage, |service| {
        target(service) == IntOrString::String("http".to_owned())
    })
    .await;
    roll(stage, "4", false).await;
    readmit(stage, is_as_written).await;
    assert_eq!(load.report().failed, 0, "{:?}", load.report());
}

async fn label(stage: &Stage, value: Value) {
    let api: Api<Namespace> = Api::all(stage.client());
    let patch = json!({"metadata": {"labels": {"valence.io/injection": value}}});
    api.patch(SHOP, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

/// Makes new pods until they are as they should be: the operator learns of the label from a watch of its own.
async fn roll(stage: &Stage, round: &str, injected: bool) {
    let api: Api<Deployment> = stage.api();
    for attempt in 0..10 {
        let annotations = json!({"annotations": {"rolled": format!("{round}-{attempt}")}});
        let patch = json!({"spec": {"template": {"metadata": annotations}}});
        api.patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
        stage.playground.deployment_settled(SHOP, "web", SOON).await.unwrap();
        if stage.pods().await.iter().all(|pod| carries_envoy(pod) == injected) {
            return;
        }
    }
    panic!("the pods of round {round} are not as they should be");
}

fn carries_envoy(pod: &Pod) -> bool {
    let sidecars = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    sidecars.into_iter().any(|container| container.name == "envoy")
}

/// Has the Service admitted again, by an empty patch, until it is as it should be.
async fn readmit(stage: &Stage, holds: impl Fn(&Service) -> bool) {
    let api: Api<Service> = stage.api();
    valence_playground::until("the Service", SOON, || async {
        let patch = Patch::Merge(json!({}));
        let service = api.patch("web", &PatchParams::default(), &patch).await;
        let service = service.map_err(|error| error.to_string())?;
        if holds(&service) {
            Ok(())
        } else {
            Err(format!("{:?}", service.spec))
        }
    })
    .await
    .unwrap();
}

fn target(service: &Service) -> IntOrString {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).unwrap();
    ports[0].target_port.clone().unwrap()
}

fn is_as_written(service: &Service) -> bool {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()).unwrap();
    let labels = service.metadata.labels.as_ref();
    target(service) == IntOrString::Int(8080)
        && ports.len() == 1
        && labels.is_none_or(|labels| !labels.contains_key("valence.net/prometheus"))
}

/// Every pod's sidecar counts requests.
async fn serves_through_envoy(stage: &Stage) {
    for pod in stage.pods().await {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap();
        valence_playground::until(format!("requests through Envoy at {address}"), SOON, || async {
            let exposition = get(&format!("http://{address}:8181/stats/prometheus"))
                .await
                .unwrap_or_default();
            let counted = exposition
                .lines()
                .find(|line| line.starts_with("envoy_http_downstream_rq_completed{"));
            let count = counted.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            count
                .filter(|count| *count > 0.0)
                .map(drop)
                .ok_or_else(|| format!("{counted:?}"))
        })
        .await
        .unwrap();
    }
}
