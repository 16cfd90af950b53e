//! What an Envoy sidecar counts, out of its exposition.

use crate::core::histogram::Histogram;

/// The counters of a sidecar as they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Response times of the requests that ended since the sidecar started.
    pub latency: Histogram,
    /// Requests that began since then.
    pub arrivals: Option<u64>,
    /// Requests that ended with a server error since then.
    pub failures: u64,
}

/// Reads the counters out of an exposition.
///
/// # Errors
/// When it does not hold the response times of requests.
pub fn read(_exposition: &[u8]) -> Result<Reading, super::client::ScrapeError> {
    Err(super::client::ScrapeError::Exposition("not read yet".to_owned()))
}
