//! Time that does not run backwards.

use std::time::Instant;

use jiff::Timestamp;

/// Seconds since the Unix epoch as of the start of the process, counted on by the monotonic clock.
///
/// A wall clock that jumps back would make every new measurement look older than the last.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch_seconds: f64,
    origin: Instant,
}

impl Clock {
    /// Starts from the wall clock.
    #[must_use]
    pub fn start() -> Self {
        Self {
            epoch_seconds: Timestamp::now().as_millisecond() as f64 / 1000.0,
            origin: Instant::now(),
        }
    }

    /// Now, in seconds since the Unix epoch.
    #[must_use]
    pub fn now_seconds(&self) -> f64 {
        self.epoch_seconds + self.origin.elapsed().as_secs_f64()
    }
}
