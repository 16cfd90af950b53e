//! Deployments and their scale.

use super::{Metadata, Pod, view};
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
        /// The template of its pods.
        template: Pod<'a>,
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
