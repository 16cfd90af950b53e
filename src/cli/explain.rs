//! `valence explain`: each number of a recommendation, what bound it, and what would change it.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use super::cluster::{Workload, or_hint};
use super::format::{Format, Table, render, yaml};
use super::output;
use super::status::objective;
use crate::api::quantity;
use crate::api::recommendation::{ContainerRecommendation, RecommendationStatus, ResourceAmounts};
use crate::core::decision::{Bound, Flag, ModelState};
use crate::report::page::cost::{Cost, Prices};
use crate::report::words;

/// Arguments of `valence explain`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    workload: Workload,

    #[command(flatten)]
    prices: Prices,

    /// How to write the result; json and yaml give the status of the Recommendation.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl Arguments {
    /// Prints the explanation.
    ///
    /// # Errors
    /// When there is no recommendation for the Deployment, with what is missing.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let (client, namespace, found) = self.workload.recommendation().await?;
        let Some(found) = found else {
            anyhow::bail!("{}", self.missing(client, &namespace).await?);
        };
        let status = found.status.unwrap_or_default();
        let text = match self.output {
            Format::Table => explanation(&namespace, &self.workload.deployment, &status, &self.prices),
            Format::Yaml => yaml(&status)?,
            other => render(other, &status, inputs)?,
        };
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Why there is nothing to explain.
    async fn missing(&self, client: kube::Client, namespace: &str) -> anyhow::Result<String> {
        let api: Api<Deployment> = Api::namespaced(client, namespace);
        let name = &self.workload.deployment;
        or_hint(api.get(name).await, || {
            format!("there is no Deployment {namespace}/{name}")
        })?;
        Ok(format!(
            "no ServiceLevelObjective of namespace {namespace} selects the labels of Deployment {name}, or it has just been \
             applied: see `kubectl get vslo -n {namespace}`"
        ))
    }
}

/// The explanation for people.
#[must_use]
pub fn explanation(namespace: &str, name: &str, status: &RecommendationStatus, prices: &Prices) -> String {
    let mut text = String::new();
    let mode = if status.live {
        "live: written at admission"
    } else {
        "recommended only"
    };
    let _ = writeln!(text, "{namespace}/{name}   {mode}");
    if !status.reason.is_empty() {
        let _ = writeln!(text, "\n  {}", status.reason);
    }
    section(
        &mut text,
        "Objectives",
        &status.objectives.iter().map(objective).collect::<Vec<_>>(),
    );
    section(&mut text, "Observed", &observed(status));
    let mut lines = recommended(status);
    lines.extend(expense(status, prices));
    section(&mut text, "Recommended", &lines);
    section(&mut text, "Why", &why(status));
    section(&mut text, "From these inputs", &measures(status));
    section(&mut text, "In the way", &obstacles(status));
    text
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{title}");
        for line in lines {
            let _ = writeln!(text, "  {line}");
        }
    }
}

