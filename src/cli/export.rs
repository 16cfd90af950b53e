//! `valence export`: recommended values as files, for those who apply by git.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Map, Value, json};
use valence_webhook::names;

use super::cluster::Workload;
use super::format::yaml;
use super::{input, output};
use crate::api::recommendation::{ContainerRecommendation, RecommendationStatus, ResourceAmounts};

/// Arguments of `valence export`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    workload: Workload,

    /// What to write.
    #[arg(long, value_enum, default_value_t = Form::Patch)]
    form: Form,

    /// Manifest to put the values into instead of the Deployment of the cluster; `-` reads the standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,

    /// Also write the sidecar's resources, for a sidecar that is part of the manifest.
    #[arg(long)]
    sidecar: bool,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// A strategic merge patch for the `patches` of a kustomization.
    Patch,
    /// The whole Deployment with the recommended values.
    Manifest,
}

impl Arguments {
    /// Prints the patch or the manifest.
    ///
    /// # Errors
    /// When there is nothing to recommend yet, or the manifest is not the Deployment that is meant.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let (client, namespace, found) = self.workload.recommendation().await?;
        let name = &self.workload.deployment;
        let found = found
            .with_context(|| format!("there is no recommendation for {namespace}/{name}: see `valence explain`"))?;
        let status = found.status.unwrap_or_default();
        anyhow::ensure!(
            status.replicas.is_some() || !status.containers.is_empty(),
            "nothing is recommended for {namespace}/{name} yet: its model is {}",
            status.state
        );
        let document = match (self.form, &self.filename) {
            (Form::Patch, _) => patch(&namespace, name, &status, self.sidecar),
            (Form::Manifest, Some(file)) => filled(read(file)?, name, &status, self.sidecar)?,
            (Form::Manifest, None) => {
                let deployment: Deployment = Api::namespaced(client, &namespace).get(name).await?;
                filled(
                    plain(serde_json::from_slice(&serde_json::to_vec(&deployment)?)?),
                    name,
                    &status,
                    self.sidecar,
                )?
            }
        };
        output::print(&format!("# {}\n{}", comment(&status), yaml(&document)?))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn comment(status: &RecommendationStatus) -> String {
    let when = status
        .decided_at
        .as_ref()
        .map_or_else(String::new, |time| format!(" on {}", time.0));
    format!("Recommended by Valence{when}: {}", status.reason.replace('\n', " "))
}

fn read(file: &Path) -> anyhow::Result<Value> {
    Ok(serde_saphyr::from_str(&input::text(file)?)?)
}

/// What the recommendation says and nothing else, so that it merges into whatever the user has.
#[must_use]
pub fn patch(namespace: &str, name: &str, status: &RecommendationStatus, sidecar: bool) -> Value {
    let mut spec = Map::new();
    if let Some(replicas) = status.replicas {
        spec.insert("replicas".to_owned(), json!(replicas));
    }
    let containers: Vec<_> = wanted(status, sidecar)
        .map(|one| json!({ "name": one.name, "resources": resources(one) }))
        .collect();
    if !containers.is_empty() {
        spec.insert("template".to_owned(), json!({ "spec": { "containers": containers } }));
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "namespace": namespace },
        "spec": spec,
    })
}

fn wanted(status: &RecommendationStatus, sidecar: bool) -> impl Iterator<Item = &ContainerRecommendation> {
    let injected = names::SIDECAR_CONTAINER;
    status
        .containers
        .iter()
        .filter(move |one| sidecar || one.name != injected)
}

fn resources(one: &ContainerRecommendation) -> Value {
    let mut all = Map::new();
    for (kind, amounts) in [("requests", &one.requests), ("limits", &one.limits)] {
        let amounts = self::amounts(amounts);
        if !amounts.is_empty() {
            all.insert(kind.to_owned(), Value::Object(amounts));
        }
    }
    Value::Object(all)
}

fn amounts(amounts: &ResourceAmounts) -> Map<String, Value> {
    let pairs = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
    pairs
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), json!(amount.as_ref()?))))
        .collect()
}

