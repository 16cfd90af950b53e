//! The pure core: objectives, histograms, model and optimiser.
//!
//! Nothing here knows Kubernetes, a runtime or a clock: time comes in with each observation. The operator and the
//! benchmark drive the same code.

pub mod advisor;
pub mod beta;
pub mod checkpoint;
pub mod conformal;
pub mod context;
pub mod decision;
pub mod demand;
pub mod evidence;
pub mod explain;
pub mod forecast;
pub mod histogram;
pub mod knee;
pub mod latency;
pub mod memory;
pub mod model;
pub mod objective;
pub mod observation;
pub mod optimiser;
pub mod pace;
pub mod planner;
pub mod profile;
pub mod reaction;
pub mod readout;
pub mod reason;
pub mod safety;
pub mod settings;
pub mod sizing;
pub mod smaller;
pub mod starting;
pub mod state;
pub mod tracker;
pub mod units;
pub mod window;

pub use advisor::Advisor;
pub use settings::Settings;

#[cfg(test)]
mod closed_loop;
#[cfg(test)]
mod toy;
