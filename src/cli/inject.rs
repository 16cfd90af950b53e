//! `valence inject`: the sidecar in manifests, by the webhook's own code, without a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::core::v1::Service;
use serde_json::Value;
use valence_webhook::{LatencyObjective, Settings, offline};

use super::slo::documents;
use super::{format, output};
use crate::api::ServiceLevelObjective;

/// Kinds whose pods can carry the sidecar.
const WORKLOADS: [&str; 7] = [
    "Pod",
    "Deployment",
    "StatefulSet",
    "ReplicaSet",
    "DaemonSet",
    "Job",
    "CronJob",
];

/// Arguments of `valence inject`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Manifests; `-` reads the standard input. Services and ServiceLevelObjectives among them tell the protocols of ports
    /// and the response times that the sidecar tells apart.
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,

    /// Image of the sidecar.
    #[arg(long, value_name = "IMAGE", default_value = valence_webhook::SIDECAR_IMAGE)]
    sidecar_image: String,

    /// Add an ordinary container, for clusters before 1.33.
    #[arg(long)]
    ordinary_sidecar: bool,
}

/// What the other documents say about workloads.
struct Surroundings {
    objectives: Vec<(String, ServiceLevelObjective)>,
    services: Vec<(String, Service)>,
}

impl Arguments {
    /// Prints every document, those that can carry a sidecar with it.
    ///
    /// # Errors
    /// When a document cannot be read; the others are not printed either.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let documents = documents(&self.filename)?;
        let surroundings = Surroundings::of(&documents)?;
        let mut text = String::new();
        for document in &documents {
            let document = self.injected(document, &surroundings)?;
            text += &format!("---\n{}", format::yaml(&document)?);
        }
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn injected(&self, document: &Value, surroundings: &Surroundings) -> anyhow::Result<Value> {
        if !WORKLOADS.contains(&document["kind"].as_str().unwrap_or_default()) {
            return Ok(document.clone());
        }
        let title = title(document);
        let objectives = surroundings.objectives_of(document);
        let result = offline::inject(
            document,
            &objectives,
            &surroundings.services_of(document),
            &self.settings(),
        );
        let result = result.with_context(|| title.clone())?;
        for warning in &result.warnings {
            output::note(&format!("{title}: {}", warning.trim_start_matches("valence: ")));
        }
        if !result.injected && result.warnings.is_empty() {
            output::note(&format!("{title}: left as it is"));
        }
        Ok(result.object)
    }

    fn settings(&self) -> Settings {
        Settings {
            sidecar_image: self.sidecar_image.clone(),
            native_sidecars: !self.ordinary_sidecar,
            ..Settings::default()
        }
    }
}

fn title(document: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "{}/{}",
        text(&document["kind"]).to_lowercase(),
        text(&document["metadata"]["name"])
    )
}

fn namespace(document: &Value) -> String {
    document["metadata"]["namespace"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

impl Surroundings {
    fn of(documents: &[Value]) -> anyhow::Result<Self> {
        let mut all = Self {
            objectives: Vec::new(),
            services: Vec::new(),
        };
        for document in documents {
            let read = || title(document);
            match document["kind"].as_str() {
                Some("Service") => {
                    let service = serde_json::from_value(document.clone()).with_context(read)?;
                    all.services.push((namespace(document), service));
                }
                Some("ServiceLevelObjective") => {
                    let objective = serde_json::from_value(document.clone()).with_context(read)?;
                    all.objectives.push((namespace(document), objective));
                }
                _ => {}
            }
        }
        Ok(all)
    }

    fn services_of(&self, document: &Value) -> Vec<Service> {
        let namespace = namespace(document);
        let same = self.services.iter().filter(|(place, _)| *place == namespace);
        same.map(|(_, service)| service.clone()).collect()
    }

    /// The objectives that select a workload by its labels; those that cannot be used are told about.
    fn objectives_of(&self, document: &Value) -> Vec<LatencyObjective> {
        let namespace = namespace(document);
        let labels: BTreeMap<String, String> =
            serde_json::from_value(document["metadata"]["labels"].clone()).unwrap_or_default();
        let same = self.objectives.iter().filter(|(place, _)| *place == namespace);
        same.flat_map(|(_, slo)| latencies(slo, &labels)).collect()
    }
}

fn latencies(slo: &ServiceLevelObjective, labels: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
    let name = slo.metadata.name.clone().unwrap_or_default();
    match slo.spec.selector.compile() {
        Ok(selector) if selector.matches(labels) => {}
        Ok(_) => return Vec::new(),
        Err(error) => {
            output::note(&format!("servicelevelobjective/{name}: spec.selector.{error}"));
            return Vec::new();
        }
    }
    let http = slo
        .spec
        .objectives
        .iter()
        .filter_map(|objective| objective.http.as_ref());
    http.filter_map(|http| {
        Some(LatencyObjective {
            slo: name.clone(),
            percentile: u8::try_from(http.latency.percentile).ok()?,
            response_time_seconds: http.latency.response_time.seconds().ok()?,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn injected(documents: &[Value]) -> Vec<Value> {
        let arguments = Arguments {
            filename: PathBuf::new(),
            sidecar_image: "envoy:test".to_owned(),
            ordinary_sidecar: false,
        };
        let surroundings = Surroundings::of(documents).unwrap();
        documents
            .iter()
            .map(|document| arguments.injected(document, &surroundings).unwrap())
            .collect()
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "todo", "labels": {"slo": "web"}},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "todo"}}, "spec": {"containers": [
                {"name": "app", "image": "i", "ports": [{"name": "http", "containerPort": 8000}]}]}}}})
    }

    #[test]
    fn objectives_and_services_of_the_same_manifest_count() {
        let slo = json!({"apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective", "metadata": {"name": "web"},
            "spec": {"selector": {"slo": "web"}, "objectives": [{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "123ms"}}}]}});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "todo"},
            "spec": {"selector": {"app": "todo"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
        let all = injected(&[slo.clone(), service.clone(), deployment()]);
        assert_eq!((&all[0], &all[1]), (&slo, &service));
        let pod = all[2]["spec"]["template"]["spec"].to_string();
        assert!(pod.contains("envoy:test") && pod.contains("123"), "{pod}");
        let without = injected(&[deployment()])[0].to_string();
        assert!(without.contains("envoy:test") && !without.contains("123,"), "{without}");
    }

    #[test]
    fn injecting_again_changes_nothing() {
        let once = injected(&[deployment()]);
        assert_eq!(injected(&once), once);
    }
}
