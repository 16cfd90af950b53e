//! One observation reduced to the numbers that the model learns from.

use std::collections::BTreeMap;

use super::observation::{ContainerObservation, Observation, PodObservation, PodPhase, Resources};
use super::units::Bytes;

/// The numbers of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// End of the window, in seconds since the Unix epoch.
    pub at: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Requests per second of the whole Deployment: those that began, or those that ended where that is more.
    pub load: f64,
    /// Pods that served, each counted by the part of the window in which it was ready.
    pub serving: f64,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods on their way.
    pub starting: u32,
    /// Whether pods of two templates or sizes stand side by side: a rolling update is under way.
    pub rolling: bool,
    /// Replicas that the Deployment asks for.
    pub desired: u32,
    /// How typical the window is of the present code at its full speed, 0 to 1.
    pub trust: f64,
    /// Requests per second that ended in each pod of the present template.
    pub pod_load: f64,
    /// Containers of the pods of the present template.
    pub containers: BTreeMap<String, ContainerWindow>,
}

/// One container over the pods of the present template.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContainerWindow {
    /// Mean cores used by a warm pod.
    pub cpu: Option<f64>,
    /// Largest working set.
    pub memory: Option<Bytes>,
    /// Requests and limits of the newest pod.
    pub resources: Resources,
    /// Mean CPU request in cores over the ready pods.
    pub request: Option<f64>,
    /// Mean CPU limit in cores over the ready pods.
    pub limit: Option<f64>,
}

impl Window {
    /// Reduces `observation`; `None` when no pod was scraped or fewer than half of the ready ones: then the metrics are
    /// missing, which is not the same as no load. A pod counts as warm `warm_up_seconds` after it became ready (caches,
    /// just-in-time compilers).
    #[must_use]
    pub fn new(observation: &Observation, warm_up_seconds: f64) -> Option<Self> {
        let ready: Vec<&PodObservation> = observation
            .pods
            .iter()
            .filter(|pod| pod.phase == PodPhase::Ready)
            .collect();
        let scraped = ready.iter().filter(|pod| pod.scraped).count();
        if scraped == 0 || 2 * scraped < ready.len() || observation.window_seconds <= 0.0 {
            return None;
        }
        let present = present_pods(observation, &ready);
        let unseen = ready.len() as f64 / scraped as f64;
        Some(Self {
            at: observation.at_seconds,
            seconds: observation.window_seconds,
            load: observation.load_per_second * unseen,
            serving: ready
                .iter()
                .map(|pod| served_share(pod, observation))
                .sum::<f64>()
                .max(0.1),
            ready: ready.len() as u32,
            starting: observation
                .pods
                .iter()
                .filter(|pod| pod.phase == PodPhase::Starting)
                .count() as u32,
            rolling: rolling(observation),
            desired: observation.desired_replicas,
            trust: trust(observation, &ready, warm_up_seconds),
            pod_load: pod_load(&present),
            containers: containers(&present, observation.at_seconds - warm_up_seconds),
        })
    }

    /// Requests per second of one pod.
    #[must_use]
    pub fn load_per_pod(&self) -> f64 {
        self.load / self.serving
    }
}

/// The ready pods of the template in force, or all ready ones while none is of it.
fn present_pods<'a>(observation: &Observation, ready: &[&'a PodObservation]) -> Vec<&'a PodObservation> {
    let present: Vec<&PodObservation> = ready
        .iter()
        .copied()
        .filter(|pod| pod.template == observation.template)
        .collect();
    if present.is_empty() { ready.to_vec() } else { present }
}

fn served_share(pod: &PodObservation, observation: &Observation) -> f64 {
    let ready_for = observation.at_seconds - pod.ready_at_seconds.unwrap_or(pod.created_at_seconds);
    (ready_for / observation.window_seconds).clamp(0.0, 1.0)
}

fn warm(pod: &PodObservation, since: f64) -> bool {
    pod.ready_at_seconds.is_none_or(|ready| ready <= since)
}

fn rolling(observation: &Observation) -> bool {
    let staying = |pod: &&PodObservation| matches!(pod.phase, PodPhase::Starting | PodPhase::Ready);
    let mut pods = observation.pods.iter().filter(staying);
    let Some(first) = pods.next() else { return false };
    let size = |pod: &PodObservation, name: &str| pod.containers.get(name).map(|container| container.resources);
    let same_size = |pod: &PodObservation| {
        first
            .containers
            .iter()
            .all(|(name, container)| size(pod, name).is_none_or(|size| size == container.resources))
    };
    pods.any(|pod| pod.template != first.template || !same_size(pod))
}

