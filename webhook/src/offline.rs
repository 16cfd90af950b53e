//! Injection without a cluster: the same code, on a manifest.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, Service};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::admission::Context;
use crate::plans::{LatencyObjective, Plan, Plans, names};
use crate::pod::{self, Sidecars};
use crate::review::{self, Read, ReviewError};
use crate::settings::Settings;

/// Why a manifest cannot be injected.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// Neither a pod nor anything that has a template of pods.
    #[error("{0} has no pod template")]
    NoTemplate(String),
    /// A field that is not understood.
    #[error("{0}")]
    NotUnderstood(String),
    /// Anything else that is wrong with it.
    #[error(transparent)]
    Review(#[from] ReviewError),
    /// The patch does not apply.
    #[error("the patch does not apply: {0}")]
    Patch(#[from] json_patch::PatchError),
    /// The patch cannot be read back.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// A manifest with a sidecar, or without one and the reason.
#[derive(Debug)]
pub struct Injected {
    /// The manifest.
    pub object: Value,
    /// Whether a sidecar was added.
    pub injected: bool,
    /// What is to be said about it.
    pub warnings: Vec<String>,
}

/// Adds a sidecar to a Pod, or to the template of a Deployment, StatefulSet, ReplicaSet, DaemonSet, Job or CronJob, as
/// admission would, with edges at the objectives' response times. Services of the same namespace may be given: they
/// tell the protocols of ports.
///
/// # Errors
/// When the manifest is not one of these, or a field of it is not understood.
pub fn inject(
    object: &Value,
    objectives: &[LatencyObjective],
    services: &[Service],
    settings: &Settings,
) -> Result<Injected, OfflineError> {
    let place = template_place(object)?;
    let template = object.pointer(place).cloned().unwrap_or_default();
    let plans = Manifest::new(objectives, services);
    let context = Context {
        plans: &plans,
        settings,
        sidecars: &Sidecars::default(),
    };
    let review = serde_json::to_vec(&question(&template))?;
    let request = match review::read::<crate::view::Pod<'_>>(&review)? {
        Read::Whole(request) => request,
        Read::Odd(_, complaint) => return Err(OfflineError::NotUnderstood(complaint)),
    };
    let outcome = request
        .object
        .as_ref()
        .map(|pod| pod::admit(&context, request.namespace(), pod));
    let outcome = outcome.unwrap_or_default();
    let mut changed = asked(&template);
    let patch: json_patch::Patch = serde_json::from_slice(&outcome.patch.to_json())?;
    json_patch::patch(&mut changed, &patch)?;
    let mut object = object.clone();
    if let Some(held) = object.pointer_mut(place).filter(|_| outcome.injected) {
        *held = restored(changed, &template);
    }
    Ok(Injected {
        object,
        injected: outcome.injected,
        warnings: outcome.warnings,
    })
}

fn template_place(object: &Value) -> Result<&'static str, OfflineError> {
    let kind = object["kind"].as_str().unwrap_or("an object without a kind");
    match kind {
        "Pod" => Ok(""),
        "CronJob" => Ok("/spec/jobTemplate/spec/template"),
        _ if object.pointer("/spec/template/spec/containers").is_some() => Ok("/spec/template"),
        _ => Err(OfflineError::NoTemplate(kind.to_owned())),
    }
}

/// The template as a pod that asks for injection and belongs to a Deployment with the objectives.
fn asked(template: &Value) -> Value {
    let mut pod = template.clone();
    let owner = json!([{"kind": "ReplicaSet", "name": Manifest::REPLICA_SET, "controller": true}]);
    if let Some(metadata) = object_at(&mut pod, "metadata") {
        metadata.insert("ownerReferences".to_owned(), owner);
    }
    pod
}

fn object_at<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut Map<String, Value>> {
    value
        .as_object_mut()?
        .entry(key)
        .or_insert_with(|| json!({}))
        .as_object_mut()
}

