//! Series of workloads and objectives, made from the board at every collection.

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::core::observation::Resources;
use crate::report::status::{Board, Snapshot, Workload};

/// Turns the board into metrics.
pub struct BoardCollector {
    board: Arc<Board>,
    descriptions: Vec<Desc>,
}

struct Family {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    kind: MetricType,
}

const WORKLOAD: &[&str] = &["namespace", "name"];
const CONTAINER: &[&str] = &["namespace", "name", "container_name"];
const OBJECTIVE: &[&str] = &["namespace", "name", "slo", "objective"];
const STATE: &[&str] = &["namespace", "name", "state"];
const SLO: &[&str] = &["namespace", "slo"];

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family {
        name,
        help,
        labels,
        kind: MetricType::GAUGE,
    }
}

const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family {
        name,
        help,
        labels,
        kind: MetricType::COUNTER,
    }
}

const FAMILIES: [Family; 31] = [
    gauge(
        "valence_recommendations_cpu_requests",
        "Recommended CPU request in cores.",
        CONTAINER,
    ),
    gauge(
        "valence_recommendations_cpu_limits",
        "Recommended CPU limit in cores.",
        CONTAINER,
    ),
    gauge(
        "valence_recommendations_memory_requests",
        "Recommended memory request in bytes.",
        CONTAINER,
    ),
    gauge(
        "valence_recommendations_memory_limits",
        "Recommended memory limit in bytes.",
        CONTAINER,
    ),
    gauge("valence_recommendations_replicas", "Recommended replicas.", WORKLOAD),
    gauge(
        "valence_original_cpu_requests",
        "CPU request in cores as the user wrote it.",
        CONTAINER,
    ),
    gauge(
        "valence_original_cpu_limits",
        "CPU limit in cores as the user wrote it.",
        CONTAINER,
    ),
    gauge(
        "valence_original_memory_requests",
        "Memory request in bytes as the user wrote it.",
        CONTAINER,
    ),
    gauge(
        "valence_original_memory_limits",
        "Memory limit in bytes as the user wrote it.",
        CONTAINER,
    ),
    gauge(
        "valence_original_replicas",
        "Replicas as the user wrote them.",
        WORKLOAD,
    ),
    gauge(
        "valence_current_cpu_requests",
        "CPU request in cores in force.",
        CONTAINER,
    ),
    gauge("valence_current_cpu_limits", "CPU limit in cores in force.", CONTAINER),
    gauge(
        "valence_current_memory_requests",
        "Memory request in bytes in force.",
        CONTAINER,
    ),
    gauge(
        "valence_current_memory_limits",
        "Memory limit in bytes in force.",
        CONTAINER,
    ),
    gauge(
        "valence_current_replicas",
        "Replicas that the Deployment asks for.",
        WORKLOAD,
    ),
    gauge(
        "valence_observed_cpu_usage",
        "CPU in use in cores, averaged over the pods that serve.",
        CONTAINER,
    ),
    gauge(
        "valence_observed_memory_usage",
        "Memory in use in bytes, of the pod that uses most.",
        CONTAINER,
    ),
    gauge("valence_current_ready_replicas", "Pods that serve.", WORKLOAD),
    gauge(
        "valence_slo_http_latency",
        "Response time of the objective in seconds.",
        OBJECTIVE,
    ),
    gauge("valence_slo_http_percentile", "Percentile of the objective.", OBJECTIVE),
    gauge(
        "valence_slo_http_throughput",
        "Throughput of the objective in queries per minute; absent where it holds at every throughput.",
        OBJECTIVE,
    ),
    gauge(
        "valence_observed_http_latency",
        "Observed response time in seconds at the percentile of the objective, over the last minutes.",
        OBJECTIVE,
    ),
    gauge(
        "valence_observed_http_throughput",
        "Observed throughput in queries per minute.",
        WORKLOAD,
    ),
    gauge(
        "valence_slo_compliance_ratio",
        "Share of requests answered in time over the last hour.",
        OBJECTIVE,
    ),
    gauge(
        "valence_slo_error_budget_left_ratio",
        "Share of the error budget of the last hour that is left; negative when overspent.",
        OBJECTIVE,
    ),
    counter(
        "valence_slo_http_requests_total",
        "Requests that the objective was held against.",
        OBJECTIVE,
    ),
    counter(
        "valence_slo_http_requests_exceeding_total",
        "Requests that took longer than the objective allows.",
        OBJECTIVE,
    ),
    gauge(
        "valence_live",
        "1 where the recommendation is written at admission.",
        WORKLOAD,
    ),
    gauge("valence_model_state", "1 for the state that the model is in.", STATE),
    gauge(
        "valence_slo_ready",
        "1 where the ServiceLevelObjective is understood and in force.",
        SLO,
    ),
    gauge(
        "valence_slo_matched_deployments",
        "Deployments that the ServiceLevelObjective selects.",
        SLO,
    ),
];

impl BoardCollector {
    /// A collector that reads the board.
    ///
    /// # Errors
    /// When a name is not one that Prometheus takes.
    pub fn new(board: Arc<Board>) -> Result<Self, prometheus::Error> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(
                family.name.to_owned(),
                family.help.to_owned(),
                labels,
                std::collections::HashMap::new(),
            )
        };
        let descriptions = FAMILIES.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { board, descriptions })
    }
}

impl Collector for BoardCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut series = Series::default();
        series.snapshot(&self.board.read());
        FAMILIES.iter().filter_map(|family| series.family(family)).collect()
    }
}

