//! The simulated cluster: one Deployment, its pods on shared nodes, its load balancer and the metrics of it.

mod deployment;
mod member;
mod metrics;
mod record;
mod world;

pub use deployment::{Size, Vertical};
pub use member::{Member, Phase};
pub use record::Record;
pub use world::{World, WorldSettings};
