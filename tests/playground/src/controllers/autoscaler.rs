//! The horizontal pod autoscaler for CPU and memory, as far as `autoscaling/v2` describes it: utilisation and average
//! value of resource metrics, tolerance, pods that are not ready, stabilisation windows and the default policies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricSpec, MetricStatus,
    MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::events::Events;
use super::informer::Informers;
use super::objects::{is_active, is_ready, now, selects, unless_gone};
use super::queue::{Key, key};
use super::{each, run};
use crate::kubelet::quantity::{Resources, is_sidecar, parse};
use crate::tasks::Tasks;

/// Time between two evaluations.
const PERIOD: Duration = Duration::from_secs(15);
/// A ratio this close to 1 changes nothing.
const TOLERANCE: f64 = 0.1;
const DEFAULT_STABILISATION: Duration = Duration::from_secs(300);

/// Starts the controller.
pub fn start(informers: &Arc<Informers>, tasks: &Tasks, client: Client) {
    let controller = Controller {
        events: Events::new(client.clone(), "horizontal-pod-autoscaler", None),
        client,
        wanted: Arc::default(),
    };
    let queue = run("autoscaler", tasks, move |key| controller.clone().reconcile(key));
    each(tasks, informers.autoscalers.subscribe(), &queue, |autoscaler| {
        Some(key(autoscaler))
    });
}

#[derive(Clone)]
struct Controller {
    client: Client,
    events: Events,
    wanted: Arc<Mutex<HashMap<Key, History>>>,
}

/// What one autoscaler has wanted lately.
#[derive(Default)]
struct History {
    last: Option<Instant>,
    wanted: Vec<(Instant, i32)>,
}

/// One metric's reading: what it is, relative to its target.
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    ratio: f64,
    status: MetricStatus,
}

/// A pod as the autoscaler sees it: request and use of one resource, if measured.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measured {
    ready: bool,
    request: f64,
    used: Option<f64>,
}