#[derive(Default)]
struct Series(BTreeMap<&'static str, Vec<(Vec<String>, f64)>>);

impl Series {
    fn put(&mut self, name: &'static str, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.0
                .entry(name)
                .or_default()
                .push((labels.iter().map(|&label| label.to_owned()).collect(), value));
        }
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        for workload in &snapshot.workloads {
            self.workload(workload);
            self.objectives(workload);
        }
        for slo in &snapshot.objectives {
            let labels = [slo.namespace.as_str(), slo.name.as_str()];
            self.put(
                "valence_slo_ready",
                &labels,
                Some(f64::from(u8::from(slo.error.is_none()))),
            );
            self.put(
                "valence_slo_matched_deployments",
                &labels,
                Some(slo.deployments.len() as f64),
            );
        }
    }

    fn workload(&mut self, workload: &Workload) {
        let labels = [workload.namespace.as_str(), workload.name.as_str()];
        self.resources(
            &labels,
            &workload.decision.containers,
            [
                "valence_recommendations_cpu_requests",
                "valence_recommendations_cpu_limits",
                "valence_recommendations_memory_requests",
                "valence_recommendations_memory_limits",
            ],
        );
        self.resources(
            &labels,
            &workload.original,
            [
                "valence_original_cpu_requests",
                "valence_original_cpu_limits",
                "valence_original_memory_requests",
                "valence_original_memory_limits",
            ],
        );
        self.resources(
            &labels,
            &workload.current,
            [
                "valence_current_cpu_requests",
                "valence_current_cpu_limits",
                "valence_current_memory_requests",
                "valence_current_memory_limits",
            ],
        );
        for (container, usage) in &workload.usage {
            let labels = [labels[0], labels[1], container.as_str()];
            self.put("valence_observed_cpu_usage", &labels, usage.cpu.map(|cpu| cpu.0));
            self.put(
                "valence_observed_memory_usage",
                &labels,
                usage.memory.map(|memory| memory.0 as f64),
            );
        }
        self.put(
            "valence_recommendations_replicas",
            &labels,
            workload.decision.replicas.map(f64::from),
        );
        self.put(
            "valence_original_replicas",
            &labels,
            workload.original_replicas.map(f64::from),
        );
        self.put(
            "valence_current_replicas",
            &labels,
            Some(f64::from(workload.current_replicas)),
        );
        self.put(
            "valence_current_ready_replicas",
            &labels,
            Some(f64::from(workload.ready_pods)),
        );
        self.put(
            "valence_observed_http_throughput",
            &labels,
            workload.load_per_second.map(|load| load * 60.0),
        );
        self.put("valence_live", &labels, Some(f64::from(u8::from(workload.live))));
        let state = format!("{:?}", workload.decision.state);
        self.put("valence_model_state", &[labels[0], labels[1], &state], Some(1.0));
    }

    fn resources(&mut self, labels: &[&str; 2], containers: &BTreeMap<String, Resources>, names: [&'static str; 4]) {
        for (container, resources) in containers {
            let labels = [labels[0], labels[1], container.as_str()];
            self.put(names[0], &labels, resources.cpu_request.map(|cpu| cpu.0));
            self.put(names[1], &labels, resources.cpu_limit.map(|cpu| cpu.0));
            self.put(
                names[2],
                &labels,
                resources.memory_request.map(|memory| memory.0 as f64),
            );
            self.put(names[3], &labels, resources.memory_limit.map(|memory| memory.0 as f64));
        }
    }

    fn objectives(&mut self, workload: &Workload) {
        for (index, kept) in workload.compliance.iter().enumerate() {
            let index_text = index.to_string();
            let objective = &kept.objective;
            let labels = [
                workload.namespace.as_str(),
                workload.name.as_str(),
                objective.slo.as_str(),
                index_text.as_str(),
            ];
            self.put(
                "valence_slo_http_latency",
                &labels,
                Some(objective.response_time_seconds),
            );
            self.put(
                "valence_slo_http_percentile",
                &labels,
                Some((objective.percentile * 100.0).round()),
            );
            self.put(
                "valence_slo_http_throughput",
                &labels,
                objective
                    .throughput_per_second
                    .map(|throughput| (throughput * 60.0).round()),
            );
            self.put("valence_observed_http_latency", &labels, kept.recent_latency_seconds);
            self.put("valence_slo_compliance_ratio", &labels, kept.compliance);
            self.put(
                "valence_slo_error_budget_left_ratio",
                &labels,
                kept.compliance.map(|_| kept.error_budget_left),
            );
            if let Some(counted) = workload.counted.get(index) {
                self.put(
                    "valence_slo_http_requests_total",
                    &labels,
                    Some(counted.requests as f64),
                );
                self.put(
                    "valence_slo_http_requests_exceeding_total",
                    &labels,
                    Some(counted.exceeding as f64),
                );
            }
        }
    }

    fn family(&mut self, family: &Family) -> Option<MetricFamily> {
        let series = self.0.remove(family.name)?;
        let mut output = MetricFamily::default();
        output.set_name(family.name.to_owned());
        output.set_help(family.help.to_owned());
        output.set_field_type(family.kind);
        output.set_metric(
            series
                .into_iter()
                .map(|(values, value)| metric(family, &values, value))
                .collect(),
        );
        Some(output)
    }
}

fn metric(family: &Family, values: &[String], value: f64) -> Metric {
    let mut metric = Metric::from_label(
        family
            .labels
            .iter()
            .zip(values)
            .map(|(name, value)| label(name, value))
            .collect(),
    );
    if family.kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
