//! What comes in: the sidecars' counters, and the CPU and memory in use.

pub mod client;
pub mod envoy;
pub mod exposition;
pub mod lanes;
pub mod pods;
pub mod resource_metrics;
mod subject;
pub mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kube::Client;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::concurrently::concurrently;
use crate::core::histogram::Histogram;
use crate::core::observation::{ContainerObservation, Observation, PodObservation};
use crate::report::metrics::ScrapeMetrics;
use client::{Fetcher, ScrapeError};
use lanes::{Failure, Lanes, Pace};
use resource_metrics::NamespaceUsage;
pub use subject::{PodSummary, Restarts, Subject, Summaries, TEMPLATE_HASH};
use window::{Beginning, Stamped, Tracks, Window};

/// Namespaces whose resource metrics are fetched at any time.
const NAMESPACES_AT_ONCE: usize = 8;

/// Longest wait for resource metrics.
const RESOURCE_METRICS_PATIENCE: Duration = Duration::from_secs(5);

/// What a round found.
#[derive(Debug, Default)]
pub struct Round {
    /// The observation of each subject, in their order.
    pub observations: Vec<Observation>,
    /// Why the CPU and memory in use are not known, by namespace.
    pub without_resource_metrics: BTreeMap<String, String>,
    /// Why pods could not be scraped, by subject in their order: pod and reason.
    pub failures: Vec<Vec<(String, String)>>,
}

/// Scrapes round after round.
pub struct Scraper {
    client: Client,
    fetcher: Fetcher,
    pace: Pace,
    lanes: Lanes,
    metrics: ScrapeMetrics,
    tracks: Tracks,
    last_round_seconds: Option<f64>,
}

#[derive(Clone)]
struct Target {
    address: IpAddr,
    port: u16,
    unique: Arc<str>,
    ready_at_seconds: Option<f64>,
}

impl lanes::Target for Target {
    fn unique(&self) -> &Arc<str> {
        &self.unique
    }

    fn ready_at_seconds(&self) -> Option<f64> {
        self.ready_at_seconds
    }
}

/// What was read at each pod, or why nothing was.
type Readings = HashMap<Arc<str>, Result<Stamped, Failure>>;

impl Scraper {
    /// Scrapes every `interval`; a sidecar that takes longer than a third of it is given up, and a round ends before the
    /// next one is due.
    #[must_use]
    pub fn new(client: Client, interval: Duration, metrics: ScrapeMetrics) -> Self {
        let pace = Pace::every(interval);
        Self {
            client,
            fetcher: Fetcher::new(pace.patient),
            pace,
            lanes: Lanes::default(),
            metrics,
            tracks: Tracks::default(),
            last_round_seconds: None,
        }
    }

    /// Scrapes all pods of the subjects once. `clock` tells the time in seconds since the Unix epoch and must not run
    /// backwards: every reading is stamped with its own.
    pub async fn round(&mut self, subjects: &[Subject], clock: impl Fn() -> f64) -> Round {
        let begun = Instant::now();
        self.tracks.begin();
        let mut lanes = std::mem::take(&mut self.lanes);
        let (mut readings, usage) = tokio::join!(
            self.readings(&mut lanes, begun, subjects, &clock),
            self.usage(subjects, begun + self.pace.round)
        );
        self.lanes = lanes;
        let now_seconds = clock();
        let window_seconds = self
            .last_round_seconds
            .map_or(self.pace.interval.as_secs_f64(), |last| now_seconds - last)
            .max(1e-3);
        self.last_round_seconds = Some(now_seconds);
        let mut round = Round::default();
        for subject in subjects {
            let empty = NamespaceUsage::default();
            let used = usage
                .get(&subject.namespace)
                .and_then(|usage| usage.as_ref().ok())
                .unwrap_or(&empty);
            let (observation, failures) = self.observe(subject, &mut readings, used, now_seconds, window_seconds);
            round.observations.push(observation);
            round.failures.push(failures);
        }
        self.tracks.forget_absent();
        round.without_resource_metrics = usage
            .into_iter()
            .filter_map(|(namespace, usage)| Some((namespace, usage.err()?)))
            .collect();
        self.metrics.round(begun.elapsed(), self.tracks.len());
        round
    }