fn observed(status: &RecommendationStatus) -> Vec<String> {
    let Some(observed) = &status.observed else {
        return Vec::new();
    };
    let percentile = observed
        .percentile
        .map_or_else(String::new, |percentile| format!(" at p{percentile}"));
    [
        observed
            .throughput_per_minute
            .map(|load| format!("load         {}/min", words::number(load))),
        observed
            .latency
            .as_ref()
            .map(|latency| format!("latency      {latency}{percentile}")),
        observed
            .compliance
            .as_ref()
            .map(|share| format!("in time      {share} of requests")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn recommended(status: &RecommendationStatus) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(replicas) = status.replicas {
        let now = status.current_replicas.filter(|current| *current != replicas);
        let now = now.map_or_else(String::new, |current| format!("  (now {current})"));
        lines.push(format!("replicas     {replicas}{now}"));
    }
    lines.extend(
        status
            .containers
            .iter()
            .map(|container| container_line(container, status)),
    );
    lines
}

/// What a month of the requests costs, as recommended and as written; nothing without a price.
fn expense(status: &RecommendationStatus, prices: &Prices) -> Option<String> {
    let month = |replicas: Option<i32>, containers: &[ContainerRecommendation]| {
        let cost = requested(replicas?, containers, prices);
        cost.per_month
            .filter(|amount| *amount > 0.0)
            .map(|amount| prices.money(amount))
    };
    let recommended = month(status.replicas.or(status.current_replicas), &status.containers)?;
    let original = status.original.as_ref();
    let written =
        original.and_then(|original| month(original.replicas.or(status.current_replicas), &original.containers));
    let written = written.map_or_else(String::new, |written| {
        format!("  (as written: {written}, without the sidecar)")
    });
    Some(format!("cost         {recommended} a month{written}"))
}

fn requested(replicas: i32, containers: &[ContainerRecommendation], prices: &Prices) -> Cost {
    let amount = |text: Option<&String>| text.and_then(|text| quantity::value(text)).unwrap_or_default();
    let sum =
        |of: &dyn Fn(&ContainerRecommendation) -> f64| f64::from(replicas) * containers.iter().map(of).sum::<f64>();
    let cpu = sum(&|one| amount(one.requests.cpu.as_ref()));
    let memory = sum(&|one| amount(one.requests.memory.as_ref()));
    Cost::new(cpu, memory, prices)
}

fn container_line(container: &ContainerRecommendation, status: &RecommendationStatus) -> String {
    let original = status.original.as_ref();
    let written = original.and_then(|original| original.containers.iter().find(|one| one.name == container.name));
    let written = written.filter(|written| written.requests != container.requests);
    let written = written.map_or_else(String::new, |written| {
        format!("  (as written: {})", amounts(&written.requests))
    });
    format!(
        "{:<12} requests {}; limits {}{written}",
        container.name,
        amounts(&container.requests),
        amounts(&container.limits)
    )
}

fn amounts(amounts: &ResourceAmounts) -> String {
    let part = |what: &str, value: &Option<String>| value.as_ref().map(|value| format!("{what} {value}"));
    let parts: Vec<_> = [part("cpu", &amounts.cpu), part("memory", &amounts.memory)]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

fn why(status: &RecommendationStatus) -> Vec<String> {
    let bound = Bound::named(&status.bound);
    let state = ModelState::named(&status.state);
    let smaller = status
        .explanation
        .as_ref()
        .map(|explanation| explanation.next_smaller.clone());
    let mut lines: Vec<_> = [
        state.map(|state| format!("model        {}: {}", status.state, words::state(state))),
        bound.map(|bound| {
            format!(
                "replicas     decided by {}. {}",
                words::bound(bound),
                words::remedy(bound)
            )
        }),
        smaller
            .filter(|text| !text.is_empty())
            .map(|text| format!("one fewer    {text}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.extend(sizes(status));
    lines
}

/// What bound the CPU and the memory of pods, and what would change them.
fn sizes(status: &RecommendationStatus) -> Vec<String> {
    let Some(original) = &status.original else {
        return Vec::new();
    };
    let pairs: Vec<_> = status
        .containers
        .iter()
        .filter_map(|one| {
            Some((
                one,
                original.containers.iter().find(|written| written.name == one.name)?,
            ))
        })
        .collect();
    if pairs.is_empty() {
        return Vec::new();
    }
    let moved = |of: fn(&ResourceAmounts) -> &Option<String>| {
        pairs
            .iter()
            .any(|(one, written)| of(&one.requests) != of(&written.requests))
    };
    vec![
        format!("cpu          {}", words::cpu_size(moved(|amounts| &amounts.cpu))),
        format!("memory       {}", words::memory_size(moved(|amounts| &amounts.memory))),
    ]
}

fn measures(status: &RecommendationStatus) -> Vec<String> {
    let all = status
        .explanation
        .iter()
        .flat_map(|explanation| &explanation.inputs)
        .map(|(name, value)| words::measure(name, *value));
    let all: Vec<_> = all.collect();
    let width = all
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or_default();
    all.iter()
        .map(|(name, value)| format!("{name:<width$}  {value}"))
        .collect()
}

/// Conditions that are as they should not be, but for what is said already: the state of the model.
fn obstacles(status: &RecommendationStatus) -> Vec<String> {
    let bad = status
        .conditions
        .iter()
        .filter(|one| !one.is_well() && one.type_ != "Confident");
    bad.map(|one| match one.type_.as_str() {
        "Extrapolated" => words::flag(Flag::Extrapolated).to_owned(),
        "ThroughputExceeded" => words::flag(Flag::ThroughputExceeded).to_owned(),
        _ => format!("{}: {} ({})", one.type_, one.message, one.reason),
    })
    .collect()
}

/// The inputs as rows, for a spreadsheet.
fn inputs(status: &RecommendationStatus) -> Table {
    let all = status.explanation.iter().flat_map(|explanation| &explanation.inputs);
    Table {
        headings: vec!["INPUT", "VALUE"],
        rows: all.map(|(name, value)| vec![name.clone(), value.to_string()]).collect(),
    }
}
