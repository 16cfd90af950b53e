//! The account at the end, and the verdict.

use std::fmt::Write as _;
use std::time::Duration;

use super::look::Sight;
use super::view::{clock, cpu, memory};
use crate::load::{Report, Window};

/// What is remembered over the whole demo.
#[derive(Debug, Default)]
pub struct Record {
    /// Seconds from the start of the demo to the first recommendation.
    pub first_recommendation: Option<f64>,
    /// The most pods with the sidecar at once.
    pub injected: usize,
    /// The most pods with recommended resources at once.
    pub as_recommended: usize,
    /// Times that the Deployment's replicas changed to the recommended number.
    pub replica_changes: usize,
    /// The fewest and most replicas.
    pub replicas: Option<(i64, i64)>,
    last_replicas: Option<i64>,
    last: Option<Sight>,
}

impl Record {
    /// Remembers a sight; `since_start` is in seconds.
    pub fn add(&mut self, sight: &Sight, since_start: f64) {
        let recommended = sight.decision.as_ref().filter(|decision| decision.recommends());
        if recommended.is_some() {
            self.first_recommendation.get_or_insert(since_start);
        }
        self.injected = self.injected.max(sight.injected);
        self.as_recommended = self.as_recommended.max(sight.as_recommended);
        let changed = self.last_replicas.is_some_and(|last| last != sight.replicas);
        if changed && recommended.is_some_and(|decision| decision.replicas == Some(sight.replicas)) {
            self.replica_changes += 1;
        }
        self.last_replicas = Some(sight.replicas);
        let (least, most) = self.replicas.unwrap_or((sight.replicas, sight.replicas));
        self.replicas = Some((least.min(sight.replicas), most.max(sight.replicas)));
        self.last = Some(sight.clone());
    }
}

/// All that the summary tells.
pub struct Summary {
    /// What was remembered.
    pub record: Record,
    /// The whole account of the load.
    pub load: Report,
    /// The load's last third.
    pub last_third: Window,
    /// The objective's response time.
    pub objective: Duration,
    /// The share of requests that must keep it.
    pub share: f64,
    /// Admissions that the operator counted.
    pub admissions: Option<u64>,
    /// Memory of the operator's process, in bytes.
    pub operator_memory: Option<u64>,
}

impl Summary {
    /// What must be true for the demo to have shown what it shows.
    pub fn verdicts(&self) -> Vec<(&'static str, bool)> {
        let within = 1.0 - self.last_third.share_missed(self.objective);
        vec![
            ("pods were injected", self.record.injected > 0),
            ("a recommendation was made", self.record.first_recommendation.is_some()),
            (
                "it was admitted",
                self.record.as_recommended > 0 || self.record.replica_changes > 0,
            ),
            (
                "the objective held in the last third",
                self.last_third.served > 0 && within >= self.share,
            ),
        ]
    }

    /// Whether all of it is true.
    pub fn holds(&self) -> bool {
        self.verdicts().iter().all(|(_, holds)| *holds)
    }

    /// The table.
    pub fn table(&self) -> String {
        let last = self.record.last.clone().unwrap_or_default();
        let mut text = format!("\nSummary after {}\n", clock(last.seconds));
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
        let mut rows = self.of_the_operator(&last);
        rows.extend(self.of_the_load());
        rows.push(("memory of the operator", or_dash(self.operator_memory.map(mebibytes))));
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:<48} {value}");
        }
        for (reason, count) in &self.load.failures {
            let _ = writeln!(text, "  failed {count} times: {reason}");
        }
        for (name, holds) in self.verdicts() {
            let _ = writeln!(text, "  {} {name}", if holds { "yes" } else { " NO" });
        }
        text
    }

    fn of_the_operator(&self, last: &Sight) -> Vec<(&'static str, String)> {
        let record = &self.record;
        let (least, most) = record.replicas.unwrap_or_default();
        let first = record.first_recommendation.map(|seconds| format!("{seconds:.0} s"));
        let newest = format!(
            "cpu {} / {}, memory {} / {}",
            cpu(last.requests.cpu),
            cpu(last.limits.cpu),
            memory(last.requests.memory),
            memory(last.limits.memory)
        );
        vec![
            ("time to first recommendation", or_dash(first)),
            ("pods with the sidecar, most at once", record.injected.to_string()),
            (
                "pods with recommended resources, most at once",
                record.as_recommended.to_string(),
            ),
            ("replica changes admitted", record.replica_changes.to_string()),
            (
                "admissions that the operator answered",
                or_dash(self.admissions.map(|count| count.to_string())),
            ),
            ("replicas, fewest to most", format!("{least} to {most}")),
            ("resources of the newest pod", newest),
        ]
    }

    fn of_the_load(&self) -> Vec<(&'static str, String)> {
        let percentile = |name: &str| {
            let value = self.load.latency_milliseconds.get(name);
            or_dash(value.map(|value| format!("{value:.0} ms")))
        };
        let third = self.last_third.latencies.quantile(0.99);
        let within = 100.0 * (1.0 - self.last_third.share_missed(self.objective));
        vec![
            ("requests offered", self.load.offered.to_string()),
            ("requests failed", self.load.failed.to_string()),
            (
                "p50, p99 of all",
                format!("{}, {}", percentile("p50"), percentile("p99")),
            ),
            (
                "p99 in the last third",
                or_dash(third.map(|p99| format!("{:.0} ms", p99 * 1000.0))),
            ),
            (
                "within the objective in the last third",
                format!("{within:.2} % (needs {:.0} %)", 100.0 * self.share),
            ),
        ]
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::demo::look::Decision;
    use crate::kubelet::quantity::Resources;

    fn sight(replicas: i64, recommended: Option<i64>) -> Sight {
        let requests = Resources {
            cpu: Some(0.5),
            memory: None,
        };
        let decision = recommended.map(|number| Decision {
            replicas: Some(number),
            requests,
            ..Decision::default()
        });
        Sight {
            replicas,
            decision,
            injected: 3,
            pods: 3,
            ..Sight::default()
        }
    }

    fn summary(record: Record) -> Summary {
        let mut last_third = Window {
            served: 100,
            ..Window::default()
        };
        (0..100).for_each(|_| last_third.latencies.record(0.05));
        Summary {
            record,
            load: Report::default(),
            last_third,
            objective: Duration::from_millis(100),
            share: 0.99,
            admissions: Some(7),
            operator_memory: None,
        }
    }

    #[test]
    fn a_change_of_replicas_counts_only_when_it_was_recommended() {
        let mut record = Record::default();
        record.add(&sight(3, None), 1.0);
        record.add(&sight(5, Some(4)), 2.0);
        assert_eq!(record.replica_changes, 0);
        record.add(&sight(4, Some(4)), 3.0);
        assert_eq!((record.replica_changes, record.first_recommendation), (1, Some(2.0)));
        assert!(summary(record).holds());
    }

    #[test]
    fn each_claim_can_fail() {
        assert!(!summary(Record::default()).holds());
        let mut record = Record::default();
        record.add(&sight(3, Some(3)), 1.0);
        let unadmitted = summary(record);
        let failing: Vec<&str> = unadmitted
            .verdicts()
            .into_iter()
            .filter(|(_, holds)| !holds)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(failing, ["it was admitted"]);
        let mut slow = summary(Record::default());
        (0..10).for_each(|_| slow.last_third.latencies.record(0.5));
        assert!(!slow.verdicts()[3].1);
        assert!(slow.table().contains("NO the objective held"));
    }
}