    async fn readings(
        &self,
        lanes: &mut Lanes,
        due: Instant,
        subjects: &[Subject],
        clock: &impl Fn() -> f64,
    ) -> Readings {
        let pods = subjects.iter().flat_map(|subject| &subject.pods);
        let targets = pods.filter_map(|pod| target(pod)).collect();
        let answers = lanes
            .ask(due, targets, &self.pace, |target: Target| self.scrape(target, clock))
            .await;
        answers
            .into_iter()
            .map(|(target, answer)| (target.unique, answer))
            .collect()
    }

    async fn scrape(&self, target: Target, clock: &impl Fn() -> f64) -> Result<Stamped, String> {
        let scrape = self.metrics.begin();
        let fetched = self.fetcher.fetch(target.address, target.port).await;
        let at_seconds = clock();
        let reading = fetched.and_then(|exposition| {
            self.metrics.bytes(exposition.len());
            envoy::read(&exposition)
        });
        scrape.end(reading.as_ref().map_or_else(ScrapeError::outcome, |_| "success"));
        reading
            .map(|reading| Stamped { at_seconds, reading })
            .map_err(|error| error.to_string())
    }

    async fn usage(&self, subjects: &[Subject], end: Instant) -> HashMap<String, Result<NamespaceUsage, String>> {
        let namespaces: BTreeSet<&String> = subjects.iter().map(|subject| &subject.namespace).collect();
        let fetches = namespaces
            .into_iter()
            .map(|namespace| async move { (namespace.clone(), self.usage_of(namespace, end).await) }.boxed());
        let fetched = concurrently(NAMESPACES_AT_ONCE, fetches).await;
        fetched.into_iter().collect()
    }

