//! `valence status`: every managed Deployment in a line.

use std::process::ExitCode;

use clap::Args;
use kube::ResourceExt;
use kube::api::ListParams;
use serde::Serialize;

use super::cluster::{Cluster, api, or_hint};
use super::format::{Format, Table, render};
use super::output;
use crate::api::Recommendation;
use crate::api::recommendation::{ObjectiveSummary, RecommendationStatus};

/// Arguments of `valence status`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    cluster: Cluster,

    /// Deployments of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,

    /// How to write the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// One managed Deployment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// State of the model.
    pub state: String,
    /// Whether the recommendation is written at admission.
    pub live: bool,
    /// Replicas that it asks for now.
    pub current_replicas: Option<i32>,
    /// Recommended replicas.
    pub replicas: Option<i32>,
    /// Recommended CPU request of the application's first container.
    pub cpu: Option<String>,
    /// Recommended memory request of the application's first container.
    pub memory: Option<String>,
    /// Load in queries per minute.
    pub throughput_per_minute: Option<f64>,
    /// Observed latency at the objective's percentile.
    pub latency: Option<String>,
    /// The objective in words.
    pub objective: String,
    /// Share of requests in time.
    pub compliance: Option<String>,
    /// The term that decided.
    pub bound: String,
    /// Why.
    pub reason: String,
}

impl Arguments {
    /// Prints the table.
    ///
    /// # Errors
    /// When the cluster cannot be read.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let (client, namespace) = self.cluster.connect().await?;
        let found = api::<Recommendation>(client, &namespace, self.all_namespaces)
            .list(&ListParams::default())
            .await;
        let found = or_hint(found, || {
            "Valence is not installed in this cluster: see `valence check`".to_owned()
        })?;
        if found.items.is_empty() {
            let place = if self.all_namespaces {
                "the cluster".to_owned()
            } else {
                format!("namespace {namespace}")
            };
            let elsewhere = if self.all_namespaces {
                ""
            } else {
                "; -A looks in all namespaces"
            };
            output::note(&format!(
                "no Deployment of {place} is selected by a ServiceLevelObjective{elsewhere}"
            ));
        }
        let rows: Vec<_> = found.items.iter().map(Row::from).collect();
        output::print(&render(self.output, &rows, |rows| table(rows, self.all_namespaces))?)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl From<&Recommendation> for Row {
    fn from(one: &Recommendation) -> Self {
        let status = one.status.clone().unwrap_or_default();
        let first = status.containers.first();
        let observed = status.observed.clone().unwrap_or_default();
        Self {
            namespace: one.namespace().unwrap_or_default(),
            name: one.spec.target_ref.name.clone(),
            live: status.live,
            current_replicas: status.current_replicas,
            replicas: status.replicas,
            cpu: first.and_then(|container| container.requests.cpu.clone()),
            memory: first.and_then(|container| container.requests.memory.clone()),
            throughput_per_minute: observed.throughput_per_minute,
            latency: observed.latency,
            compliance: observed.compliance,
            objective: strictest(&status).map(objective).unwrap_or_default(),
            bound: status.bound,
            reason: status.reason,
            state: status.state,
        }
    }
}

fn strictest(status: &RecommendationStatus) -> Option<&ObjectiveSummary> {
    let observed = status.observed.as_ref().and_then(|observed| observed.percentile);
    let same = status.objectives.iter().find(|one| Some(one.percentile) == observed);
    same.or_else(|| status.objectives.first())
}

/// `p99 100ms @ 500/min`
#[must_use]
pub fn objective(one: &ObjectiveSummary) -> String {
    let load = one
        .throughput
        .map_or_else(String::new, |throughput| format!(" @ {throughput}/min"));
    format!("p{} {}{load}", one.percentile, one.response_time)
}

fn table(rows: &[Row], all_namespaces: bool) -> Table {
    let mut headings = vec![
        "NAMESPACE",
        "NAME",
        "STATE",
        "LIVE",
        "REPLICAS",
        "CPU",
        "MEMORY",
        "LOAD",
        "LATENCY",
        "OBJECTIVE",
        "COMPLIANCE",
        "BOUND",
    ];
    let mut cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    if !all_namespaces {
        headings.remove(0);
        for row in &mut cells {
            row.remove(0);
        }
    }
    Table { headings, rows: cells }
}

fn cells(row: &Row) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    vec![
        row.namespace.clone(),
        row.name.clone(),
        row.state.clone(),
        if row.live { "yes" } else { "no" }.to_owned(),
        replicas(row.current_replicas, row.replicas),
        text(&row.cpu),
        text(&row.memory),
        row.throughput_per_minute
            .map_or_else(String::new, |load| format!("{load:.0}/min")),
        text(&row.latency),
        row.objective.clone(),
        text(&row.compliance),
        row.bound.clone(),
    ]
}

/// `5 -> 3`, or one number where nothing changes.
fn replicas(current: Option<i32>, recommended: Option<i32>) -> String {
    match (current, recommended) {
        (Some(current), Some(recommended)) if current != recommended => format!("{current} -> {recommended}"),
        (Some(one), _) | (None, Some(one)) => one.to_string(),
        (None, None) => String::new(),
    }
}
