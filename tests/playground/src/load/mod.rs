//! An open-loop load generator: requests arrive when the shape says so, whether earlier ones were answered or not.

mod arrivals;
mod client;
mod endpoints;
mod generator;
mod histogram;
mod options;
mod report;
mod shape;

pub use endpoints::{of_host, of_service};
pub use generator::{Generator, Protocol, Settings};
pub use histogram::Histogram;
pub use options::LoadOptions;
pub use report::{Report, Window};
pub use shape::Shape;
