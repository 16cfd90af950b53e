//! The admission webhook of Valence.

pub mod envoy;
pub mod plans;
pub use plans::{ContainerResources, LatencyObjective, Plan, Plans, names};
