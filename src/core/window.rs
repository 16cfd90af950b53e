//! One observation reduced to the numbers that the model learns from.

use std::collections::BTreeMap;

use super::observation::{ContainerObservation, Observation, PodObservation, PodPhase, Resources};
use super::settings::Settings;
use super::units::{Bytes, Cores};

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
    /// Whether a rolling update is under way, which takes pods away.
    pub rolling: bool,
    /// Whether pods of two sizes stand side by side, as they also do while they are resized in place.
    pub mixed: bool,
    /// Replicas that the Deployment asks for.
    pub desired: u32,
    /// How typical the window is of the present code at its full speed, 0 to 1.
    pub trust: f64,
    /// Requests per second that ended in each of the pods that CPU is told of.
    pub pod_load: f64,
    /// Whether CPU is told of pods alone that were warm for all of the time that a CPU figure looks back on.
    pub settled: bool,
    /// Containers of the pods of the present template.
    pub containers: BTreeMap<String, ContainerWindow>,
}

/// One container over the pods of the present template.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContainerWindow {
    /// Mean cores used by a settled pod, or by a warm one while none is settled.
    pub cpu: Option<f64>,
    /// Most cores used by any pod, warm or not.
    pub most_cpu: Option<f64>,
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
    /// missing, which is not the same as no load. A pod counts as warm some time after it became ready (caches,
    /// just-in-time compilers), and as settled once no CPU figure looks back on the time before.
    #[must_use]
    pub fn new(observation: &Observation, settings: &Settings) -> Option<Self> {
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
        let warm_since = observation.at_seconds - settings.warm_up_seconds;
        let (told, settled) = told(
            observation,
            &present,
            warm_since - 0.5 * settings.cpu_lag_seconds,
            warm_since,
        );
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
            rolling: observation.rolling_out || staying(observation).any(|(first, pod)| pod.template != first.template),
            mixed: staying(observation).any(|(first, pod)| !same_size(first, pod)),
            desired: observation.desired_replicas,
            trust: trust(observation, &ready, warm_since),
            pod_load: pod_load(&told),
            settled,
            containers: containers(&present, &told),
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

/// Pods that stay, each beside the first of them.
fn staying(observation: &Observation) -> impl Iterator<Item = (&PodObservation, &PodObservation)> {
    let staying = |pod: &&PodObservation| matches!(pod.phase, PodPhase::Starting | PodPhase::Ready);
    let mut pods = observation.pods.iter().filter(staying);
    pods.next()
        .into_iter()
        .flat_map(move |first| pods.clone().map(move |pod| (first, pod)))
}

fn same_size(one: &PodObservation, other: &PodObservation) -> bool {
    let size = |name: &str| other.containers.get(name).map(|container| container.resources);
    let mut containers = one.containers.iter();
    containers.all(|(name, container)| size(name).is_none_or(|size| size == container.resources))
}

/// The pods whose CPU and load are set against each other, and whether they are settled: a figure of CPU is an average over
/// a while ago, so a pod that started since is told too low, and one that was cold then too high.
fn told<'a>(
    observation: &Observation,
    present: &[&'a PodObservation],
    settled_since: f64,
    warm_since: f64,
) -> (Vec<&'a PodObservation>, bool) {
    let since = |since: f64| -> Vec<&'a PodObservation> {
        let pods = present.iter().copied().filter(|pod| warm(pod, since));
        pods.filter(|pod| pod.scraped).collect()
    };
    let settled: Vec<_> = since(settled_since)
        .into_iter()
        .filter(|pod| pod.template == observation.template)
        .collect();
    if !settled.is_empty() {
        return (settled, true);
    }
    let warm = since(warm_since);
    (if warm.is_empty() { present.to_vec() } else { warm }, false)
}

/// Windows with cold pods, with two templates side by side or with many failures say little about the steady state.
fn trust(observation: &Observation, ready: &[&PodObservation], warm_since: f64) -> f64 {
    let cold = ready.iter().any(|pod| !warm(pod, warm_since));
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

fn containers(pods: &[&PodObservation], told: &[&PodObservation]) -> BTreeMap<String, ContainerWindow> {
    let newest = pods
        .iter()
        .max_by(|a, b| a.created_at_seconds.total_cmp(&b.created_at_seconds));
    let Some(newest) = newest else { return BTreeMap::new() };
    newest
        .containers
        .iter()
        .map(|(name, container)| {
            let window = container_window(named(pods, name), named(told, name), container.resources);
            (name.clone(), window)
        })
        .collect()
}

/// The containers of a name.
fn named<'p>(pods: &[&'p PodObservation], name: &str) -> impl Iterator<Item = &'p ContainerObservation> + Clone {
    pods.iter().filter_map(move |pod| pod.containers.get(name))
}

