//! Whether a pod carries what it should.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::ResourceExt;

use crate::core::decision::Decision;
use crate::core::observation::Resources;
use crate::core::units::{Bytes, Cores};
use crate::scrape::pods;

/// CPU may differ by the rounding to thousandths.
const SAME_CORES: f64 = 0.001;

/// What is in force may differ from what is asked for by this share, and by so many cores, as the kubelet counts in
/// shares and periods.
const ROUNDING: f64 = 0.05;
const LEAST_CORES: f64 = 0.01;

/// Memory may differ by the rounding to mebibytes.
const SAME_BYTES: u64 = 1 << 20;

/// Whether a pod asks for other values than the plan has.
pub fn differs(pod: &Pod, decision: &Decision) -> bool {
    let other = |(name, asked)| decision.containers.get(name).is_some_and(|wanted| !same(asked, wanted));
    asked_for(pod).iter().any(other)
}

fn same(asked: &Resources, wanted: &Resources) -> bool {
    same_cpu(asked.cpu_request, wanted.cpu_request)
        && same_cpu(asked.cpu_limit, wanted.cpu_limit)
        && same_memory(asked.memory_request, wanted.memory_request)
        && same_memory(asked.memory_limit, wanted.memory_limit)
}

fn same_cpu(asked: Option<Cores>, wanted: Option<Cores>) -> bool {
    wanted.is_none_or(|wanted| asked.is_some_and(|asked| (asked.0 - wanted.0).abs() < SAME_CORES))
}

fn same_memory(asked: Option<Bytes>, wanted: Option<Bytes>) -> bool {
    wanted.is_none_or(|wanted| asked.is_some_and(|asked| asked.0.abs_diff(wanted.0) <= SAME_BYTES))
}

/// What the containers of a pod ask for.
pub fn asked_for(pod: &Pod) -> BTreeMap<String, Resources> {
    pods::asked_for(pods::running_containers(pod))
}

/// Whether the kubelet said that the node cannot ever hold the size that the pod asks for now. Where it does not say which
/// size it judged, and the pod was `just_asked`, it may have been the one before.
pub fn is_infeasible(pod: &Pod, just_asked: bool) -> bool {
    pending(pod, "Infeasible").is_some_and(|condition| condition.observed_generation.is_some() || !just_asked)
}

/// A resize that the kubelet put off, or refused, for a reason. What it said about an older size does not count.
fn pending<'p>(pod: &'p Pod, reason: &str) -> Option<&'p PodCondition> {
    let condition = pods::condition(pod, "PodResizePending").filter(|condition| condition.status == "True")?;
    let is_old = condition
        .observed_generation
        .zip(pod.metadata.generation)
        .is_some_and(|(seen, now)| seen < now);
    (condition.reason.as_deref() == Some(reason) && !is_old).then_some(condition)
}

/// For how long the kubelet has put off the size that the pod asks for now, because its node has no room for it.
pub fn deferred_seconds(pod: &Pod, now_seconds: f64) -> Option<f64> {
    let since = pending(pod, "Deferred")?.last_transition_time.as_ref();
    Some(since.map_or(0.0, |time| (now_seconds - time.0.as_second() as f64).max(0.0)))
}

/// What keeps a size that was asked for from being in force: a reason in a word, and in a sentence.
pub fn unsettled(pod: &Pod, now_seconds: f64) -> Option<(&'static str, String)> {
    let name = pod.name_any();
    if let Some(seconds) = deferred_seconds(pod, now_seconds) {
        let message = format!(
            "{name} waits for room on its node, for {:.0} minutes",
            (seconds / 60.0).floor()
        );
        return Some(("ResizeDeferred", message));
    }
    let in_progress = pods::condition(pod, "PodResizeInProgress").filter(|condition| condition.status == "True");
    match in_progress {
        Some(condition) if condition.reason.as_deref() == Some("Error") => {
            let message = condition.message.clone().unwrap_or_default();
            Some(("ResizeFails", format!("{name} is not resized: {message}")))
        }
        Some(_) => Some(("Resizing", format!("{name} is being resized"))),
        None => lags(pod).then(|| ("Resizing", format!("{name} runs with other values than it asks for"))),
    }
}

/// Whether the kubelet reports other values in force than the pod asks for, by more than it may have rounded.
fn lags(pod: &Pod) -> bool {
    let in_force = pods::resources(pod);
    let lags = |(name, asked)| in_force.get(name).is_some_and(|in_force| lag(in_force, asked));
    asked_for(pod).iter().any(lags)
}

fn lag(in_force: &Resources, asked: &Resources) -> bool {
    let cpu = |cpu: Option<Cores>| cpu.map(|cpu| cpu.0);
    let bytes = |memory: Option<Bytes>| memory.map(|memory| memory.0 as f64);
    let cpu = |of: fn(&Resources) -> Option<Cores>| apart(cpu(of(in_force)), cpu(of(asked)), LEAST_CORES);
    let memory = |of: fn(&Resources) -> Option<Bytes>| apart(bytes(of(in_force)), bytes(of(asked)), SAME_BYTES as f64);
    cpu(|of| of.cpu_request) || cpu(|of| of.cpu_limit) || memory(|of| of.memory_request) || memory(|of| of.memory_limit)
}

fn apart(a: Option<f64>, b: Option<f64>, least: f64) -> bool {
    a.zip(b).is_some_and(|(a, b)| (a - b).abs() > (b * ROUNDING).max(least))
}

/// Whether a container of the pod was last ended for lack of memory, or whether it finds no node: other values may let it
/// start.
pub fn may_be_cured(pod: &Pod) -> bool {
    pods::restarts(pod).any(|(_, _, for_memory)| for_memory) || !pods::has_node(pod)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resources(cpu: f64, memory: u64) -> Resources {
        Resources {
            cpu_request: Some(Cores(cpu)),
            memory_request: Some(Bytes(memory)),
            ..Resources::default()
        }
    }

    #[test]
    fn roundings_are_no_difference() {
        let wanted = resources(0.2503, (300 << 20) - 5);
        assert!(same(&resources(0.251, 300 << 20), &wanted));
        assert!(!same(&resources(0.26, 300 << 20), &wanted));
        assert!(!same(&resources(0.251, 310 << 20), &wanted));
        assert!(!same(&Resources::default(), &wanted));
        assert!(
            same(&resources(9.0, 1), &Resources::default()),
            "what the plan leaves open may be anything"
        );
    }
}
