//! Whether admission works, seen from outside: objects that are sent as a dry run, which leaves nothing behind, must come
//! back as Valence changes them.

use anyhow::Context as _;
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::core::Request;
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

use super::workloads::has_sidecar;
use super::{Context, Finding, Outcome};
use crate::api::Recommendation;

const CATEGORY: &str = "Admission";
const RUNBOOK: &str = "https://github.com/valencenet/valence/blob/main/docs/runbooks/webhook-fails-open.md";
/// Namespaces whose objects the webhooks are never sent.
const NEVER_SENT: [&str; 2] = ["kube-system", "kube-node-lease"];
/// What a warning of the webhook begins with where a pod is left without the sidecar.
const SKIPPED: &str = "Envoy is not injected";

/// The findings.
pub async fn findings(context: &Context) -> Vec<Finding> {
    let mut all = vec![pod(context).await];
    all.extend(readmission(context).await);
    all
}

/// Creates a pod that asks for the sidecar, as a dry run.
async fn pod(context: &Context) -> Finding {
    let namespace = trial_namespace(context);
    match dry_create(context, namespace).await {
        Ok(Answer::Admitted(pod, warnings)) => injected(&pod, &warnings, namespace),
        Ok(Answer::Refused(message)) => untried(&message, namespace),
        Err(error) => untried(&format!("{error:#}"), namespace),
    }
}

fn trial_namespace(context: &Context) -> &str {
    let namespace = context.namespace.as_str();
    if NEVER_SENT.contains(&namespace) || namespace == context.system_namespace {
        "default"
    } else {
        namespace
    }
}

enum Answer {
    Admitted(Box<Pod>, Vec<String>),
    Refused(String),
}

/// By hand, since the warnings are in the headers.
async fn dry_create(context: &Context, namespace: &str) -> anyhow::Result<Answer> {
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let request = Request::new(Pod::url_path(&(), Some(namespace)));
    let request = request.create(&parameters, serde_json::to_vec(&trial())?)?;
    let response = context.client.send(request.map(Body::from)).await?;
    let accepted = response.status().is_success();
    let warnings = response.headers().get_all(http::header::WARNING);
    let warnings = warnings
        .iter()
        .map(|one| String::from_utf8_lossy(one.as_bytes()).into_owned());
    let warnings: Vec<_> = warnings.collect();
    let body = response.into_body().collect().await?.to_bytes();
    if accepted {
        let pod = serde_json::from_str(std::str::from_utf8(&body)?).context("what came back is not a pod")?;
        return Ok(Answer::Admitted(Box::new(pod), warnings));
    }
    let status: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Answer::Refused(
        status["message"].as_str().unwrap_or("no reason given").to_owned(),
    ))
}

/// A pod that every level of Pod Security admits and that asks for the sidecar by itself.
fn trial() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "valence-check-",
            "annotations": { valence_webhook::names::INJECTION: "enabled" },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "app", "image": "registry.k8s.io/pause:3.10",
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "resources": {
                    "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "cpu": "100m", "memory": "32Mi" },
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
                },
            }],
        },
    })
}

fn injected(pod: &Pod, warnings: &[String], namespace: &str) -> Finding {
    if has_sidecar(pod) {
        return Finding::new(
            CATEGORY,
            Outcome::Passed,
            "pods",
            format!("a pod tried in {namespace} comes back with the sidecar"),
        );
    }
    match warnings.iter().find(|warning| warning.contains(SKIPPED)) {
        Some(warning) => Finding::new(
            CATEGORY,
            Outcome::Warned,
            "pods",
            format!(
                "the webhook answers, and leaves a pod tried in {namespace} as it is: {}",
                warning_text(warning)
            ),
        )
        .hint("Another namespace may do: valence check -n NAME"),
        None => Finding::new(
            CATEGORY,
            Outcome::Failed,
            "pods",
            format!("a pod tried in {namespace} comes back unchanged: the API server does not reach the webhook"),
        )
        .hint(format!(
            "The API server must reach port 8443 of the operator's pods: {RUNBOOK}"
        )),
    }
}

