//! The sample application: the simulated application of [`crate::application`] behind a real HTTP server, in real time.

mod options;
mod server;
mod worker;

pub use options::{ApplicationOptions, duration};
pub use server::{Listen, serve};
pub use worker::{Adjustment, Worker};
