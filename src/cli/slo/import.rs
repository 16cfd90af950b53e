//! OpenSLO to ServiceLevelObjectives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{SOURCE, documents};
use crate::api::objective::PERCENTILES;
use crate::cli::{format, output};

/// Arguments of `valence slo import`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File of OpenSLO documents; `-` reads the standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,

    /// Labels of the Deployments that are meant; without it, `slo: NAME`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, value_delimiter = ',')]
    selector: Vec<(String, String)>,

    /// Unit of the objectives' values, which OpenSLO leaves to the metric.
    #[arg(long, value_enum)]
    unit: Option<Unit>,

    /// Namespace of the objectives.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
}

/// Unit of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Arguments {
    /// Prints a ServiceLevelObjective for each SLO document.
    ///
    /// # Errors
    /// When a document does not map: the first field that does not is named, and nothing is printed.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut text = String::new();
        for (index, document) in documents(&self.filename)?.iter().enumerate() {
            let name = document["metadata"]["name"].as_str().unwrap_or("without a name");
            let objective = self
                .convert(document)
                .with_context(|| format!("document {} ({name})", index + 1))?;
            text += &format!("---\n{}", format::yaml(&objective)?);
        }
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn convert(&self, document: &Value) -> anyhow::Result<Value> {
        ensure!(
            document["apiVersion"] == "openslo/v1",
            "apiVersion: must be openslo/v1, not {}",
            document["apiVersion"]
        );
        ensure!(
            document["kind"] == "SLO",
            "kind: only SLO maps to a ServiceLevelObjective, not {}",
            document["kind"]
        );
        let name = document["metadata"]["name"]
            .as_str()
            .context("metadata.name: missing")?;
        let spec = &document["spec"];
        refuse(spec)?;
        let source = source(spec)?;
        let objectives = spec["objectives"].as_array().context("spec.objectives: missing")?;
        ensure!(!objectives.is_empty(), "spec.objectives: must name an objective");
        let objectives = objectives.iter().enumerate();
        let objectives = objectives
            .map(|(index, one)| self.objective(index, one, source))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut metadata = json!({ "name": name });
        if let Some(namespace) = &self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        Ok(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1",
            "kind": "ServiceLevelObjective",
            "metadata": metadata,
            "spec": { "selector": self.selector(name, source), "objectives": objectives },
        }))
    }

    fn selector(&self, name: &str, source: &Value) -> Value {
        if self.selector.is_empty() {
            let known = source["selector"].as_object().filter(|labels| !labels.is_empty());
            return known.map_or_else(|| json!({ "slo": name }), |labels| json!(labels));
        }
        json!(self.selector.iter().cloned().collect::<BTreeMap<_, _>>())
    }

    fn objective(&self, index: usize, one: &Value, source: &Value) -> anyhow::Result<Value> {
        let field = format!("spec.objectives[{index}]");
        for (key, value) in one.as_object().with_context(|| format!("{field}: must be an object"))? {
            let known = ["displayName", "op", "value", "target", "targetPercent"].contains(&key.as_str());
            ensure!(
                known,
                "{field}.{key}: {value} has no counterpart in a ServiceLevelObjective"
            );
        }
        let op = one["op"].as_str().with_context(|| format!("{field}.op: missing"))?;
        ensure!(
            matches!(op, "lte" | "lt"),
            "{field}.op: {op:?} does not map: a latency must stay below its objective"
        );
        let value = one["value"]
            .as_f64()
            .with_context(|| format!("{field}.value: must be a number"))?;
        let mut http = json!({ "latency": { "percentile": percentile(one, &field)?, "responseTime": self.duration(value, source, &field)? } });
        if let Some(throughput) = source["throughput"]
            .as_array()
            .and_then(|all| all.get(index))
            .filter(|one| one.is_number())
        {
            http["throughput"] = throughput.clone();
        }
        Ok(json!({ "type": "HTTP", "http": http }))
    }

    fn duration(&self, value: f64, source: &Value, field: &str) -> anyhow::Result<String> {
        let unit = match (self.unit, source["unit"].as_str()) {
            (Some(Unit::S), _) | (None, Some("s")) => 1.0,
            (Some(Unit::Ms), _) | (None, Some("ms")) => 1e-3,
            (None, _) => {
                bail!("{field}.value: OpenSLO does not say in what unit {value} is: pass --unit s or --unit ms")
            }
        };
        let duration = crate::api::GoDuration::from_seconds(value * unit);
        duration.seconds().with_context(|| format!("{field}.value"))?;
        Ok(duration.0)
    }
}

