//! The sample application behind a real HTTP server: the simulated application of [`crate::application`] in real time, or
//! one that really works.

mod burner;
mod options;
mod server;
mod work;
mod worker;

pub use burner::Burner;
pub use options::{ApplicationOptions, duration};
pub use server::{Listen, serve};
pub use work::Work;
pub use worker::{Adjustment, Worker};
