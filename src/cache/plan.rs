//! The plan that admission writes, out of the status of a Recommendation.

use valence_webhook::{ContainerResources, Plan, names};

use crate::api::quantity;
use crate::api::recommendation::{ContainerRecommendation, RecommendationStatus};

/// The plan of a status; `None` where nothing was decided yet.
#[must_use]
pub fn from_status(status: &RecommendationStatus) -> Option<Plan> {
    if status.replicas.is_none() && status.containers.is_empty() {
        return None;
    }
    let mut plan = Plan {
        replicas: status.replicas.and_then(|replicas| u32::try_from(replicas).ok()),
        // Where it is not live, the replicas are the user's own.
        original_replicas: status
            .original
            .as_ref()
            .filter(|_| status.live)
            .and_then(|original| u32::try_from(original.replicas?).ok()),
        target_utilisation: status.target_utilisation,
        reason: status.reason.clone(),
        ..Plan::default()
    };
    for container in &status.containers {
        if container.name == names::SIDECAR_CONTAINER {
            plan.sidecar = Some(resources(container));
        } else {
            plan.containers.insert(container.name.clone(), resources(container));
        }
    }
    Some(plan)
}

fn resources(container: &ContainerRecommendation) -> ContainerResources {
    let cpu = |text: &Option<String>| text.as_deref().and_then(quantity::millicores);
    let memory = |text: &Option<String>| text.as_deref().and_then(quantity::bytes);
    ContainerResources {
        cpu_request_millicores: cpu(&container.requests.cpu),
        cpu_limit_millicores: cpu(&container.limits.cpu),
        memory_request_bytes: memory(&container.requests.memory),
        memory_limit_bytes: memory(&container.limits.memory),
        memory_in_use_bytes: memory(&container.memory_in_use),
    }
}