/// Windows with cold pods, with two templates side by side or with many failures say little about the steady state.
fn trust(observation: &Observation, ready: &[&PodObservation], warm_up_seconds: f64) -> f64 {
    let since = observation.at_seconds - warm_up_seconds;
    let cold = ready.iter().any(|pod| !warm(pod, since));
    let mixed = ready.iter().any(|pod| pod.template != observation.template);
    let failing = observation.failures as f64 > 0.05 * observation.latency.total() as f64;
    if cold || mixed || failing { 0.2 } else { 1.0 }
}

fn pod_load(pods: &[&PodObservation]) -> f64 {
    let scraped: Vec<f64> = pods
        .iter()
        .filter(|pod| pod.scraped)
        .map(|pod| pod.requests_per_second)
        .collect();
    if scraped.is_empty() {
        0.0
    } else {
        scraped.iter().sum::<f64>() / scraped.len() as f64
    }
}

fn containers(pods: &[&PodObservation], warm_since: f64) -> BTreeMap<String, ContainerWindow> {
    let newest = pods
        .iter()
        .max_by(|a, b| a.created_at_seconds.total_cmp(&b.created_at_seconds));
    let Some(newest) = newest else { return BTreeMap::new() };
    newest
        .containers
        .iter()
        .map(|(name, container)| {
            let all: Vec<(&ContainerObservation, bool)> = pods
                .iter()
                .filter_map(|pod| {
                    pod.containers
                        .get(name)
                        .map(|container| (container, warm(pod, warm_since)))
                })
                .collect();
            (name.clone(), container_window(&all, container.resources))
        })
        .collect()
}

fn container_window(all: &[(&ContainerObservation, bool)], resources: Resources) -> ContainerWindow {
    let used = |only_warm: bool| {
        let cpu = all
            .iter()
            .filter(|(_, warm)| *warm || !only_warm)
            .filter_map(|(container, _)| container.cpu);
        mean(cpu.map(|cores| cores.0))
    };
    ContainerWindow {
        cpu: used(true).or_else(|| used(false)),
        memory: all.iter().filter_map(|(container, _)| container.memory).max(),
        resources,
        request: mean(
            all.iter()
                .filter_map(|(container, _)| container.resources.cpu_request)
                .map(|cpu| cpu.0),
        ),
        limit: mean(
            all.iter()
                .filter_map(|(container, _)| container.resources.cpu_limit)
                .map(|cpu| cpu.0),
        ),
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    values.for_each(|value| {
        sum += value;
        count += 1.0;
    });
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::histogram::Histogram;
    use crate::core::units::Cores;

    fn pod(name: &str, ready_at: f64, scraped: bool) -> PodObservation {
        let container = ContainerObservation {
            cpu: Some(Cores(0.4)),
            ..ContainerObservation::default()
        };
        PodObservation {
            name: name.into(),
            template: "a".into(),
            phase: PodPhase::Ready,
            created_at_seconds: ready_at - 40.0,
            ready_at_seconds: Some(ready_at),
            scraped,
            requests_per_second: 10.0,
            containers: [("app".to_owned(), container)].into(),
        }
    }

    fn observation(pods: Vec<PodObservation>) -> Observation {
        Observation {
            at_seconds: 1000.0,
            window_seconds: 15.0,
            latency: Histogram {
                upper_bounds_seconds: [0.1].into(),
                counts: vec![300, 0],
            },
            load_per_second: 20.0,
            failures: 0,
            pods,
            template: "a".into(),
            desired_replicas: 2,
        }
    }

    #[test]
    fn reduces_to_rates() {
        let window = Window::new(&observation(vec![pod("x", 0.0, true), pod("y", 0.0, true)]), 30.0).unwrap();
        assert!((window.load - 20.0).abs() < 1e-9 && (window.load_per_pod() - 10.0).abs() < 1e-9);
        assert!((window.trust - 1.0).abs() < 1e-9);
        assert_eq!(window.containers["app"].cpu, Some(0.4));
    }

    #[test]
    fn unscraped_pods_are_taken_to_serve_like_the_others() {
        let window = Window::new(&observation(vec![pod("x", 0.0, true), pod("y", 0.0, false)]), 30.0).unwrap();
        assert!((window.load - 40.0).abs() < 1e-9);
        let pods = vec![pod("x", 0.0, true), pod("y", 0.0, false), pod("z", 0.0, false)];
        assert_eq!(Window::new(&observation(pods), 30.0), None);
        assert_eq!(Window::new(&observation(vec![]), 30.0), None);
    }

    #[test]
    fn a_fresh_pod_serves_a_part_of_the_window_and_lowers_trust() {
        let window = Window::new(&observation(vec![pod("x", 0.0, true), pod("y", 992.5, true)]), 30.0).unwrap();
        assert!((window.serving - 1.5).abs() < 1e-9 && window.trust < 0.5);
    }
}
