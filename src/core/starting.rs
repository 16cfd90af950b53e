//! How long a pod takes to start, learnt from those that did.

use serde::{Deserialize, Serialize};

use super::observation::Observation;

/// Start time assumed before one was seen, in seconds.
const UNKNOWN_SECONDS: f64 = 45.0;

/// Faded mean and deviation of the time from creation to readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Starting {
    mean: f64,
    deviation: f64,
    seen: f64,
    /// Readiness of the newest pod counted, in seconds since the Unix epoch.
    counted_until: f64,
}

impl Starting {
    /// Learns from pods that became ready since the last observation.
    pub fn learn(&mut self, observation: &Observation) {
        let from = self.counted_until;
        for pod in &observation.pods {
            let Some(ready) = pod.ready_at_seconds.filter(|&ready| ready > from) else {
                continue;
            };
            self.take((ready - pod.created_at_seconds).clamp(0.0, 900.0));
            self.counted_until = self.counted_until.max(ready);
        }
    }

    /// The clock was set back to `now`: pods that become ready from now on are counted.
    pub fn not_after(&mut self, now: f64) {
        self.counted_until = self.counted_until.min(now);
    }

    /// A start time in seconds that most pods stay within: the mean and one deviation.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        if self.seen < 1.0 {
            UNKNOWN_SECONDS
        } else {
            self.mean + self.deviation
        }
    }

    fn take(&mut self, seconds: f64) {
        self.seen += 1.0;
        let step = (1.0 / self.seen).max(0.1);
        self.deviation += step
            * ((seconds - self.mean)
                .abs()
                .min(if self.seen < 2.0 { 5.0 } else { 900.0 })
                - self.deviation);
        self.mean += step * (seconds - self.mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_within_a_few_starts() {
        let mut starting = Starting::default();
        assert!((starting.seconds() - UNKNOWN_SECONDS).abs() < 1e-9);
        [30.0, 34.0, 28.0, 32.0]
            .into_iter()
            .for_each(|seconds| starting.take(seconds));
        assert!((30.0..38.0).contains(&starting.seconds()), "{}", starting.seconds());
    }
}
