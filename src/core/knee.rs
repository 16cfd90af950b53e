//! Room for bursts inside one period of the CFS bandwidth controller.
//!
//! A container with a CPU limit of l cores may use l * 0.1 core-seconds in each period of 100 ms and then stands still until
//! the next (Turner, Rao and Rao, "CPU bandwidth control for CFS", Linux Symposium 2010; kernel documentation
//! `scheduler/sched-bwc`). Requests come as a Poisson stream, so the work that arrives in a period has, by Campbell's
//! theorem, mean x * 0.1 and variance lambda * 0.1 * E[S^2]. The limit must hold that mean and some standard deviations.

/// The period of the CFS bandwidth controller, in seconds.
pub const PERIOD_SECONDS: f64 = 0.1;

/// E[S^2] / E[S]^2 assumed of the CPU time of a request: that of an exponential law, wider than most services.
const SECOND_MOMENT: f64 = 2.0;

/// Standard deviations of room that no size does without; what lies between this and no throttling at all is priced by the
/// latency curve, which has a term for it.
pub const DEVIATIONS: f64 = 1.0;

/// The stream of work into one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stream {
    /// Requests per second.
    pub load: f64,
    /// CPU of a request in core-seconds.
    pub per_request: f64,
    /// Cores used on average.
    pub used: f64,
}

impl Stream {
    /// Standard deviation of the cores asked for over one period.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        (self.load * SECOND_MOMENT / PERIOD_SECONDS).max(0.0).sqrt() * self.per_request
    }

    /// The least limit in cores that leaves room for `deviations` standard deviations.
    #[must_use]
    pub fn least_limit(&self, deviations: f64) -> f64 {
        self.used + deviations * self.deviation()
    }

    /// About the share of periods in which a limit of `limit` cores throttles: the tail of a normal distribution.
    #[must_use]
    pub fn throttled_share(&self, limit: f64) -> f64 {
        let deviation = self.deviation();
        if deviation <= 0.0 {
            f64::from(self.used >= limit)
        } else {
            normal_tail((limit - self.used) / deviation)
        }
    }
}

/// P(Z > z) of a standard normal variable, by the logistic approximation of Bowling et al. (J. Industrial Engineering
/// and Management 2(1), 2009; error under 2e-4).
fn normal_tail(z: f64) -> f64 {
    1.0 / (1.0 + (0.07056 * z.powi(3) + 1.5976 * z).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pods_need_relatively_more_room() {
        let ratio = |load: f64| {
            let stream = Stream {
                load,
                per_request: 0.01,
                used: load * 0.01,
            };
            stream.least_limit(2.0) / stream.used
        };
        assert!(ratio(10.0) > ratio(100.0) && ratio(100.0) > ratio(1000.0));
        // 100/s of 10 ms: one core; deviation sqrt(100 * 2 / 0.1) * 0.01 = 0.447.
        assert!((ratio(100.0) - 1.894).abs() < 0.001, "{}", ratio(100.0));
    }

    #[test]
    fn the_normal_tail_of_known_values() {
        for (z, expected) in [(0.0, 0.5), (1.0, 0.158_66), (1.645, 0.05), (2.326, 0.01)] {
            assert!((normal_tail(z) - expected).abs() < 2e-4, "{z}");
        }
    }

    #[test]
    fn a_limit_below_the_use_always_throttles() {
        let idle = Stream {
            load: 0.0,
            per_request: 0.0,
            used: 0.5,
        };
        assert!(idle.throttled_share(0.4) > 0.99 && idle.throttled_share(0.6) < 0.01);
    }
}