    async fn usage_of(&self, namespace: &str, end: Instant) -> Result<NamespaceUsage, String> {
        let given_up = end.min(Instant::now() + RESOURCE_METRICS_PATIENCE);
        let fetched = timeout_at(given_up, resource_metrics::fetch(&self.client, namespace)).await;
        let usage = match fetched {
            Ok(Ok(usage)) => Ok(usage),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        self.metrics.resource_metrics(usage.is_ok());
        usage.inspect_err(|error| debug!(namespace, error, "no resource metrics"))
    }

    fn observe(
        &mut self,
        subject: &Subject,
        readings: &mut Readings,
        usage: &NamespaceUsage,
        now_seconds: f64,
        window_seconds: f64,
    ) -> (Observation, Vec<(String, String)>) {
        let mut observation = Observation {
            at_seconds: now_seconds,
            window_seconds,
            latency: Histogram::default(),
            load_per_second: 0.0,
            failures: 0,
            pods: Vec::with_capacity(subject.pods.len()),
            template: subject.template.clone(),
            desired_replicas: subject.desired_replicas,
            rolling_out: is_rolling_out(subject),
        };
        let mut failures = Vec::new();
        let (mut began, mut ended) = (0.0, 0.0);
        for pod in &subject.pods {
            let window = match readings.remove(&pod.unique) {
                Some(Ok(stamped)) => {
                    let interval_seconds = self.pace.interval.as_secs_f64();
                    self.tracks
                        .window(&pod.unique, stamped, interval_seconds, beginning(pod))
                }
                Some(Err(error)) => {
                    failures.push((pod.name.clone(), error.to_string()));
                    None
                }
                None => None,
            };
            observation
                .pods
                .push(self.observe_pod(subject, pod, window.as_ref(), usage, now_seconds));
            if let Some(window) = window {
                observation.latency.merge(&window.latency);
                observation.failures += window.failures;
                ended += ended_per_second(&window);
                began += window.arrivals.map_or(0.0, |arrivals| arrivals as f64 / window.seconds);
            }
        }
        observation.load_per_second = f64::max(began, ended);
        (observation, failures)
    }

    fn observe_pod(
        &mut self,
        subject: &Subject,
        pod: &PodSummary,
        window: Option<&Window>,
        usage: &NamespaceUsage,
        now_seconds: f64,
    ) -> PodObservation {
        PodObservation {
            name: pod.name.clone(),
            template: subject.software_of(pod).to_owned(),
            phase: pod.phase(now_seconds),
            created_at_seconds: pod.created_at_seconds,
            ready_at_seconds: pod.ready_at_seconds,
            scraped: window.is_some(),
            requests_per_second: window.map_or(0.0, ended_per_second),
            containers: self.containers(pod, usage),
        }
    }

    fn containers(&mut self, pod: &PodSummary, usage: &NamespaceUsage) -> BTreeMap<String, ContainerObservation> {
        let restarted = self.tracks.restarted(&pod.unique, &pod.restarts);
        let killed: BTreeSet<_> = restarted
            .iter()
            .filter(|restarted| restarted.for_memory)
            .map(|restarted| &*restarted.container)
            .collect();
        let used = usage.get(&pod.name);
        pod.resources
            .iter()
            .map(|(name, resources)| {
                let used = used.and_then(|used| used.get(name)).unwrap_or_default();
                let killed_for_memory = killed.contains(&**name);
                (
                    name.to_string(),
                    ContainerObservation {
                        cpu: used.cpu,
                        memory: used.memory,
                        resources: *resources,
                        killed_for_memory,
                    },
                )
            })
            .collect()
    }
}

/// Whether pods of two revisions are there, those aside that leave.
fn is_rolling_out(subject: &Subject) -> bool {
    let staying = subject.pods.iter().filter(|pod| pod.is_staying());
    let mut revisions = staying.map(|pod| &pod.template_hash);
    let first = revisions.next();
    revisions.any(|revision| Some(revision) != first)
}

fn ended_per_second(window: &Window) -> f64 {
    window.latency.total() as f64 / window.seconds
}

fn beginning(pod: &PodSummary) -> Beginning {
    Beginning {
        created_at_seconds: pod.created_at_seconds,
        ready_at_seconds: pod.ready_at_seconds,
    }
}

/// Where to scrape a pod; `None` where it has no sidecar or no address yet.
fn target(pod: &PodSummary) -> Option<Target> {
    Some(Target {
        address: pod.address?,
        port: pod.metrics_port?,
        unique: Arc::clone(&pod.unique),
        ready_at_seconds: pod.ready_at_seconds,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use serde_json::json;

    use super::envoy::Reading;
    use super::*;
    use crate::cache::pods::PackedPod;

    fn pod(name: &str) -> Arc<PodSummary> {
        let pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}]},
        });
        let packed = PackedPod::of(serde_json::from_value(pod).unwrap());
        Arc::new(PodSummary::of(Arc::new(packed)).unwrap())
    }

    fn scraper() -> Scraper {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let metrics = ScrapeMetrics::new(&prometheus::Registry::new()).unwrap();
        Scraper::new(Client::new(service, "default"), Duration::from_secs(15), metrics)
    }

    #[tokio::test]
    async fn a_missed_scrape_makes_no_load() {
        let mut scraper = scraper();
        let subject = Subject {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            template: String::new(),
            software: BTreeMap::new(),
            desired_replicas: 2,
            pods: vec![pod("a"), pod("b")],
        };
        let mut loads = Vec::new();
        for (round, answering) in [["a", "b"].as_slice(), &["a"], &["a", "b"]].into_iter().enumerate() {
            // Each answers 10 requests a second, all the time; `b` is read two seconds late.
            let stamped = |name: &str| {
                let seconds = 15.0 * round as f64 + if name == "b" { 2.0 } else { 0.0 };
                let latency = Histogram::from_cumulative(&[(f64::INFINITY, (10.0 * seconds) as u64)]);
                let reading = Reading {
                    latency,
                    ..Reading::default()
                };
                let at_seconds = 1.8e9 + seconds;
                Stamped { at_seconds, reading }
            };
            let mut readings: Readings = answering
                .iter()
                .map(|name| (Arc::from(*name), Ok(stamped(name))))
                .collect();
            let now = 1.8e9 + 15.0 * round as f64 + 3.0;
            let usage = NamespaceUsage::default();
            let (observation, _) = scraper.observe(&subject, &mut readings, &usage, now, 15.0);
            loads.push((observation.load_per_second, observation.latency.total()));
        }
        assert_eq!(loads, [(0.0, 0), (10.0, 150), (20.0, 150 + 300)]);
    }
}
