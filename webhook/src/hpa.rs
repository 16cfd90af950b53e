//! HorizontalPodAutoscalers.

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget};

use crate::amounts::Kind;
use crate::workload::Workload;

/// Whether an autoscaler that is not ours to manage counts in the requests of a container: then they stay as they are.
#[must_use]
pub fn reads_utilisation(workload: &Workload<'_>, kind: Kind, container: &str) -> bool {
    if workload.wishes.manage_horizontal {
        return false;
    }
    let metrics = workload
        .horizontal
        .iter()
        .filter_map(|autoscaler| autoscaler.spec.metrics.as_ref());
    metrics.flatten().any(|metric| reads(metric, kind, container))
}

fn reads(metric: &MetricSpec, kind: Kind, container: &str) -> bool {
    let is_utilisation = |target: &MetricTarget| target.type_ == "Utilization";
    let whole = metric
        .resource
        .as_ref()
        .is_some_and(|resource| resource.name == kind.name() && is_utilisation(&resource.target));
    let own = metric.container_resource.as_ref().is_some_and(|resource| {
        resource.name == kind.name() && resource.container == container && is_utilisation(&resource.target)
    });
    whole || own
}
