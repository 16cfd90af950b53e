//! The pure core: objectives, histograms, model and optimiser.
//!
//! Nothing here knows Kubernetes, a runtime or a clock: time comes in with each observation. The operator and the
//! benchmark drive the same code.

pub mod advisor;
pub mod checkpoint;
pub mod decision;
pub mod histogram;
pub mod objective;
pub mod observation;
pub mod readout;
pub mod settings;
pub mod units;

pub use advisor::Advisor;
pub use settings::Settings;