/// Names what would be lost.
fn refuse(spec: &Value) -> anyhow::Result<()> {
    for (key, value) in spec.as_object().context("spec: missing")? {
        match (key.as_str(), value) {
            ("description" | "service" | "indicator" | "indicatorRef" | "objectives", _) => {}
            ("budgetingMethod", Value::String(method)) if method == "Occurrences" => {}
            ("budgetingMethod", _) => {
                bail!("spec.budgetingMethod: {value} does not map: Valence counts requests (Occurrences)")
            }
            ("alertPolicies", Value::Array(all)) if all.is_empty() => {}
            ("timeWindow", Value::Array(all)) if all.iter().all(|one| one["calendar"].is_null()) => {
                output::note("note: spec.timeWindow is left out: Valence keeps an objective at all times");
            }
            ("timeWindow", _) => bail!("spec.timeWindow: a calendar-aligned window does not map"),
            _ => bail!("spec.{key}: has no counterpart in a ServiceLevelObjective"),
        }
    }
    Ok(())
}

/// What an export of ours keeps in the metric source; nothing for indicators of others, which the sidecar replaces.
fn source(spec: &Value) -> anyhow::Result<&Value> {
    let indicator = &spec["indicator"]["spec"];
    ensure!(
        indicator["ratioMetric"].is_null(),
        "spec.indicator.spec.ratioMetric: a ratio of counters does not map: only a latency threshold (thresholdMetric) does"
    );
    let metric = &indicator["thresholdMetric"]["metricSource"];
    if metric["type"] == SOURCE {
        return Ok(&metric["spec"]);
    }
    if !spec["indicator"].is_null() || !spec["indicatorRef"].is_null() {
        output::note("note: the indicator is left out: Valence measures latency at the sidecar");
    }
    Ok(&Value::Null)
}

fn percentile(one: &Value, field: &str) -> anyhow::Result<i64> {
    let (key, percent) = match (one["target"].as_f64(), one["targetPercent"].as_f64()) {
        (Some(target), None) => ("target", target * 100.0),
        (None, Some(percent)) => ("targetPercent", percent),
        (Some(_), Some(_)) => bail!("{field}: target and targetPercent exclude each other"),
        (None, None) => bail!("{field}.target: missing"),
    };
    let found = PERCENTILES
        .into_iter()
        .find(|known| (*known as f64 - percent).abs() < 1e-6);
    found.with_context(|| {
        format!(
            "{field}.{key}: {} does not map: a percentile is 99, 95, 90, 75 or 50",
            one[key]
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn import(change: impl Fn(&mut Value)) -> anyhow::Result<Value> {
        let mut document = json!({
            "apiVersion": "openslo/v1", "kind": "SLO", "metadata": {"name": "slo-webapps"},
            "spec": {
                "service": "web", "budgetingMethod": "Occurrences", "timeWindow": [{"duration": "28d", "isRolling": true}],
                "objectives": [{"op": "lte", "value": 100, "target": 0.99}],
            },
        });
        change(&mut document);
        let arguments = Arguments {
            filename: PathBuf::new(),
            selector: Vec::new(),
            unit: Some(Unit::Ms),
            namespace: None,
        };
        arguments.convert(&document)
    }

    #[test]
    fn a_latency_threshold_maps() {
        let slo = import(|_| ()).unwrap();
        assert_eq!(slo["spec"]["selector"], json!({"slo": "slo-webapps"}));
        assert_eq!(
            slo["spec"]["objectives"],
            json!([{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}])
        );
        let _: crate::api::ServiceLevelObjective = serde_json::from_value(slo).unwrap();
    }

    #[test]
    fn what_does_not_map_is_named() {
        type Case = (fn(&mut Value), &'static str);
        let cases: [Case; 10] = [
            (|d| d["kind"] = json!("AlertPolicy"), "kind"),
            (|d| d["apiVersion"] = json!("openslo/v2"), "apiVersion"),
            (
                |d| d["spec"]["budgetingMethod"] = json!("Timeslices"),
                "spec.budgetingMethod",
            ),
            (|d| d["spec"]["alertPolicies"] = json!(["page"]), "spec.alertPolicies"),
            (
                |d| d["spec"]["timeWindow"] = json!([{"duration": "1M", "calendar": {}}]),
                "spec.timeWindow",
            ),
            (
                |d| d["spec"]["indicator"] = json!({"spec": {"ratioMetric": {}}}),
                "ratioMetric",
            ),
            (
                |d| d["spec"]["objectives"][0]["op"] = json!("gte"),
                "spec.objectives[0].op",
            ),
            (
                |d| d["spec"]["objectives"][0]["target"] = json!(0.999),
                "spec.objectives[0].target",
            ),
            (
                |d| d["spec"]["objectives"][0]["timeSliceTarget"] = json!(0.9),
                "spec.objectives[0].timeSliceTarget",
            ),
            (
                |d| d["spec"]["objectives"][0]["value"] = json!(1e9),
                "spec.objectives[0].value",
            ),
        ];
        for (change, field) in cases {
            let error = format!("{:#}", import(change).unwrap_err());
            assert!(error.contains(field), "{field}: {error}");
        }
    }
}
