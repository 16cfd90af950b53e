//! What goes out: metrics for Prometheus, and the board that the page and StatsD read.

pub mod events;
pub mod metrics;
pub mod page;
mod serve;
pub mod statsd;
pub mod status;
pub mod words;

pub use serve::BOUNDS as CONNECTIONS;