/// Takes away what was added for the question.
fn restored(mut pod: Value, template: &Value) -> Value {
    if let Some(metadata) = object_at(&mut pod, "metadata") {
        match template.pointer("/metadata/ownerReferences") {
            Some(owners) => metadata.insert("ownerReferences".to_owned(), owners.clone()),
            None => metadata.remove("ownerReferences"),
        };
    }
    pod
}

fn question(template: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "request": {"uid": "offline", "operation": "CREATE", "namespace": "", "object": asked(template)},
    })
}

/// A cluster of one Deployment.
struct Manifest {
    objectives: Vec<LatencyObjective>,
    services: Vec<Arc<Service>>,
}

impl Manifest {
    const REPLICA_SET: &str = "manifest";

    fn new(objectives: &[LatencyObjective], services: &[Service]) -> Self {
        // Without an objective there is nothing that the Deployment has to hold, but the sidecar was asked for.
        let any = LatencyObjective {
            slo: String::new(),
            percentile: 99,
            response_time_seconds: f64::NAN,
        };
        Self {
            objectives: if objectives.is_empty() {
                vec![any]
            } else {
                objectives.to_vec()
            },
            services: services.iter().cloned().map(Arc::new).collect(),
        }
    }
}

impl Plans for Manifest {
    fn synced(&self) -> bool {
        true
    }

    fn namespace_labels(&self, _: &str) -> Option<Arc<BTreeMap<String, String>>> {
        let label = (names::INJECTION.to_owned(), "enabled".to_owned());
        Some(Arc::new(BTreeMap::from([label])))
    }

    fn deployment_of_replica_set(&self, _: &str, replica_set: &str) -> Option<String> {
        (replica_set == Self::REPLICA_SET).then(|| replica_set.to_owned())
    }

    fn deployment(&self, _: &str, _: &str) -> Option<Arc<Deployment>> {
        Some(Arc::default())
    }

    fn deployments(&self, _: &str) -> Vec<Arc<Deployment>> {
        Vec::new()
    }

    fn objectives(&self, _: &str, _: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
        self.objectives.clone()
    }

    fn plan(&self, _: &str, _: &str) -> Option<Arc<Plan>> {
        None
    }

    fn services(&self, _: &str) -> Vec<Arc<Service>> {
        self.services.clone()
    }

    fn selected_pods(&self, _: &str, _: &[(&str, &str)]) -> Vec<Pod> {
        Vec::new()
    }

    fn limit_ranges(&self, _: &str) -> Vec<Arc<LimitRange>> {
        Vec::new()
    }

    fn resource_quotas(&self, _: &str) -> Vec<Arc<ResourceQuota>> {
        Vec::new()
    }

    fn horizontal_pod_autoscalers(&self, _: &str) -> Vec<Arc<HorizontalPodAutoscaler>> {
        Vec::new()
    }

    fn active_vertical_pod_autoscaler(&self, _: &str, _: &str) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn deployment(ports: Value) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "ports": ports}]}}},
        })
    }

    #[test]
    fn injects_a_template_once() {
        let before = deployment(json!([{"name": "http", "containerPort": 8080}]));
        let once = inject(&before, &[], &[], &Settings::default()).unwrap();
        assert!(once.injected);
        let template = &once.object["spec"]["template"];
        assert_eq!(template["spec"]["initContainers"][0]["name"], "envoy");
        assert_eq!(template["metadata"].get("ownerReferences"), None);
        let twice = inject(&once.object, &[], &[], &Settings::default()).unwrap();
        assert!(!twice.injected);
        assert_eq!(twice.object, once.object);
    }

    #[test]
    fn says_why_not() {
        let before = deployment(json!([{"name": "mysql", "containerPort": 3306}]));
        let left = inject(&before, &[], &[], &Settings::default()).unwrap();
        assert_eq!((left.injected, left.object), (false, before));
        assert!(left.warnings[0].contains("no container declares a port that is known to speak HTTP"));
        let service = json!({"kind": "Service", "spec": {"ports": []}});
        let error = inject(&service, &[], &[], &Settings::default()).unwrap_err();
        assert_eq!(error.to_string(), "Service has no pod template");
    }
}