impl Controller {
    async fn reconcile(self, key: Key) -> anyhow::Result<Option<Duration>> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &key.0);
        let Some(autoscaler) = api.get_opt(&key.1).await? else {
            self.wanted.lock().remove(&key);
            return Ok(None);
        };
        let since = self
            .wanted
            .lock()
            .get(&key)
            .and_then(|history| history.last)
            .map(|last| last.elapsed());
        if let Some(left) = since
            .and_then(|since| PERIOD.checked_sub(since))
            .filter(|left| !left.is_zero())
        {
            return Ok(Some(left));
        }
        self.wanted.lock().entry(key.clone()).or_default().last = Some(Instant::now());
        self.evaluate(&api, &key, &autoscaler).await?;
        Ok(Some(PERIOD))
    }

    async fn evaluate(
        &self,
        api: &Api<HorizontalPodAutoscaler>,
        key: &Key,
        autoscaler: &HorizontalPodAutoscaler,
    ) -> anyhow::Result<()> {
        let spec = &autoscaler.spec;
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &key.0);
        let target = (spec.scale_target_ref.kind == "Deployment").then_some(spec.scale_target_ref.name.as_str());
        let deployment = match target {
            Some(name) => deployments.get_opt(name).await?,
            None => None,
        };
        let Some(deployment) = deployment else {
            let message = format!(
                "the target {} {} was not found",
                spec.scale_target_ref.kind, spec.scale_target_ref.name
            );
            let able = condition("AbleToScale", "False", "FailedGetScale", message);
            return self.write(api, autoscaler, None, 0, vec![able], Vec::new()).await;
        };
        let current = deployment.spec.replicas.unwrap_or(1);
        if current == 0 {
            let message = "scaling is disabled since the replica count of the target is zero".into();
            let active = condition("ScalingActive", "False", "ScalingDisabled", message);
            return self.write(api, autoscaler, Some(0), 0, vec![active], Vec::new()).await;
        }
        let readings = self
            .readings(&key.0, &deployment, spec.metrics.as_deref().unwrap_or_default())
            .await?;
        let able = condition(
            "AbleToScale",
            "True",
            "ReadyForNewScale",
            "recommended size matches current size".into(),
        );
        let Some(ratio) = readings.iter().map(|reading| reading.ratio).max_by(f64::total_cmp) else {
            let message = "no metric could be read: no metrics returned, or no requests set".into();
            let active = condition("ScalingActive", "False", "FailedGetResourceMetric", message);
            return self
                .write(api, autoscaler, Some(current), current, vec![able, active], Vec::new())
                .await;
        };
        let proposed = proposal(current, ratio);
        let wanted = self.decide(key, autoscaler, current, proposed);
        if wanted != current {
            let patch = Patch::Merge(json!({"spec": {"replicas": wanted}}));
            deployments
                .patch_scale(&deployment.name_any(), &PatchParams::default(), &patch)
                .await?;
            self.events
                .normal(autoscaler, "SuccessfulRescale", format!("New size: {wanted}"))
                .await;
        }
        let active = condition(
            "ScalingActive",
            "True",
            "ValidMetricFound",
            "the metrics could be read".into(),
        );
        let statuses = readings.into_iter().map(|reading| reading.status).collect();
        self.write(api, autoscaler, Some(current), wanted, vec![able, active], statuses)
            .await
    }

    async fn readings(
        &self,
        namespace: &str,
        deployment: &Deployment,
        metrics: &[MetricSpec],
    ) -> anyhow::Result<Vec<Reading>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut pods = pods.list(&ListParams::default()).await?.items;
        pods.retain(|pod| is_active(pod) && selects(&deployment.spec.selector, pod.labels()));
        let kind = GroupVersionKind::gvk("metrics.k8s.io", "v1beta1", "PodMetrics");
        let api: Api<DynamicObject> = Api::namespaced_with(
            self.client.clone(),
            namespace,
            &ApiResource::from_gvk_with_plural(&kind, "pods"),
        );
        let used = api.list(&ListParams::default()).await?.items;
        let reading = |metric: &MetricSpec| {
            let resource = metric.resource.as_ref()?;
            let measured: Vec<Measured> = pods.iter().map(|pod| measure(pod, &used, &resource.name)).collect();
            let target = &resource.target;
            let (ratio, value) = match (target.average_utilization, &target.average_value) {
                (Some(percent), _) => utilisation_ratio(&measured, f64::from(percent))?,
                (None, Some(value)) => value_ratio(&measured, parse(value)?)?,
                (None, None) => return None,
            };
            let status = ResourceMetricStatus {
                name: resource.name.clone(),
                current: value,
            };
            Some(Reading {
                ratio,
                status: MetricStatus {
                    type_: "Resource".into(),
                    resource: Some(status),
                    ..MetricStatus::default()
                },
            })
        };
        Ok(metrics.iter().filter_map(reading).collect())
    }

    /// Bounds, stabilisation and policies.
    fn decide(&self, key: &Key, autoscaler: &HorizontalPodAutoscaler, current: i32, proposed: i32) -> i32 {
        let spec = &autoscaler.spec;
        let rules = spec.behavior.as_ref();
        let window = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>, default: Duration| {
            let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
            seconds.map_or(default, |seconds| Duration::from_secs(seconds.max(0) as u64))
        };
        let down = window(rules.and_then(|rules| rules.scale_down.as_ref()), DEFAULT_STABILISATION);
        let up = window(rules.and_then(|rules| rules.scale_up.as_ref()), Duration::ZERO);
        let mut all = self.wanted.lock();
        let history = all.entry(key.clone()).or_default();
        let now = Instant::now();
        history.wanted.push((now, proposed));
        history
            .wanted
            .retain(|(time, _)| now.duration_since(*time) <= down.max(up));
        let ages: Vec<(Duration, i32)> = history
            .wanted
            .iter()
            .map(|(time, wanted)| (now.duration_since(*time), *wanted))
            .collect();
        let stable = stabilise(current, proposed, &ages, up, down);
        let limited = stable.min(most_up(current));
        limited.clamp(spec.min_replicas.unwrap_or(1), spec.max_replicas)
    }

    async fn write(
        &self,
        api: &Api<HorizontalPodAutoscaler>,
        autoscaler: &HorizontalPodAutoscaler,
        current: Option<i32>,
        wanted: i32,
        mut conditions: Vec<HorizontalPodAutoscalerCondition>,
        metrics: Vec<MetricStatus>,
    ) -> anyhow::Result<()> {
        let before = autoscaler.status.clone().unwrap_or_default();
        for condition in &mut conditions {
            let same = before
                .conditions
                .iter()
                .flatten()
                .find(|earlier| earlier.type_ == condition.type_ && earlier.status == condition.status);
            if let Some(same) = same {
                condition.last_transition_time.clone_from(&same.last_transition_time);
            }
        }
        let scaled = current.is_some_and(|current| current != wanted);
        let status = HorizontalPodAutoscalerStatus {
            observed_generation: autoscaler.metadata.generation,
            current_replicas: current,
            desired_replicas: wanted,
            last_scale_time: if scaled {
                Some(now())
            } else {
                before.last_scale_time.clone()
            },
            conditions: Some(conditions),
            current_metrics: Some(metrics),
        };
        if autoscaler.status.as_ref() != Some(&status) {
            let patch = Patch::Merge(json!({"status": status}));
            unless_gone(
                api.patch_status(&autoscaler.name_any(), &PatchParams::default(), &patch)
                    .await,
            )?;
        }
        Ok(())
    }
}

