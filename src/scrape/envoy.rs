//! What an Envoy sidecar counts, out of its exposition.

use std::collections::BTreeMap;

use valence_webhook::envoy as names;

use super::client::ScrapeError;
use super::exposition::{Filter, Labels, Limits, Sample, parse};
use crate::core::histogram::Histogram;

/// Words in the name of a cluster or listener that serves metrics, not traffic. They matter only for sidecars that
/// were written by hand, with names of their own.
const NOT_TRAFFIC: [&str; 4] = ["admin", "metrics", "stats", "prometheus"];

/// What is read of an exposition.
const FILTER: Filter<'static> = Filter::families(&[names::REQUEST_TIME, names::REQUESTS, names::COMPLETED_BY_CLASS])
    .and_prefixes(&[names::GRPC_BY_STATUS_PREFIX]);

/// Most that a counter may stand at: a million a second for a hundred days, and so little that no sum over the samples of
/// one exposition, or over the pods of one Deployment, overflows.
const MOST_COUNTED: f64 = 1e13;

/// Most buckets that a histogram may have.
const MOST_BUCKETS: usize = 1000;

/// Most clusters that a sidecar may have.
const MOST_CLUSTERS: usize = 64;

/// The counters of a sidecar as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Response times of the requests that ended since the sidecar started.
    pub latency: Histogram,
    /// Requests that began since then.
    pub arrivals: Option<u64>,
    /// Requests that ended with a server error since then.
    pub failures: u64,
}

/// What was counted for each cluster or listener by name.
#[derive(Debug, Default)]
struct Counters<'a> {
    buckets: BTreeMap<&'a str, Vec<(f64, u64)>>,
    arrivals: BTreeMap<&'a str, u64>,
    failures: BTreeMap<&'a str, u64>,
}

/// Reads the counters out of an exposition.
///
/// # Errors
/// When it is malformed, or does not hold counters of requests.
pub fn read(exposition: &[u8]) -> Result<Reading, ScrapeError> {
    let mut counters = Counters::default();
    parse(exposition, &FILTER, &Limits::default(), |sample| counters.take(&sample))
        .map_err(|error| ScrapeError::Exposition(error.to_string()))?;
    counters.reading()
}

impl<'a> Counters<'a> {
    fn take(&mut self, sample: &Sample<'a>) {
        if !(0.0..=MOST_COUNTED).contains(&sample.value) {
            return;
        }
        let (labels, count) = (&sample.labels, sample.value as u64);
        match sample.name {
            name if name.strip_suffix("_bucket") == Some(names::REQUEST_TIME) => self.bucket(labels, count),
            names::REQUESTS => add(&mut self.arrivals, labels.raw(names::LISTENER_LABEL), count),
            names::COMPLETED_BY_CLASS if labels.raw(names::RESPONSE_CLASS_LABEL) == Some("5") => {
                add(&mut self.failures, labels.raw(names::LISTENER_LABEL), count);
            }
            name if is_grpc_failure(name) => add(&mut self.failures, labels.raw(names::CLUSTER_LABEL), count),
            _ => {}
        }
    }

    fn bucket(&mut self, labels: &Labels<'a>, count: u64) {
        let Some(bound) = labels
            .raw("le")
            .and_then(|bound| bound.parse::<f64>().ok())
            .filter(|bound| !bound.is_nan())
        else {
            return;
        };
        let cluster = labels.raw(names::CLUSTER_LABEL).unwrap_or_default();
        if self.buckets.len() >= MOST_CLUSTERS && !self.buckets.contains_key(cluster) {
            return;
        }
        let buckets = self.buckets.entry(cluster).or_default();
        if buckets.len() < MOST_BUCKETS {
            // Envoy counts in milliseconds.
            buckets.push((bound / 1000.0, count));
        }
    }

