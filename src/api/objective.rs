//! `ServiceLevelObjective`: how fast the Deployments that it selects must answer.

// The derive repeats its attributes for every column.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::conditions::Condition;
use super::duration::{DurationError, GoDuration};
use super::selector::{Selector, SelectorError};
use crate::core::objective::Objective;

/// Percentiles that an objective may name.
pub const PERCENTILES: [i64; 5] = [99, 95, 90, 75, 50];

/// What a platform engineer asks of a group of Deployments.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "optimizer.valence.io",
    version = "v1alpha1",
    kind = "ServiceLevelObjective",
    plural = "servicelevelobjectives",
    shortname = "vslo",
    category = "valence",
    namespaced,
    status = "ServiceLevelObjectiveStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "A ServiceLevelObjective states how fast the Deployments that it selects must answer; Valence finds the replicas and resources that make it so at the least cost.",
    printcolumn(
        name = "Percentile",
        type_ = "integer",
        json_path = ".spec.objectives[0].http.latency.percentile",
        description = "Percentile of the first objective"
    ),
    printcolumn(
        name = "Response time",
        type_ = "string",
        json_path = ".spec.objectives[0].http.latency.responseTime",
        description = "Response time of the first objective"
    ),
    printcolumn(
        name = "Throughput",
        type_ = "integer",
        json_path = ".spec.objectives[0].http.throughput",
        description = "Queries per minute of the first objective; empty means every throughput"
    ),
    printcolumn(
        name = "Matched",
        type_ = "integer",
        json_path = ".status.matched",
        description = "Deployments that the selector matches"
    ),
    printcolumn(
        name = "Compliance",
        type_ = "string",
        json_path = ".status.compliance",
        description = "Least share of requests answered in time over the matched Deployments"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the objective is in force"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLevelObjectiveSpec {
    /// Selects Deployments of the same namespace by their labels: a plain map of labels such as
    /// `{slo: slo-webapps}`, or `matchLabels` and `matchExpressions`.
    pub selector: Selector,
    /// What must hold for each selected Deployment; where several are given, all of them hold.
    #[schemars(length(min = 1, max = 16))]
    pub objectives: Vec<ObjectiveSpec>,
}

/// One objective.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type != 'HTTP' || has(self.http)").message("http is required where type is HTTP"))]
pub struct ObjectiveSpec {
    /// Kind of objective. HTTP, which covers gRPC, is the only one so far.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["HTTP"]))]
    pub type_: String,
    /// The objective for HTTP and gRPC requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpObjective>,
}

/// An objective for HTTP and gRPC requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpObjective {
    /// How fast requests must be answered.
    pub latency: LatencySpec,
    /// Throughput of the whole Deployment in queries per minute for which the latency must hold. Leave it out to hold
    /// the latency at every throughput: Valence then follows the load with replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub throughput: Option<i64>,
}

/// How fast requests must be answered.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencySpec {
    /// Percentile of response times that must stay within `responseTime`: 99, 95, 90, 75 or 50.
    #[schemars(extend("enum" = [99, 95, 90, 75, 50]))]
    pub percentile: i64,
    /// The response time, as Go writes durations: `100ms`, `1.5s`, `1m30s`; more than 0 and at most `1h`.
    #[schemars(regex(pattern = super::duration::PATTERN), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s') && duration(self) <= duration('1h')").message("responseTime must be more than 0 and at most 1h"))]
    pub response_time: GoDuration,
}

/// What Valence says about a ServiceLevelObjective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLevelObjectiveStatus {
    /// Generation of the object that this status was decided from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of Deployments that the selector matches.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub matched: i32,
    /// Least share of requests answered in time over the matched Deployments, as `99.87%`; absent while too few
    /// requests were seen to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance: Option<String>,
    /// The matched Deployments by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub deployments: Vec<MatchedDeployment>,
    /// The spec that is in force: the last one that could be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub in_force: Option<serde_json::Value>,
    /// `Ready`: the objective is understood and in force. `Met`: every matched Deployment keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Kept as it was written: a version with another schema must not make the status unreadable.
fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "nullable": true, "x-kubernetes-preserve-unknown-fields": true})
}

/// A Deployment that a ServiceLevelObjective selects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchedDeployment {
    /// Name of the Deployment, and of its Recommendation.
    pub name: String,
    /// Whether Valence writes its recommendation at admission.
    pub live: bool,
    /// State of the model.
    pub state: String,
    /// Share of requests answered in time, as `99.87%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance: Option<String>,
}

