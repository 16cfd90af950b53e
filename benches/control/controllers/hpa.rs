//! HorizontalPodAutoscaler on CPU utilisation.
//!
//! From the Kubernetes documentation ("Horizontal Pod Autoscaling", algorithm details and configurable scaling
//! behaviour, autoscaling/v2 defaults).

use std::collections::VecDeque;

use super::{Controller, MOST_REPLICAS};
use crate::cluster::{Phase, World};

/// The parameters of the controller manager and of `spec.behavior`, at their defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HpaSettings {
    /// `averageUtilization` over 100.
    pub target: f64,
    /// `minReplicas`.
    pub min_replicas: u32,
    /// `maxReplicas`.
    pub max_replicas: u32,
    /// `--horizontal-pod-autoscaler-sync-period`.
    pub sync_seconds: f64,
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    /// `behavior.scaleDown.stabilizationWindowSeconds`.
    pub scale_down_seconds: f64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`.
    pub cpu_initialization_seconds: f64,
}

impl HpaSettings {
    /// The defaults at a target utilisation.
    pub fn at(target: f64, min_replicas: u32) -> Self {
        Self {
            target,
            min_replicas,
            max_replicas: MOST_REPLICAS,
            sync_seconds: 15.0,
            tolerance: 0.1,
            scale_down_seconds: 300.0,
            cpu_initialization_seconds: 300.0,
        }
    }
}

/// What the controller knows of one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PodUsage {
    /// Usage over request; `None` where the metric is missing.
    pub utilisation: Option<f64>,
    /// Whether it is left out of the average because it is not ready yet.
    pub not_yet_ready: bool,
}

/// Desired replicas by the documented algorithm, before stabilisation and policies.
///
/// `ceil(current * ratio)` of the mean over ready pods with metrics; within the tolerance nothing changes. Missing
/// pods are then assumed to use 100% of the target when scaling in and nothing when scaling out, pods not yet ready
/// nothing when scaling out; if that reverses the direction or falls within the tolerance, nothing changes.
pub(super) fn desired(pods: &[PodUsage], target: f64, tolerance: f64, current: u32) -> u32 {
    let counted: Vec<f64> = pods
        .iter()
        .filter(|pod| !pod.not_yet_ready)
        .filter_map(|pod| pod.utilisation)
        .collect();
    if counted.is_empty() {
        return current;
    }
    let ratio = counted.iter().sum::<f64>() / counted.len() as f64 / target;
    let unready = pods.iter().filter(|pod| pod.not_yet_ready).count();
    let missing = pods
        .iter()
        .filter(|pod| !pod.not_yet_ready && pod.utilisation.is_none())
        .count();
    let rebalance = missing > 0 || (unready > 0 && ratio > 1.0);
    if !rebalance {
        return if (ratio - 1.0).abs() <= tolerance {
            current
        } else {
            ceil(ratio * counted.len() as f64)
        };
    }
    let assumed = if ratio < 1.0 { missing as f64 * target } else { 0.0 };
    let size = counted.len() + missing + if ratio > 1.0 { unready } else { 0 };
    let careful = (counted.iter().sum::<f64>() + assumed) / size as f64 / target;
    let reversed = (ratio < 1.0) != (careful < 1.0);
    if reversed || (careful - 1.0).abs() <= tolerance {
        return current;
    }
    let replicas = ceil(careful * size as f64);
    let overshoots = (careful < 1.0 && replicas > current) || (careful > 1.0 && replicas < current);
    if overshoots { current } else { replicas }
}

/// Rounds up, but not for the rounding error of a product.
fn ceil(replicas: f64) -> u32 {
    (replicas - 1e-9).ceil().max(0.0) as u32
}

/// Stabilisation and the default policies: scale-up at once, by at most the larger of 100% and 4 pods in 15 s;
/// scale-down to the highest recommendation of the window.
#[derive(Clone, Debug, Default)]
pub(super) struct Behaviour {
    recommendations: VecDeque<(f64, u32)>,
    scale_ups: VecDeque<(f64, u32)>,
}

impl Behaviour {
    pub(super) fn apply(&mut self, settings: &HpaSettings, current: u32, desired: u32, now: f64) -> u32 {
        self.recommendations.push_back((now, desired));
        let window = now - settings.scale_down_seconds;
        self.recommendations.retain(|(at, _)| *at > window);
        let highest = self
            .recommendations
            .iter()
            .map(|(_, replicas)| *replicas)
            .max()
            .unwrap_or(desired);
        let stabilised = if desired < current {
            highest.min(current)
        } else {
            desired
        };
        let allowed = self.limit_scale_up(current, stabilised, now);
        let bounded = allowed.clamp(settings.min_replicas, settings.max_replicas);
        if bounded > current {
            self.scale_ups.push_back((now, bounded - current));
        }
        bounded
    }

    fn limit_scale_up(&mut self, current: u32, desired: u32, now: f64) -> u32 {
        self.scale_ups.retain(|(at, _)| *at > now - 15.0);
        let added: u32 = self.scale_ups.iter().map(|(_, pods)| *pods).sum();
        let start = current - added.min(current);
        desired.min((start + 4).max(start * 2).max(current))
    }
}

/// The autoscaler.
pub struct Hpa {
    settings: HpaSettings,
    behaviour: Behaviour,
}

impl Hpa {
    /// One with these settings.
    pub fn new(settings: HpaSettings) -> Self {
        Self {
            settings,
            behaviour: Behaviour::default(),
        }
    }

    fn usage(&self, world: &World, now: f64) -> Vec<PodUsage> {
        let staying = world.members.iter().filter(|member| member.phase != Phase::Terminating);
        staying
            .map(|member| {
                let age = now - member.created_at;
                let ready = member.phase == Phase::Ready;
                let metric = if world.blackout { None } else { member.metrics.cpu };
                // Within the initialisation period a sample counts only if the pod was ready when it was taken: its
                // window must begin after the pod became ready.
                let initialising = age < self.settings.cpu_initialization_seconds;
                let sampled_unready = initialising && now - member.pod.ready_at() < 25.0 && member.created_at > 0.0;
                PodUsage {
                    utilisation: metric.map(|cpu| cpu / member.size.cpu_request),
                    not_yet_ready: !ready || sampled_unready,
                }
            })
            .collect()
    }
}

impl Controller for Hpa {
    fn interval_seconds(&self) -> f64 {
        self.settings.sync_seconds
    }

    fn act(&mut self, world: &mut World, now: f64) {
        let current = world.deployment.replicas;
        let pods = self.usage(world, now);
        // No metrics at all: the controller does nothing.
        if pods.iter().all(|pod| pod.utilisation.is_none()) {
            return;
        }
        let desired = desired(&pods, self.settings.target, self.settings.tolerance, current);
        let replicas = self.behaviour.apply(&self.settings, current, desired, now);
        world.scale(replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(utilisations: &[f64]) -> Vec<PodUsage> {
        utilisations
            .iter()
            .map(|&value| PodUsage {
                utilisation: Some(value),
                not_yet_ready: false,
            })
            .collect()
    }

    const MISSING: PodUsage = PodUsage {
        utilisation: None,
        not_yet_ready: false,
    };
    const UNREADY: PodUsage = PodUsage {
        utilisation: Some(0.0),
        not_yet_ready: true,
    };

    #[test]
    fn the_documented_example_doubles_and_halves() {
        // "if the current metric value is 200m and the desired 100m, replicas are doubled; at 50m they are halved"
        assert_eq!(desired(&pods(&[1.0, 1.0]), 0.5, 0.1, 2), 4);
        assert_eq!(desired(&pods(&[0.25; 4]), 0.5, 0.1, 4), 2);
    }

    #[test]
    fn within_the_tolerance_nothing_changes() {
        assert_eq!(desired(&pods(&[0.54; 10]), 0.5, 0.1, 10), 10);
        assert_eq!(desired(&pods(&[0.46; 10]), 0.5, 0.1, 10), 10);
        assert_eq!(desired(&pods(&[0.56; 10]), 0.5, 0.1, 10), 12);
    }

    #[test]
    fn missing_pods_dampen_in_both_directions() {
        // Scaling out: the missing pod counts as idle. 2 * 0.9 / 3 = 0.6, over 0.5 is 1.2, times 3.
        let mut out = pods(&[0.9, 0.9]);
        out.push(MISSING);
        assert_eq!(desired(&out, 0.5, 0.1, 3), 4);
        // Scaling in: it counts as at the target. (2 * 0.1 + 0.5) / 3 / 0.5 = 0.467, times 3.
        let mut into = pods(&[0.1, 0.1]);
        into.push(MISSING);
        assert_eq!(desired(&into, 0.5, 0.1, 3), 2);
        // A direction that the assumption reverses changes nothing.
        let mut reversed = pods(&[0.6]);
        reversed.push(MISSING);
        assert_eq!(desired(&reversed, 0.5, 0.1, 2), 2);
    }

    #[test]
    fn pods_not_yet_ready_count_as_idle_when_scaling_out_only() {
        let mut out = pods(&[1.0, 1.0]);
        out.push(UNREADY);
        // 2 / 3 over 0.5 is 1.33, times 3.
        assert_eq!(desired(&out, 0.5, 0.1, 3), 4);
        out.push(UNREADY);
        // 2 / 4 over 0.5 is 1: the pods on their way are enough.
        assert_eq!(desired(&out, 0.5, 0.1, 4), 4);
        let mut into = pods(&[0.2, 0.2]);
        into.push(UNREADY);
        assert_eq!(desired(&into, 0.5, 0.1, 3), 1);
    }

    #[test]
    fn without_any_metric_nothing_changes() {
        assert_eq!(desired(&[MISSING, MISSING], 0.5, 0.1, 2), 2);
    }

    #[test]
    fn scale_down_waits_for_the_highest_of_five_minutes() {
        let settings = HpaSettings::at(0.5, 2);
        let mut behaviour = Behaviour::default();
        assert_eq!(behaviour.apply(&settings, 10, 10, 0.0), 10);
        for step in 1..20 {
            assert_eq!(behaviour.apply(&settings, 10, 4, f64::from(step) * 15.0), 10);
        }
        assert_eq!(behaviour.apply(&settings, 10, 4, 300.0), 4);
    }

    #[test]
    fn scale_up_is_immediate_and_bounded_by_four_pods_or_double() {
        let settings = HpaSettings {
            max_replicas: 200,
            ..HpaSettings::at(0.5, 2)
        };
        let mut behaviour = Behaviour::default();
        assert_eq!(behaviour.apply(&settings, 2, 20, 0.0), 6);
        assert_eq!(behaviour.apply(&settings, 6, 20, 5.0), 6);
        assert_eq!(behaviour.apply(&settings, 6, 20, 15.0), 12);
        assert_eq!(behaviour.apply(&settings, 12, 200, 30.0), 24);
        assert_eq!(behaviour.apply(&settings, 24, 200, 45.0), 48);
        assert_eq!(behaviour.apply(&settings, 48, 900, 60.0), 96);
        assert_eq!(behaviour.apply(&settings, 150, 900, 90.0), 200);
    }

    #[test]
    fn the_minimum_holds() {
        let mut behaviour = Behaviour::default();
        assert_eq!(behaviour.apply(&HpaSettings::at(0.5, 2), 2, 1, 0.0), 2);
    }
}