/// What stands between the quotes of a header of the form `299 - "text"`.
fn warning_text(header: &str) -> &str {
    let inner = header.split_once('"').map_or(header, |(_, rest)| rest);
    inner.strip_suffix('"').unwrap_or(inner)
}

fn untried(message: &str, namespace: &str) -> Finding {
    Finding::new(
        CATEGORY,
        Outcome::Warned,
        "pods",
        format!("a dry run in {namespace} was refused: {message}"),
    )
    .hint("It takes the right to create pods, and a namespace whose policies admit one: valence check -n NAME")
}

/// Asks for the re-admission of the first live Deployment, as the recommender does, but as a dry run.
async fn readmission(context: &Context) -> Option<Finding> {
    let all: Api<Recommendation> = Api::all(context.client.clone());
    let all = all.list(&ListParams::default()).await.ok()?;
    let live = |one: &&Recommendation| {
        let status = one.status.as_ref();
        status.is_some_and(|status| status.live && status.replicas.is_some())
    };
    let one = all.items.iter().find(live)?;
    let namespace = one.namespace()?;
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &namespace);
    let parameters = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let name = &one.spec.target_ref.name;
    let answer = deployments
        .patch_scale(name, &parameters, &Patch::Merge(json!({})))
        .await;
    let replicas = answer.map(|scale| scale.spec.and_then(|spec| spec.replicas).unwrap_or_default());
    Some(compared(one, replicas.map_err(|error| error.to_string())))
}

fn compared(one: &Recommendation, answer: Result<i32, String>) -> Finding {
    let wanted = one
        .status
        .as_ref()
        .and_then(|status| status.replicas)
        .unwrap_or_default();
    let (namespace, name) = (one.namespace().unwrap_or_default(), one.spec.target_ref.name.as_str());
    let finding = |outcome, message| Finding::new(CATEGORY, outcome, format!("{namespace}/{name}"), message);
    match answer {
        Ok(replicas) if replicas == wanted => finding(
            Outcome::Passed,
            format!("re-admission writes {wanted} replicas, as recommended"),
        ),
        Ok(replicas) => finding(
            Outcome::Warned,
            format!("re-admission writes {replicas} replicas, {wanted} are recommended"),
        )
        .hint(format!(
            "An autoscaler or a rollout may hold it: valence explain deploy/{name} -n {namespace}"
        )),
        Err(message) => finding(
            Outcome::Warned,
            format!("a dry run of re-admission was refused: {message}"),
        )
        .hint("It takes the right to patch deployments/scale."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn came_back(containers: Value) -> Pod {
        serde_json::from_value(json!({ "spec": { "containers": containers } })).unwrap()
    }

    #[test]
    fn a_pod_must_come_back_with_the_sidecar() {
        let with = came_back(json!([{ "name": "app" }, { "name": "envoy" }]));
        let without = came_back(json!([{ "name": "app" }]));
        assert_eq!(injected(&with, &[], "shop").outcome, Outcome::Passed);
        assert_eq!(injected(&without, &[], "shop").outcome, Outcome::Failed);
        let warning = r#"299 - "Envoy is not injected: no room is left""#.to_owned();
        let found = injected(&without, &[warning], "shop");
        assert_eq!(found.outcome, Outcome::Warned);
        assert!(
            found
                .message
                .ends_with("as it is: Envoy is not injected: no room is left"),
            "{}",
            found.message
        );
    }

    #[test]
    fn the_trial_is_a_pod() {
        let pod: Pod = serde_json::from_value(trial()).unwrap();
        assert_eq!(serde_json::to_value(&pod).unwrap()["spec"], trial()["spec"]);
    }

    #[test]
    fn re_admission_must_write_what_is_recommended() {
        let one: Recommendation = serde_json::from_value(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "Recommendation",
            "metadata": { "name": "todo", "namespace": "shop" },
            "spec": { "targetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "todo" } },
            "status": { "live": true, "replicas": 3 },
        }))
        .unwrap();
        assert_eq!(compared(&one, Ok(3)).outcome, Outcome::Passed);
        assert_eq!(compared(&one, Ok(5)).outcome, Outcome::Warned);
        assert!(
            compared(&one, Err("forbidden".to_owned()))
                .message
                .ends_with("forbidden")
        );
    }
}
