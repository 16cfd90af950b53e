//! The controllers that are compared.

mod autothrottle;
mod hpa;
mod k8s_cpu;
mod latency_hpa;
mod oracle;
mod valence;
mod vpa;

pub use autothrottle::{Autothrottle, Tower, train};
pub use hpa::{Hpa, HpaSettings};
pub use k8s_cpu::KubernetesCpu;
pub use latency_hpa::LatencyHpa;
pub use oracle::Oracle;
pub use valence::{Coverage, Valence};
pub use vpa::{Vpa, VpaControls};

use crate::cluster::World;

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

    /// How the bound of latency has held, for a controller that has one.
    fn coverage(&self) -> Option<Coverage> {
        None
    }
}
