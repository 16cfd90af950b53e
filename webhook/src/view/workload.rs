//! Deployments and their scale.

use super::{Metadata, Pod, PortReference, Text, view};
use crate::reader::quick;

view! {
    /// A Deployment.
    Deployment {
        /// Metadata.
        metadata: Metadata<'a>,
        /// Spec.
        spec: DeploymentSpec<'a>,
        /// Status.
        status: DeploymentStatus<'a>,
    }
}

view! {
    /// What a Deployment wants.
    DeploymentSpec {
        /// Replicas.
        replicas: i64,
        /// Whether rollouts are held back.
        paused: bool,
        /// How pods are replaced.
        strategy: DeploymentStrategy<'a>,
        /// The template of its pods.
        template: Pod<'a>,
    }
}

view! {
    /// How a Deployment replaces its pods.
    DeploymentStrategy {
        /// `RollingUpdate` or `Recreate`.
        type_ = "type": Text<'a>,
        /// How many at a time.
        rolling_update: RollingUpdate<'a>,
    }
}

view! {
    /// How many pods are replaced at a time.
    RollingUpdate {
        /// How many may be missing: a number, or a percentage as text.
        max_unavailable: PortReference<'a>,
        /// How many may exist beyond the replicas.
        max_surge: PortReference<'a>,
    }
}

view! {
    /// How far a Deployment is.
    DeploymentStatus {
        /// Pods of every revision.
        replicas: i64,
        /// Pods of the newest revision.
        updated_replicas: i64,
        /// The generation that the other numbers are of.
        observed_generation: i64,
    }
}

view! {
    /// The scale of something.
    Scale {
        /// Metadata: name and namespace of what is scaled, none of its labels.
        metadata: Metadata<'a>,
        /// Spec.
        spec: ScaleSpec<'a>,
    }
}

view! {
    /// What a scale wants.
    ScaleSpec {
        /// Replicas; absent when 0.
        replicas: i64,
    }
}
