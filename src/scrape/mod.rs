//! What comes in: the sidecars' counters, and the CPU and memory in use.

pub mod client;
pub mod envoy;
pub mod exposition;
pub mod pods;
pub mod resource_metrics;
pub mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use tokio::time::timeout;
use tracing::debug;

use crate::concurrently::concurrently;
use crate::core::histogram::Histogram;
use crate::core::observation::{ContainerObservation, Observation, PodObservation};
use crate::report::metrics::ScrapeMetrics;
use client::{Fetcher, ScrapeError};
use envoy::Reading;
use resource_metrics::NamespaceUsage;
use window::{Tracks, Window};

/// Scrapes under way at any time.
const AT_ONCE: usize = 64;

/// Namespaces whose resource metrics are fetched at any time.
const NAMESPACES_AT_ONCE: usize = 8;

/// Longest wait for resource metrics.
const RESOURCE_METRICS_PATIENCE: Duration = Duration::from_secs(5);

/// A Deployment whose pods are to be observed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Hash of the pod template in force.
    pub template: String,
    /// Replicas that it asks for.
    pub desired_replicas: u32,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
}

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
    interval: Duration,
    metrics: ScrapeMetrics,
    tracks: Tracks,
    last_round_seconds: Option<f64>,
}

struct Target {
    address: IpAddr,
    port: u16,
    unique: String,
}

impl Scraper {
    /// Scrapes every `interval`; a sidecar that takes longer than a third of it is given up.
    #[must_use]
    pub fn new(client: Client, interval: Duration, metrics: ScrapeMetrics) -> Self {
        let patience = (interval / 3).clamp(Duration::from_millis(250), Duration::from_secs(5));
        Self {
            client,
            fetcher: Fetcher::new(patience),
            interval,
            metrics,
            tracks: Tracks::default(),
            last_round_seconds: None,
        }
    }