/// Why an objective cannot be used, with the field that says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ObjectiveError {
    /// Path of the field, from `spec`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl From<SelectorError> for ObjectiveError {
    fn from(error: SelectorError) -> Self {
        let dot = if error.field.is_empty() { "" } else { "." };
        Self {
            field: format!("spec.selector{dot}{}", error.field),
            problem: error.problem,
        }
    }
}

impl ServiceLevelObjectiveSpec {
    /// The objectives as the core takes them.
    ///
    /// # Errors
    /// The first field that cannot be used. The schema refuses the same at the API server; this holds where the schema
    /// is older or was bypassed.
    pub fn objectives(&self, slo: &str) -> Result<Vec<Objective>, ObjectiveError> {
        if self.objectives.is_empty() {
            return Err(field("spec.objectives".to_owned(), "must name at least one objective"));
        }
        self.objectives
            .iter()
            .enumerate()
            .map(|(index, spec)| spec.objective(slo, &format!("spec.objectives[{index}]")))
            .collect()
    }
}

impl ObjectiveSpec {
    fn objective(&self, slo: &str, path: &str) -> Result<Objective, ObjectiveError> {
        if self.type_ != "HTTP" {
            return Err(field(
                format!("{path}.type"),
                &format!("{:?} is not a kind of objective; use HTTP", self.type_),
            ));
        }
        let http = self
            .http
            .as_ref()
            .ok_or_else(|| field(format!("{path}.http"), "is required where type is HTTP"))?;
        Ok(Objective {
            slo: slo.to_owned(),
            percentile: http.latency.share(path)?,
            response_time_seconds: http.latency.seconds(path)?,
            throughput_per_second: http.throughput_per_second(path)?,
        })
    }
}

impl HttpObjective {
    fn throughput_per_second(&self, path: &str) -> Result<Option<f64>, ObjectiveError> {
        match self.throughput {
            Some(throughput) if throughput < 1 => Err(field(
                format!("{path}.http.throughput"),
                &format!("{throughput} must be at least 1 query per minute"),
            )),
            Some(throughput) => Ok(Some(throughput as f64 / 60.0)),
            None => Ok(None),
        }
    }
}

impl LatencySpec {
    fn share(&self, path: &str) -> Result<f64, ObjectiveError> {
        if PERCENTILES.contains(&self.percentile) {
            Ok(self.percentile as f64 / 100.0)
        } else {
            Err(field(
                format!("{path}.http.latency.percentile"),
                &format!("{} is not one of 99, 95, 90, 75, 50", self.percentile),
            ))
        }
    }

    fn seconds(&self, path: &str) -> Result<f64, ObjectiveError> {
        self.response_time
            .seconds()
            .map_err(|error: DurationError| field(format!("{path}.http.latency.responseTime"), &error.to_string()))
    }
}

fn field(field: String, problem: &str) -> ObjectiveError {
    ObjectiveError {
        field,
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn spec(percentile: Value, response_time: &str, throughput: Value) -> ServiceLevelObjectiveSpec {
        serde_json::from_value(json!({
            "selector": {"slo": "slo-webapps"},
            "objectives": [{"type": "HTTP", "http": {"latency": {"percentile": percentile, "responseTime": response_time}, "throughput": throughput}}],
        }))
        .unwrap()
    }

    #[test]
    fn the_example_becomes_an_objective_per_second() {
        let objectives = spec(json!(99), "100ms", json!(500)).objectives("slo-webapps").unwrap();
        assert_eq!(objectives.len(), 1);
        assert_eq!(objectives[0].slo, "slo-webapps");
        assert!((objectives[0].percentile - 0.99).abs() < 1e-12);
        assert!((objectives[0].response_time_seconds - 0.1).abs() < 1e-12);
        assert!((objectives[0].throughput_per_second.unwrap() - 500.0 / 60.0).abs() < 1e-12);
        assert_eq!(
            spec(json!(99), "100ms", Value::Null).objectives("x").unwrap()[0].throughput_per_second,
            None
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (spec, path) in [
            (
                spec(json!(42), "100ms", json!(500)),
                "spec.objectives[0].http.latency.percentile",
            ),
            (
                spec(json!(99), "fast", json!(500)),
                "spec.objectives[0].http.latency.responseTime",
            ),
            (spec(json!(99), "1s", json!(0)), "spec.objectives[0].http.throughput"),
        ] {
            assert_eq!(spec.objectives("x").unwrap_err().field, path);
        }
        let mut other = spec(json!(99), "1s", json!(1));
        other.objectives[0].type_ = "SQL".to_owned();
        assert_eq!(other.objectives("x").unwrap_err().field, "spec.objectives[0].type");
        other.objectives.clear();
        assert_eq!(other.objectives("x").unwrap_err().field, "spec.objectives");
    }
}
