//! HorizontalPodAutoscalers.

use super::{Metadata, Owner, Text, view};
use crate::reader::quick;

view! {
    /// A HorizontalPodAutoscaler.
    HorizontalPodAutoscaler {
        /// Metadata.
        metadata: Metadata<'a>,
        /// Spec.
        spec: AutoscalerSpec<'a>,
    }
}

view! {
    /// What an autoscaler does.
    AutoscalerSpec {
        /// What it scales.
        scale_target_ref: Owner<'a>,
        /// Least replicas, 1 when absent.
        min_replicas: i64,
        /// Most replicas.
        max_replicas: i64,
        /// What it looks at.
        metrics: Vec<AutoscalerMetric<'a>>,
    }
}

view! {
    /// A metric of an autoscaler.
    AutoscalerMetric {
        /// A resource of the whole pod.
        resource: ResourceMetric<'a>,
        /// A resource of one container.
        container_resource: ResourceMetric<'a>,
    }
}

view! {
    /// A resource and its target.
    ResourceMetric {
        /// `cpu` or `memory`.
        name: Text<'a>,
        /// Container, where it is about one.
        container: Text<'a>,
        /// Target.
        target: ResourceTarget<'a>,
    }
}

view! {
    /// The target of a resource.
    ResourceTarget {
        /// Percent of the request.
        average_utilization: i64,
    }
}