/// What `kubectl apply` notes.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Deployment without what the server and admission add.
#[must_use]
pub fn plain(mut deployment: Value) -> Value {
    if let Some(all) = deployment.as_object_mut() {
        all.remove("status");
    }
    if let Some(metadata) = deployment["metadata"].as_object_mut() {
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels" | "annotations"));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| {
                !key.starts_with("deployment.kubernetes.io/")
                    && ![LAST_APPLIED, names::ORIGINAL, names::EFFECTIVE].contains(&key.as_str())
            });
        }
    }
    if let Some(template) = deployment
        .pointer_mut("/spec/template/metadata")
        .and_then(Value::as_object_mut)
    {
        template.remove("creationTimestamp");
    }
    deployment
}

/// A Deployment with the recommended values in place of its own.
///
/// # Errors
/// When the document is another object, or lacks a container that the recommendation names.
pub fn filled(
    mut deployment: Value,
    name: &str,
    status: &RecommendationStatus,
    sidecar: bool,
) -> anyhow::Result<Value> {
    let found = format!(
        "{}/{}",
        deployment["kind"].as_str().unwrap_or_default(),
        deployment["metadata"]["name"].as_str().unwrap_or_default()
    );
    anyhow::ensure!(
        found == format!("Deployment/{name}"),
        "the manifest holds {found}, not Deployment/{name}"
    );
    if let Some(replicas) = status.replicas {
        deployment["spec"]["replicas"] = json!(replicas);
    }
    let containers = deployment
        .pointer_mut("/spec/template/spec/containers")
        .and_then(Value::as_array_mut);
    let containers = containers.context("the manifest has no spec.template.spec.containers")?;
    for one in wanted(status, sidecar) {
        let container = containers
            .iter_mut()
            .find(|container| container["name"] == one.name.as_str());
        let container = container.with_context(|| format!("the manifest has no container {}", one.name))?;
        merge(&mut container["resources"], resources(one));
    }
    Ok(deployment)
}

fn merge(target: &mut Value, values: Value) {
    match values {
        Value::Object(values) => {
            for (key, value) in values {
                merge(&mut target[key.as_str()], value);
            }
        }
        value => *target = value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status() -> RecommendationStatus {
        serde_json::from_value(json!({
            "replicas": 3,
            "containers": [
                {"name": "app", "requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
                {"name": "envoy", "requests": {"cpu": "50m"}},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_patch_says_what_is_recommended_and_no_more() {
        let patch = patch("shop", "todo", &status(), false);
        assert_eq!(patch["spec"]["replicas"], 3);
        assert_eq!(
            patch["spec"]["template"]["spec"]["containers"],
            json!([{"name": "app", "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}}])
        );
        let with_sidecar = self::patch("shop", "todo", &status(), true);
        assert_eq!(
            with_sidecar["spec"]["template"]["spec"]["containers"][1]["name"],
            "envoy"
        );
    }

    #[test]
    fn a_manifest_keeps_what_is_not_recommended() {
        let manifest = json!({"kind": "Deployment", "metadata": {"name": "todo", "uid": "x", "annotations": {"a": "b", "deployment.kubernetes.io/revision": "3", "valence.io/original": "{}"}},
            "status": {}, "spec": {"replicas": 9, "template": {"spec": {"containers": [
                {"name": "app", "image": "i", "resources": {"limits": {"cpu": "2", "ephemeral-storage": "1Gi"}}}, {"name": "other"}]}}}});
        let filled = filled(plain(manifest), "todo", &status(), false).unwrap();
        assert_eq!(filled["spec"]["replicas"], 3);
        assert_eq!(filled["metadata"], json!({"name": "todo", "annotations": {"a": "b"}}));
        assert_eq!(
            filled["spec"]["template"]["spec"]["containers"],
            json!([{"name": "app", "image": "i", "resources": {
                "limits": {"cpu": "2", "ephemeral-storage": "1Gi", "memory": "128Mi"}, "requests": {"cpu": "250m", "memory": "128Mi"}}},
                {"name": "other"}])
        );
    }

    #[test]
    fn the_wrong_manifest_is_refused_by_name() {
        let error = |document: Value| filled(document, "todo", &status(), false).unwrap_err().to_string();
        assert!(error(json!({"kind": "Service", "metadata": {"name": "todo"}})).contains("Service/todo"));
        let empty = json!({"kind": "Deployment", "metadata": {"name": "todo"}, "spec": {"template": {"spec": {"containers": []}}}});
        assert!(error(empty).contains("no container app"));
    }
}