fn condition(type_: &str, status: &str, reason: &str, message: String) -> HorizontalPodAutoscalerCondition {
    HorizontalPodAutoscalerCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(now()),
        ..HorizontalPodAutoscalerCondition::default()
    }
}

/// Request and use of a resource over all containers and sidecars of a pod.
fn measure(pod: &Pod, used: &[DynamicObject], resource: &str) -> Measured {
    let spec = pod.spec.clone().unwrap_or_default();
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container));
    let request = |container: &Container| {
        let requests = Resources::requests(container.resources.as_ref());
        if resource == "cpu" {
            requests.cpu
        } else {
            requests.memory
        }
        .unwrap_or(0.0)
    };
    let amount = |container: &Value| parse(&Quantity(container["usage"][resource].as_str()?.to_owned()));
    let sum = |metrics: &DynamicObject| {
        let containers = metrics.data["containers"].as_array().cloned().unwrap_or_default();
        containers.iter().filter_map(amount).sum()
    };
    Measured {
        ready: is_ready(pod),
        request: spec.containers.iter().chain(sidecars).map(request).sum(),
        used: used
            .iter()
            .find(|metrics| metrics.name_any() == pod.name_any())
            .map(sum),
    }
}

/// Use over request against the target in percent. Pods that are not ready or not measured count as using nothing when
/// that tempers a scale-up, and what is not measured as using the whole target when it tempers a scale-down.
fn utilisation_ratio(pods: &[Measured], target_percent: f64) -> Option<(f64, MetricValueStatus)> {
    let measured: Vec<&Measured> = pods.iter().filter(|pod| pod.ready && pod.used.is_some()).collect();
    let request: f64 = measured.iter().map(|pod| pod.request).sum();
    let used: f64 = measured.iter().filter_map(|pod| pod.used).sum();
    if request <= 0.0 || pods.iter().any(|pod| pod.request <= 0.0) {
        return None;
    }
    let percent = 100.0 * used / request;
    let ratio = percent / target_percent;
    let others: Vec<&Measured> = pods.iter().filter(|pod| !(pod.ready && pod.used.is_some())).collect();
    let unmeasured = |pod: &&&Measured| pod.ready;
    let (more_request, more_used) = if ratio > 1.0 {
        (others.iter().map(|pod| pod.request).sum::<f64>(), 0.0)
    } else {
        let request: f64 = others.iter().filter(unmeasured).map(|pod| pod.request).sum();
        (request, request * target_percent / 100.0)
    };
    let tempered = 100.0 * (used + more_used) / (request + more_request) / target_percent;
    let crosses = (ratio > 1.0) != (tempered > 1.0);
    let value = MetricValueStatus {
        average_utilization: Some(percent.round() as i32),
        average_value: Some(quantity(used / measured.len() as f64)),
        value: None,
    };
    Some((if crosses { 1.0 } else { tempered }, value))
}

