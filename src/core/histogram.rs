//! Response times as bucket counts: the only form in which windows and pods may be added up.

use std::sync::Arc;

/// Counts of response times by bucket, not cumulative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets in seconds, ascending, without the last, infinite one.
    pub upper_bounds_seconds: Arc<[f64]>,
    /// Requests in each bucket; one longer than the bounds, the last is everything beyond.
    pub counts: Vec<u64>,
}