fn container_window<'p>(
    all: impl Iterator<Item = &'p ContainerObservation> + Clone,
    told: impl Iterator<Item = &'p ContainerObservation>,
    resources: Resources,
) -> ContainerWindow {
    let cores = |of: fn(&Resources) -> Option<Cores>| {
        let set = all.clone().filter_map(|container| of(&container.resources));
        mean(set.map(|cores| cores.0))
    };
    ContainerWindow {
        cpu: mean(told.filter_map(|container| container.cpu).map(|cores| cores.0)),
        most_cpu: all
            .clone()
            .filter_map(|container| container.cpu)
            .map(|cores| cores.0)
            .reduce(f64::max),
        memory: all.clone().filter_map(|container| container.memory).max(),
        resources,
        request: cores(|resources| resources.cpu_request),
        limit: cores(|resources| resources.cpu_limit),
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
            rolling_out: false,
        }
    }

    #[test]
    fn reduces_to_rates() {
        let window = Window::new(
            &observation(vec![pod("x", 0.0, true), pod("y", 0.0, true)]),
            &Settings::default(),
        )
        .unwrap();
        assert!((window.load - 20.0).abs() < 1e-9 && (window.load_per_pod() - 10.0).abs() < 1e-9);
        assert!((window.trust - 1.0).abs() < 1e-9);
        assert_eq!(window.containers["app"].cpu, Some(0.4));
    }

    #[test]
    fn pods_that_are_resized_in_place_are_no_rollout() {
        let other = |change: fn(&mut PodObservation)| {
            let mut pods = vec![pod("x", 0.0, true), pod("y", 0.0, true)];
            change(&mut pods[1]);
            let window = Window::new(&observation(pods), &Settings::default()).unwrap();
            (window.rolling, window.mixed)
        };
        let resized = |pod: &mut PodObservation| {
            pod.containers.get_mut("app").unwrap().resources.cpu_request = Some(Cores(0.9));
        };
        assert_eq!(other(|_| ()), (false, false));
        assert_eq!(other(resized), (false, true));
        assert_eq!(other(|pod| pod.template = "b".into()), (true, false));
    }

    #[test]
    fn unscraped_pods_are_taken_to_serve_like_the_others() {
        let window = Window::new(
            &observation(vec![pod("x", 0.0, true), pod("y", 0.0, false)]),
            &Settings::default(),
        )
        .unwrap();
        assert!((window.load - 40.0).abs() < 1e-9);
        let pods = vec![pod("x", 0.0, true), pod("y", 0.0, false), pod("z", 0.0, false)];
        assert_eq!(Window::new(&observation(pods), &Settings::default()), None);
        assert_eq!(Window::new(&observation(vec![]), &Settings::default()), None);
    }

    #[test]
    fn cpu_is_told_of_pods_alone_that_were_warm_for_as_long_as_its_figure_looks_back() {
        let mut fresh = pod("y", 960.0, true);
        fresh.requests_per_second = 2.0;
        fresh.containers.insert(
            "app".to_owned(),
            ContainerObservation {
                cpu: Some(Cores(0.1)),
                ..ContainerObservation::default()
            },
        );
        let window = |pods| Window::new(&observation(pods), &Settings::default()).unwrap();
        let both = window(vec![pod("x", 0.0, true), fresh.clone()]);
        assert_eq!((both.settled, both.containers["app"].cpu), (true, Some(0.4)));
        assert!((both.pod_load - 10.0).abs() < 1e-9);
        let alone = window(vec![fresh.clone()]);
        assert_eq!((alone.settled, alone.containers["app"].cpu), (false, Some(0.1)));
        let mut old = pod("x", 0.0, true);
        old.template = "before".into();
        assert!(
            !window(vec![old]).settled,
            "CPU of the old code says nothing about the new"
        );
    }

    #[test]
    fn a_fresh_pod_serves_a_part_of_the_window_and_lowers_trust() {
        let window = Window::new(
            &observation(vec![pod("x", 0.0, true), pod("y", 992.5, true)]),
            &Settings::default(),
        )
        .unwrap();
        assert!((window.serving - 1.5).abs() < 1e-9 && window.trust < 0.5);
    }
}
