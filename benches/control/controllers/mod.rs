//! The controllers that are compared.

mod autothrottle;
mod hpa;
mod k8s_cpu;
mod latency_hpa;
mod oracle;
mod reactive;
mod valence;
mod vpa;

pub use autothrottle::{Autothrottle, Tower, train};
pub use hpa::{Hpa, HpaSettings};
pub use k8s_cpu::KubernetesCpu;
pub use latency_hpa::LatencyHpa;
pub use oracle::Oracle;
pub use reactive::Reactive;
pub use valence::{Coverage, Valence};
pub use vpa::{Vpa, VpaControls};

use crate::cluster::World;

/// Most replicas that anybody may ask for: more than any load of the suite needs.
pub const MOST_REPLICAS: u32 = 5000;

/// CPU that a sidecar requests until more is known of it, in cores: what the webhook gives it.
pub const SIDECAR_REQUEST: f64 = 0.05;

/// Something that scales the Deployment.
pub trait Controller: Send {
    /// Time between two calls of [`Controller::act`], in seconds: a multiple of the tick.
    fn interval_seconds(&self) -> f64 {
        15.0
    }

    /// Time between two ticks of the world that it needs, in seconds.
    fn tick_seconds(&self) -> f64 {
        1.0
    }

    /// Looks at what can be measured and acts.
    fn act(&mut self, world: &mut World, now: f64);

    /// The replicas that a Deployment of `replicas` gets when its template changes, from whoever sees the change before it is
    /// written: most see it afterwards.
    fn admit(&self, replicas: u32) -> u32 {
        replicas
    }

    /// How the bound of latency has held, for a controller that has one.
    fn coverage(&self) -> Option<Coverage> {
        None
    }
}