    /// Scrapes all pods of the subjects once. `now_seconds` is the time of the scrape and must not run backwards.
    pub async fn round(&mut self, subjects: &[Subject], now_seconds: f64) -> Round {
        let begun = Instant::now();
        self.tracks.begin();
        let (mut readings, usage) = tokio::join!(self.readings(subjects), self.usage(subjects));
        let window_seconds = self
            .last_round_seconds
            .map_or(self.interval.as_secs_f64(), |last| now_seconds - last)
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

    async fn readings(&self, subjects: &[Subject]) -> HashMap<String, Result<Reading, ScrapeError>> {
        let pods = subjects.iter().flat_map(|subject| &subject.pods);
        let scrapes = pods
            .filter_map(|pod| target(pod))
            .map(|target| -> BoxFuture<'_, _> { Box::pin(self.scrape(target)) });
        concurrently(AT_ONCE, scrapes.collect()).await.into_iter().collect()
    }

    async fn scrape(&self, target: Target) -> (String, Result<Reading, ScrapeError>) {
        let begun = Instant::now();
        let fetched = self.fetcher.fetch(target.address, target.port).await;
        let reading = fetched.and_then(|exposition| {
            self.metrics.bytes(exposition.len());
            envoy::read(&exposition)
        });
        let outcome = reading.as_ref().map_or_else(ScrapeError::outcome, |_| "success");
        self.metrics.scraped(outcome, begun.elapsed());
        (target.unique, reading)
    }

    async fn usage(&self, subjects: &[Subject]) -> HashMap<String, Result<NamespaceUsage, String>> {
        let namespaces: BTreeSet<&String> = subjects.iter().map(|subject| &subject.namespace).collect();
        let fetches = namespaces.into_iter().map(|namespace| -> BoxFuture<'_, _> {
            Box::pin(async move { (namespace.clone(), self.usage_of(namespace).await) })
        });
        concurrently(NAMESPACES_AT_ONCE, fetches.collect())
            .await
            .into_iter()
            .collect()
    }

    async fn usage_of(&self, namespace: &str) -> Result<NamespaceUsage, String> {
        let fetched = timeout(
            RESOURCE_METRICS_PATIENCE,
            resource_metrics::fetch(&self.client, namespace),
        )
        .await;
        let usage = match fetched {
            Ok(Ok(usage)) => Ok(usage),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {RESOURCE_METRICS_PATIENCE:?}")),
        };
        self.metrics.resource_metrics(usage.is_ok());
        usage.inspect_err(|error| debug!(namespace, error, "no resource metrics"))
    }

    fn observe(
        &mut self,
        subject: &Subject,
        readings: &mut HashMap<String, Result<Reading, ScrapeError>>,
        usage: &NamespaceUsage,
        now_seconds: f64,
        window_seconds: f64,
    ) -> (Observation, Vec<(String, String)>) {
        let mut observation = Observation {
            at_seconds: now_seconds,
            window_seconds,
            latency: Histogram::default(),
            arrivals: None,
            failures: 0,
            pods: Vec::with_capacity(subject.pods.len()),
            template: subject.template.clone(),
            desired_replicas: subject.desired_replicas,
        };
        let mut failures = Vec::new();
        for pod in subject.pods.iter().filter(|pod| !pods::has_ended(pod)) {
            let window = match readings.remove(&unique(pod)) {
                Some(Ok(reading)) => self.tracks.window(
                    &unique(pod),
                    reading,
                    now_seconds,
                    self.interval.as_secs_f64(),
                    pods::created_at_seconds(pod),
                ),
                Some(Err(error)) => {
                    failures.push((pod.name_any(), error.to_string()));
                    None
                }
                None => None,
            };
            observation
                .pods
                .push(self.observe_pod(pod, window.as_ref(), usage, now_seconds));
            if let Some(window) = window {
                add(&mut observation, &window);
            }
        }
        (observation, failures)
    }

    fn observe_pod(
        &mut self,
        pod: &Pod,
        window: Option<&Window>,
        usage: &NamespaceUsage,
        now_seconds: f64,
    ) -> PodObservation {
        PodObservation {
            name: pod.name_any(),
            template: pod.labels().get("pod-template-hash").cloned().unwrap_or_default(),
            phase: pods::phase(pod, now_seconds),
            created_at_seconds: pods::created_at_seconds(pod),
            ready_at_seconds: pods::ready_at_seconds(pod),
            scraped: window.is_some(),
            requests: window.map_or(0, |window| window.latency.total()),
            containers: self.containers(pod, usage),
        }
    }

    fn containers(&mut self, pod: &Pod, usage: &NamespaceUsage) -> BTreeMap<String, ContainerObservation> {
        let unique = unique(pod);
        let mut killed = BTreeSet::new();
        for (container, restarts, for_memory) in pods::restarts(pod) {
            if self.tracks.restarted(&unique, container, restarts) && for_memory {
                killed.insert(container);
            }
        }
        let used = usage.get(&pod.name_any());
        pods::resources(pod)
            .into_iter()
            .map(|(name, resources)| {
                let used = used.and_then(|used| used.get(&name)).copied().unwrap_or_default();
                let killed_for_memory = killed.contains(name.as_str());
                (
                    name,
                    ContainerObservation {
                        cpu: used.cpu,
                        memory: used.memory,
                        resources,
                        killed_for_memory,
                    },
                )
            })
            .collect()
    }
}

fn add(observation: &mut Observation, window: &Window) {
    observation.latency.merge(&window.latency);
    observation.failures += window.failures;
    if let Some(arrivals) = window.arrivals {
        *observation.arrivals.get_or_insert(0) += arrivals;
    }
}

/// Where to scrape a pod; `None` where it has no sidecar, no address yet, or has ended.
fn target(pod: &Pod) -> Option<Target> {
    if pods::has_ended(pod) {
        return None;
    }
    Some(Target {
        address: pods::address(pod)?,
        port: pods::metrics_port(pod)?,
        unique: unique(pod),
    })
}

fn unique(pod: &Pod) -> String {
    pod.uid().unwrap_or_else(|| pod.name_any())
}
