//! Whether a pod carries what it should.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::core::decision::Decision;
use crate::core::observation::{PodPhase, Resources};
use crate::core::units::{Bytes, Cores};
use crate::recommender::subjects::Matched;
use crate::scrape::pods;

/// CPU may differ by the rounding to thousandths.
const SAME_CORES: f64 = 0.001;

/// Memory may differ by the rounding to mebibytes.
const SAME_BYTES: u64 = 1 << 20;

/// Whether a pod is of the template in force; others will be replaced by the rollout anyway.
pub fn is_current(pod: &Pod, matched: &Matched) -> bool {
    pod.labels()
        .get("pod-template-hash")
        .is_none_or(|template| *template == matched.subject.template)
}

/// Whether a pod asks for other values than the plan has.
pub fn differs(pod: &Pod, decision: &Decision) -> bool {
    pods::running_containers(pod).any(|container| {
        let asked = container
            .resources
            .as_ref()
            .map(pods::of_requirements)
            .unwrap_or_default();
        decision
            .containers
            .get(&container.name)
            .is_some_and(|wanted| !same(&asked, wanted))
    })
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

/// The resources of a plan, to be compared.
pub fn plan_of(decision: &Decision) -> Vec<(String, Resources)> {
    decision
        .containers
        .iter()
        .map(|(name, resources)| (name.clone(), *resources))
        .collect()
}

/// What the containers of a pod ask for.
pub fn asked_for(pod: &Pod) -> Vec<(String, Resources)> {
    pods::running_containers(pod)
        .map(|container| {
            (
                container.name.clone(),
                container
                    .resources
                    .as_ref()
                    .map(pods::of_requirements)
                    .unwrap_or_default(),
            )
        })
        .collect()
}

/// Whether the kubelet said that the node cannot hold the size that was asked for.
pub fn is_infeasible(pod: &Pod) -> bool {
    let pending = pods::condition(pod, "PodResizePending");
    pending.is_some_and(|pending| pending.status == "True" && pending.reason.as_deref() == Some("Infeasible"))
}

/// Ready pods without a sidecar, of a template that other pods carry one with.
pub fn slipped(matched: &Matched) -> impl Iterator<Item = &Pod> {
    let current = || {
        matched
            .subject
            .pods
            .iter()
            .map(AsRef::as_ref)
            .filter(|pod| is_current(pod, matched))
    };
    let siblings_carry_it = current().any(|pod| pods::metrics_port(pod).is_some());
    current().filter(move |pod| {
        siblings_carry_it && pods::metrics_port(pod).is_none() && pods::phase(pod, 0.0) == PodPhase::Ready
    })
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
