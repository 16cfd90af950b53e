//! What the generator has offered and what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use super::histogram::Histogram;

/// Outcome of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with a status below 500 (grpc-status 0).
    Served,
    /// Failed, with the reason.
    Failed(String),
}

/// One second of load.
#[derive(Clone, Debug, Default)]
struct Second {
    offered: u64,
    served: u64,
    failed: u64,
    latencies: Histogram,
}

/// Counts since the start, and second by second, by the second in which a request arrived.
#[derive(Debug, Default)]
pub struct Tally {
    seconds: VecDeque<Second>,
    failures: BTreeMap<String, u64>,
    first_failures: Vec<(f64, String)>,
    retried: u64,
}

/// Figures over a stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Requests that arrived.
    pub offered: u64,
    /// Requests that were answered well.
    pub served: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Length in seconds.
    pub seconds: f64,
    /// Latencies of answered requests.
    pub latencies: Histogram,
}

impl Window {
    /// Requests offered per second; the first second counts as a whole one.
    pub fn rate(&self) -> f64 {
        self.offered as f64 / self.seconds.max(1.0)
    }

    /// The share of requests that were slower than the bound or failed.
    pub fn share_missed(&self, bound: Duration) -> f64 {
        let answered = self.served + self.failed;
        if answered == 0 {
            return 0.0;
        }
        let slow = self.latencies.share_above(bound.as_secs_f64()) * self.latencies.total() as f64;
        (slow + self.failed as f64) / answered as f64
    }
}

/// The whole account, as JSON for scripts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Requests that arrived.
    pub offered: u64,
    /// Requests that were answered well.
    pub served: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests sent again because an idle connection had been closed under them.
    pub retried: u64,
    /// Failures by reason.
    pub failures: BTreeMap<String, u64>,
    /// Second and reason of the first failures.
    pub first_failures: Vec<(f64, String)>,
    /// Latencies at percentiles, in milliseconds.
    pub latency_milliseconds: BTreeMap<String, f64>,
}

impl Tally {
    fn second(&mut self, at: f64) -> &mut Second {
        let index = at.max(0.0) as usize;
        while self.seconds.len() <= index {
            self.seconds.push_back(Second::default());
        }
        &mut self.seconds[index]
    }

    /// A request arrived.
    pub fn offered(&mut self, at: f64) {
        self.second(at).offered += 1;
    }

    /// A request was sent a second time.
    pub fn retried(&mut self) {
        self.retried += 1;
    }

    /// What came of a request that arrived at `at`.
    pub fn finished(&mut self, at: f64, seconds: f64, outcome: Outcome) {
        match outcome {
            Outcome::Served => {
                let second = self.second(at);
                second.served += 1;
                second.latencies.record(seconds);
            }
            Outcome::Failed(reason) => {
                self.second(at).failed += 1;
                if self.first_failures.len() < 20 {
                    self.first_failures.push((at, reason.clone()));
                }
                *self.failures.entry(reason).or_default() += 1;
            }
        }
    }

    /// The figures of requests that arrived from `from` to `to` seconds.
    pub fn between(&self, from: f64, to: f64) -> Window {
        let range = (from.max(0.0) as usize)..(to.max(0.0).ceil() as usize).min(self.seconds.len());
        let mut window = Window {
            seconds: (to - from.max(0.0)).max(0.0),
            ..Window::default()
        };
        for second in range.filter_map(|index| self.seconds.get(index)) {
            window.offered += second.offered;
            window.served += second.served;
            window.failed += second.failed;
            window.latencies.add(&second.latencies);
        }
        window
    }

    /// The whole account.
    pub fn report(&self) -> Report {
        let all = self.between(0.0, self.seconds.len() as f64);
        let percentile = |(name, quantile): (&str, f64)| {
            let seconds = all.latencies.quantile(quantile)?;
            Some((name.to_owned(), (seconds * 100_000.0).round() / 100.0))
        };
        let percentiles = [
            ("p50", 0.5),
            ("p75", 0.75),
            ("p90", 0.9),
            ("p95", 0.95),
            ("p99", 0.99),
            ("max", 1.0),
        ];
        Report {
            offered: all.offered,
            served: all.served,
            failed: all.failed,
            retried: self.retried,
            failures: self.failures.clone(),
            first_failures: self.first_failures.clone(),
            latency_milliseconds: percentiles.into_iter().filter_map(percentile).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn failures_count_against_the_objective() {
        let mut tally = Tally::default();
        for request in 0..100 {
            let at = f64::from(request) / 10.0;
            tally.offered(at);
            let outcome = if request == 0 {
                Outcome::Failed("refused".into())
            } else {
                Outcome::Served
            };
            tally.finished(at, if request == 1 { 1.0 } else { 0.010 }, outcome);
        }
        let window = tally.between(0.0, 10.0);
        assert_eq!((window.offered, window.served, window.failed), (100, 99, 1));
        assert!((window.share_missed(Duration::from_millis(100)) - 0.02).abs() < 1e-9);
        assert!((window.rate() - 10.0).abs() < 1e-9);
        let report = tally.report();
        assert_eq!(report.failures["refused"], 1);
        assert!(report.latency_milliseconds["p50"] < 10.3);
        assert_eq!(tally.between(1.0, 2.0).failed, 0);
    }
}
