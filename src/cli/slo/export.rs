//! ServiceLevelObjectives to OpenSLO.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::{Value, json};

use super::{SOURCE, documents};
use crate::api::ServiceLevelObjective;
use crate::cli::{format, output};

/// Arguments of `valence slo export`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// File of ServiceLevelObjectives, as `kubectl get vslo -o yaml` or you wrote them; `-` reads the standard input.
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,

    /// Time window of the error budget, which OpenSLO asks for.
    #[arg(long, value_name = "DURATION", default_value = "28d")]
    time_window: String,
}

impl Arguments {
    /// Prints an OpenSLO document for each ServiceLevelObjective.
    ///
    /// # Errors
    /// When a document is none or cannot be used, with the field.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut text = String::new();
        for document in documents(&self.filename)?.into_iter().flat_map(items) {
            let name = document["metadata"]["name"]
                .as_str()
                .unwrap_or("without a name")
                .to_owned();
            let exported = self.convert(document).with_context(|| name)?;
            text += &format!("---\n{}", format::yaml(&exported)?);
        }
        output::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    fn convert(&self, document: Value) -> anyhow::Result<Value> {
        ensure!(
            document["kind"] == "ServiceLevelObjective",
            "kind: must be ServiceLevelObjective, not {}",
            document["kind"]
        );
        let slo: ServiceLevelObjective = serde_json::from_value(document)?;
        let name = slo.metadata.name.clone().context("metadata.name: missing")?;
        let http: Vec<_> = slo.spec.objectives.iter().filter_map(|one| one.http.as_ref()).collect();
        let objectives = http
            .iter()
            .map(|http| objective(http))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let throughput: Vec<_> = http.iter().map(|http| http.throughput).collect();
        let mut details = json!({ "unit": "ms", "selector": slo.spec.selector });
        if throughput.iter().any(Option::is_some) {
            details["throughput"] = json!(throughput);
        }
        let source = json!({ "type": SOURCE, "spec": details });
        Ok(json!({
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": { "name": name },
            "spec": {
                "service": name,
                "indicator": { "metadata": { "name": format!("{name}-latency") }, "spec": { "thresholdMetric": { "metricSource": source } } },
                "timeWindow": [{ "duration": self.time_window, "isRolling": true }],
                "budgetingMethod": "Occurrences",
                "objectives": objectives,
            },
        }))
    }
}

/// The items of a list, or the document itself.
fn items(mut document: Value) -> Vec<Value> {
    match document["items"].take() {
        Value::Array(items) => items,
        _ => vec![document],
    }
}

fn objective(http: &crate::api::objective::HttpObjective) -> anyhow::Result<Value> {
    let seconds = http.latency.response_time.seconds().context("responseTime")?;
    Ok(json!({
        "displayName": format!("p{} within {}", http.latency.percentile, http.latency.response_time.0),
        "op": "lte",
        "value": milliseconds(seconds),
        "target": http.latency.percentile as f64 / 100.0,
    }))
}

/// Milliseconds, as a whole number where they are one.
fn milliseconds(seconds: f64) -> Value {
    let value = (seconds * 1e6).round() / 1e3;
    if value.fract() == 0.0 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_objective_is_exported_with_what_brings_it_back() {
        let slo = json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective", "metadata": {"name": "slo-webapps"},
            "spec": {"selector": {"slo": "slo-webapps"}, "objectives": [
                {"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}, "throughput": 500}}]},
        });
        let arguments = Arguments {
            filename: PathBuf::new(),
            time_window: "28d".to_owned(),
        };
        let exported = arguments.convert(slo).unwrap();
        assert_eq!(exported["spec"]["objectives"][0]["value"], 100);
        assert_eq!(exported["spec"]["objectives"][0]["target"], 0.99);
        assert_eq!(
            exported["spec"]["indicator"]["spec"]["thresholdMetric"]["metricSource"]["spec"],
            json!({"unit": "ms", "selector": {"slo": "slo-webapps"}, "throughput": [500]})
        );
    }
}