    fn reading(mut self) -> Result<Reading, ScrapeError> {
        let mut latency = Histogram::default();
        for mut buckets in serving(&mut self.buckets) {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            latency.merge(&Histogram::from_cumulative(&buckets));
        }
        let arrivals = serving(&mut self.arrivals);
        if latency.counts.is_empty() && arrivals.is_empty() {
            return Err(ScrapeError::Exposition("holds no counters of requests".to_owned()));
        }
        Ok(Reading {
            latency,
            arrivals: (!arrivals.is_empty()).then(|| arrivals.iter().sum()),
            failures: serving(&mut self.failures).iter().sum(),
        })
    }
}

fn add<'a>(counts: &mut BTreeMap<&'a str, u64>, name: Option<&'a str>, count: u64) {
    let name = name.unwrap_or_default();
    if counts.len() < MOST_CLUSTERS || counts.contains_key(name) {
        *counts.entry(name).or_default() += count;
    }
}

/// What belongs to the application: our own name where it is there, else everything that does not serve metrics.
fn serving<V>(by_name: &mut BTreeMap<&str, V>) -> Vec<V> {
    if let Some(ours) = by_name.remove(names::CLUSTER) {
        return vec![ours];
    }
    let all = std::mem::take(by_name);
    all.into_iter()
        .filter(|(name, _)| !NOT_TRAFFIC.iter().any(|word| name.contains(word)))
        .map(|(_, value)| value)
        .collect()
}

/// Whether a counter is of a gRPC status that is the server's failure.
fn is_grpc_failure(name: &str) -> bool {
    let status = name
        .strip_prefix(names::GRPC_BY_STATUS_PREFIX)
        .and_then(|status| status.parse::<u8>().ok());
    status.is_some_and(|status| names::GRPC_SERVER_ERRORS.contains(&status))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_application_and_nothing_else() {
        let reading = read(
            b"envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"app\"} 12\n\
              envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"metrics\"} 900\n\
              envoy_http_downstream_rq_xx{envoy_response_code_class=\"5\",envoy_http_conn_manager_prefix=\"app\"} 2\n\
              envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",envoy_http_conn_manager_prefix=\"app\"} 9\n\
              envoy_cluster_grpc_14{envoy_cluster_name=\"app\"} 1\n\
              envoy_cluster_grpc_5{envoy_cluster_name=\"app\"} 1\n\
              envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"100\"} 8\n\
              envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"+Inf\"} 10\n\
              envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"app\"} 1234\n",
        )
        .unwrap();
        assert_eq!(&reading.latency.upper_bounds_seconds[..], [0.1]);
        assert_eq!(reading.latency.counts, [8, 2]);
        assert_eq!(reading.arrivals, Some(12));
        assert_eq!(
            reading.failures, 3,
            "5xx, and gRPC statuses that are the server's failure"
        );
    }

    #[test]
    fn sidecars_written_by_hand_have_names_of_their_own() {
        let reading = read(
            b"envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"service_http\",le=\"500\"} 3\n\
              envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"service_http\",le=\"+Inf\"} 4\n\
              envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"envoy_admin\",le=\"+Inf\"} 400\n\
              envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"ingress_http\"} 5\n\
              envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"admin\"} 500\n",
        )
        .unwrap();
        assert_eq!(reading.latency.counts, [3, 1]);
        assert_eq!(reading.arrivals, Some(5));
    }

    #[test]
    fn counters_that_no_proxy_has_are_not_added_up() {
        let sample = |number: u32, value: f64| {
            format!("envoy_http_downstream_rq_total{{envoy_http_conn_manager_prefix=\"app\",n=\"{number}\"}} {value}\n")
        };
        let text: String = (0..10_000).map(|number| sample(number, 1e19)).collect();
        let reading = read((text + &sample(10_000, 7.0)).as_bytes()).unwrap();
        assert_eq!(reading.arrivals, Some(7));
    }

    #[test]
    fn garbage_is_an_error() {
        for exposition in [
            &b"<html>\n"[..],
            b"",
            b"\xff\xfe\n",
            b"up 1\n",
            b"envoy_http_downstream_rq_total{ 5\n",
        ] {
            assert!(matches!(read(exposition), Err(ScrapeError::Exposition(_))));
        }
    }
}