fn value_ratio(pods: &[Measured], target: f64) -> Option<(f64, MetricValueStatus)> {
    let used: Vec<f64> = pods.iter().filter(|pod| pod.ready).filter_map(|pod| pod.used).collect();
    if used.is_empty() || target <= 0.0 {
        return None;
    }
    let average = used.iter().sum::<f64>() / used.len() as f64;
    let value = MetricValueStatus {
        average_value: Some(quantity(average)),
        ..MetricValueStatus::default()
    };
    Some((average / target, value))
}

fn quantity(amount: f64) -> Quantity {
    Quantity(format!("{:.0}m", amount * 1000.0))
}

/// The size that the ratio asks for.
fn proposal(current: i32, ratio: f64) -> i32 {
    if (ratio - 1.0).abs() <= TOLERANCE {
        current
    } else {
        (f64::from(current) * ratio).ceil() as i32
    }
}

/// Within the windows, the lowest of what was wanted bounds growth, and the highest bounds shrinking.
fn stabilise(current: i32, proposed: i32, ages: &[(Duration, i32)], up: Duration, down: Duration) -> i32 {
    let lately = |window: Duration| {
        ages.iter()
            .filter(move |(age, _)| *age <= window)
            .map(|(_, wanted)| *wanted)
    };
    let least = lately(up).min().unwrap_or(proposed).min(proposed);
    let most = lately(down).max().unwrap_or(proposed).max(proposed);
    if current < least {
        least
    } else if current > most {
        most
    } else {
        current
    }
}

/// The default policy of growth: twice the size, or four pods more, whichever is more.
fn most_up(current: i32) -> i32 {
    (current * 2).max(current + 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(ready: bool, used: Option<f64>) -> Measured {
        Measured {
            ready,
            request: 1.0,
            used,
        }
    }

    fn ratio(pods: &[Measured]) -> f64 {
        utilisation_ratio(pods, 50.0).unwrap().0
    }

    #[test]
    fn the_size_follows_the_ratio_outside_the_tolerance() {
        assert_eq!(proposal(4, 1.09), 4);
        assert_eq!(proposal(4, 1.2), 5);
        assert_eq!(proposal(4, 0.5), 2);
        assert_eq!(ratio(&[pod(true, Some(0.75)), pod(true, Some(0.75))]), 1.5);
    }

    #[test]
    fn pods_that_are_not_ready_temper_growth() {
        let tempered = ratio(&[pod(true, Some(0.75)), pod(true, Some(0.75)), pod(false, None)]);
        assert_eq!(tempered, 1.0);
        assert_eq!(utilisation_ratio(&[pod(false, None)], 50.0), None);
    }

    #[test]
    fn pods_without_requests_cannot_be_judged() {
        let mut unset = pod(true, Some(0.5));
        unset.request = 0.0;
        assert_eq!(utilisation_ratio(&[unset], 50.0), None);
    }

    #[test]
    fn shrinking_waits_for_the_window() {
        let minute = Duration::from_secs(60);
        let ages = [(minute * 4, 6), (Duration::ZERO, 2)];
        assert_eq!(stabilise(6, 2, &ages, Duration::ZERO, minute * 5), 6);
        assert_eq!(stabilise(6, 2, &ages[1..], Duration::ZERO, minute * 5), 2);
        assert_eq!(
            stabilise(
                6,
                9,
                &[(minute * 4, 6), (Duration::ZERO, 9)],
                Duration::ZERO,
                minute * 5
            ),
            9
        );
        assert_eq!(most_up(1), 5);
        assert_eq!(most_up(10), 20);
    }
}
