//! How many replicas a rollout needs, so that no pod that serves goes before its successor is ready.
//!
//! A rolling update takes `maxUnavailable` of the pods away at once, a quarter unless somebody says otherwise, and pods that are
//! kept busy cannot spare them. With a few more replicas from its first moment on the rollout has only those to take.

/// How a Deployment replaces its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All are stopped before the first successor starts.
    Recreate,
    /// A few at a time.
    Rolling {
        /// `maxUnavailable`: pods that may be missing.
        unavailable: Amount,
        /// `maxSurge`: pods that may exist beyond the replicas.
        surge: Amount,
    },
}

/// A number of pods, or a share of the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Pods(u32),
    /// Percent of the replicas.
    Percent(u32),
}

/// The default of Kubernetes.
impl Default for Rollout {
    fn default() -> Self {
        Self::Rolling {
            unavailable: Amount::DEFAULT,
            surge: Amount::DEFAULT,
        }
    }
}

impl Amount {
    /// The default of Kubernetes for both amounts.
    pub const DEFAULT: Self = Self::Percent(25);

    /// What a field says, a number or a percentage; `None` where it says neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(Self::Percent),
            None => text.parse().ok().map(Self::Pods),
        }
    }

    fn of(self, replicas: u32, round: impl Fn(u64) -> u64) -> u32 {
        match self {
            Self::Pods(pods) => pods,
            Self::Percent(percent) => round(u64::from(replicas) * u64::from(percent))
                .try_into()
                .unwrap_or(u32::MAX),
        }
    }
}

impl Rollout {
    /// Pods that a rollout lets be missing of `replicas`: a share is rounded down, that of the surge up, and where both come to
    /// nothing it is one, or the rollout could not begin (Kubernetes documentation, "Deployments", `maxUnavailable`).
    #[must_use]
    pub fn missing(self, replicas: u32) -> u32 {
        let Self::Rolling { unavailable, surge } = self else {
            return replicas;
        };
        let unavailable = unavailable.of(replicas, |hundredths| hundredths / 100);
        let surge = surge.of(replicas, |hundredths| hundredths.div_ceil(100));
        unavailable.max(u32::from(surge == 0)).min(replicas)
    }

    /// The least number of replicas of which `needed` stay in service during a rollout. Where it would take more than twice as
    /// many, whoever wrote that can do without them, and it is `needed` itself.
    #[must_use]
    pub fn with_headroom(self, needed: u32) -> u32 {
        (needed..=needed.saturating_mul(2))
            .find(|replicas| replicas - self.missing(*replicas) >= needed)
            .unwrap_or(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(unavailable: Amount, surge: Amount) -> Rollout {
        Rollout::Rolling { unavailable, surge }
    }

    #[test]
    fn a_quarter_may_be_missing_by_default_rounded_down() {
        let pairs = [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 5),
            (6, 7),
            (8, 10),
            (9, 11),
            (12, 15),
        ];
        for (needed, replicas) in pairs {
            assert_eq!(Rollout::default().with_headroom(needed), replicas, "of {needed}");
        }
    }

    #[test]
    fn numbers_are_added_and_without_a_surge_one_goes_at_least() {
        assert_eq!(rolling(Amount::Pods(2), Amount::Pods(1)).with_headroom(8), 10);
        assert_eq!(rolling(Amount::Pods(0), Amount::Pods(1)).with_headroom(8), 8);
        assert_eq!(rolling(Amount::Percent(9), Amount::Pods(0)).with_headroom(8), 9);
    }

    #[test]
    fn what_would_take_more_than_twice_as_many_is_left() {
        assert_eq!(Rollout::Recreate.with_headroom(8), 8);
        assert_eq!(rolling(Amount::Percent(100), Amount::Percent(25)).with_headroom(8), 8);
        assert_eq!(rolling(Amount::Percent(50), Amount::Percent(25)).with_headroom(8), 15);
    }

    #[test]
    fn the_least_number_that_leaves_enough() {
        for (percent, needed) in (0..=50).flat_map(|percent| (1..200).map(move |needed| (percent, needed))) {
            let rollout = rolling(Amount::Percent(percent), Amount::Percent(25));
            let replicas = rollout.with_headroom(needed);
            let left = |replicas: u32| replicas - rollout.missing(replicas);
            assert!(left(replicas) >= needed && (replicas == needed || left(replicas - 1) < needed));
        }
    }

    #[test]
    fn amounts_are_read_as_they_are_written() {
        let read = ["25%", "3", "", "x", "-1", "1.5%"].map(Amount::parse);
        assert_eq!(read[..2], [Some(Amount::Percent(25)), Some(Amount::Pods(3))]);
        assert_eq!(read[2..], [None; 4]);
    }
}
