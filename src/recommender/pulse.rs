//! Whether a loop still turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The pulse of a loop that is taken for dead once it has not beaten for a while. Clones are of the same loop.
#[derive(Clone, Debug)]
pub struct Pulse {
    last: Arc<Mutex<Instant>>,
    patience: Duration,
}

impl Pulse {
    /// Beats now, and has to again within `patience`.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self {
            last: Arc::new(Mutex::new(Instant::now())),
            patience,
        }
    }

    /// The loop got on: a round ended, or one of many requests in it, which are all bounded in time.
    pub fn beat(&self) {
        *self.last.lock() = Instant::now();
    }

    /// Whether it beat lately.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.last.lock().elapsed() < self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_alive_while_it_beats() {
        let pulse = Pulse::new(Duration::ZERO);
        assert!(!pulse.is_alive());
        let pulse = Pulse::new(Duration::from_secs(3600));
        *pulse.last.lock() = Instant::now()
            .checked_sub(Duration::from_secs(7200))
            .unwrap_or_else(Instant::now);
        let clone = pulse.clone();
        pulse.beat();
        assert!(clone.is_alive());
    }
}
