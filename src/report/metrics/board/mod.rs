//! Series of workloads and objectives, made from the board at every collection.

mod families;

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use self::families::Family;
use crate::core::observation::Resources;
use crate::report::status::{Board, Snapshot, Workload};

/// Turns the board into metrics.
pub struct BoardCollector {
    board: Arc<Board>,
    descriptions: Vec<Desc>,
}

impl BoardCollector {
    /// A collector that reads the board.
    ///
    /// # Errors
    /// When a name is not one that Prometheus takes.
    pub fn new(board: Arc<Board>) -> Result<Self, prometheus::Error> {
        let describe = |family: &&Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(
                family.name.to_owned(),
                family.help.to_owned(),
                labels,
                std::collections::HashMap::new(),
            )
        };
        let descriptions = families::ALL.iter().map(describe).collect::<Result<_, _>>()?;
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
        families::ALL
            .iter()
            .filter_map(|family| series.family(family))
            .collect()
    }
}

#[derive(Default)]
struct Series(BTreeMap<&'static str, Vec<(Vec<String>, f64)>>);

impl Series {
    fn put(&mut self, family: &'static Family, labels: &[&str], value: Option<f64>) {
        if let Some(value) = value {
            self.0
                .entry(family.name)
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
                families::SLO_READY,
                &labels,
                Some(f64::from(u8::from(slo.error.is_none()))),
            );
            self.put(
                families::SLO_MATCHED_DEPLOYMENTS,
                &labels,
                Some(slo.deployments.len() as f64),
            );
        }
    }

    fn workload(&mut self, workload: &Workload) {
        let labels = [workload.namespace.as_str(), workload.name.as_str()];
        self.sizes(workload, &labels);
        self.usage(workload, &labels);
        self.replicas(workload, &labels);
        let throughput = workload.load_per_second.map(|load| load * 60.0);
        self.put(families::OBSERVED_HTTP_THROUGHPUT, &labels, throughput);
        self.put(families::LIVE, &labels, Some(f64::from(u8::from(workload.live))));
        let state = workload.decision.state.name();
        self.put(families::MODEL_STATE, &[labels[0], labels[1], state], Some(1.0));
    }

    fn sizes(&mut self, workload: &Workload, labels: &[&str; 2]) {
        let recommended = [
            families::RECOMMENDATIONS_CPU_REQUESTS,
            families::RECOMMENDATIONS_CPU_LIMITS,
            families::RECOMMENDATIONS_MEMORY_REQUESTS,
            families::RECOMMENDATIONS_MEMORY_LIMITS,
        ];
        let original = [
            families::ORIGINAL_CPU_REQUESTS,
            families::ORIGINAL_CPU_LIMITS,
            families::ORIGINAL_MEMORY_REQUESTS,
            families::ORIGINAL_MEMORY_LIMITS,
        ];
        let current = [
            families::CURRENT_CPU_REQUESTS,
            families::CURRENT_CPU_LIMITS,
            families::CURRENT_MEMORY_REQUESTS,
            families::CURRENT_MEMORY_LIMITS,
        ];
        self.resources(labels, &workload.decision.containers, recommended);
        self.resources(labels, &workload.original, original);
        self.resources(labels, &workload.current, current);
    }

    fn usage(&mut self, workload: &Workload, labels: &[&str; 2]) {
        for (container, usage) in &workload.usage {
            let labels = [labels[0], labels[1], container.as_str()];
            let memory = usage.memory.map(|memory| memory.0 as f64);
            self.put(families::OBSERVED_CPU_USAGE, &labels, usage.cpu.map(|cpu| cpu.0));
            self.put(families::OBSERVED_MEMORY_USAGE, &labels, memory);
        }
    }

    fn replicas(&mut self, workload: &Workload, labels: &[&str; 2]) {
        for (family, replicas) in [
            (families::RECOMMENDATIONS_REPLICAS, workload.decision.replicas),
            (families::ORIGINAL_REPLICAS, workload.original_replicas),
            (families::CURRENT_REPLICAS, Some(workload.current_replicas)),
            (families::CURRENT_READY_REPLICAS, Some(workload.ready_pods)),
        ] {
            self.put(family, labels, replicas.map(f64::from));
        }
    }

    fn resources(
        &mut self,
        labels: &[&str; 2],
        containers: &BTreeMap<String, Resources>,
        families: [&'static Family; 4],
    ) {
        for (container, resources) in containers {
            let labels = [labels[0], labels[1], container.as_str()];
            self.put(families[0], &labels, resources.cpu_request.map(|cpu| cpu.0));
            self.put(families[1], &labels, resources.cpu_limit.map(|cpu| cpu.0));
            self.put(
                families[2],
                &labels,
                resources.memory_request.map(|memory| memory.0 as f64),
            );
            self.put(
                families[3],
                &labels,
                resources.memory_limit.map(|memory| memory.0 as f64),
            );
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
                families::SLO_HTTP_LATENCY,
                &labels,
                Some(objective.response_time_seconds),
            );
            self.put(
                families::SLO_HTTP_PERCENTILE,
                &labels,
                Some((objective.percentile * 100.0).round()),
            );
            self.put(
                families::SLO_HTTP_THROUGHPUT,
                &labels,
                objective
                    .throughput_per_second
                    .map(|throughput| (throughput * 60.0).round()),
            );
            self.put(families::OBSERVED_HTTP_LATENCY, &labels, kept.recent_latency_seconds);
            self.put(families::SLO_COMPLIANCE_RATIO, &labels, kept.compliance);
            self.put(
                families::SLO_ERROR_BUDGET_LEFT_RATIO,
                &labels,
                kept.compliance.map(|_| kept.error_budget_left),
            );
            if let Some(counted) = workload.counted.get(index) {
                self.put(
                    families::SLO_HTTP_REQUESTS_TOTAL,
                    &labels,
                    Some(counted.requests as f64),
                );
                self.put(
                    families::SLO_HTTP_REQUESTS_EXCEEDING_TOTAL,
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
