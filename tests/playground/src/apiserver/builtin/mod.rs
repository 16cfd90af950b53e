//! What Kubernetes knows about its own kinds: defaults, what the server fills in, and what it refuses.

mod defaults;
mod names;
mod pods;
mod resources;
mod services;
mod strategy;
mod validation;

pub(crate) use defaults::defaults;
pub(crate) use resources::{PodRequirements, pod_requirements, qos_class, quantities};
pub(crate) use strategy::{decode_secret_strings, has_generation, prepare_create, prepare_update};
pub(crate) use validation::{validate_create, validate_metadata, validate_update};
