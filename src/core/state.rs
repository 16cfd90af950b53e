//! How much the model knows, as one word.

use super::decision::ModelState;

/// What the state is judged from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knowledge {
    /// Whether anything was measured.
    pub measured: bool,
    /// Whether measurements are missing now.
    pub blind: bool,
    /// Whether two steps of more capacity did not help.
    pub unattainable: bool,
    /// Whether the application changed and too little was seen since.
    pub drifting: bool,
    /// Time since the first measurement, in seconds.
    pub learnt_seconds: f64,
    /// Least of that time before anything may shrink, in seconds.
    pub least_seconds: f64,
    /// Whether the demand is known.
    pub demand: bool,
    /// Whether every objective has been certified at some utilisation and its bound been checked.
    pub checked: bool,
}

impl Knowledge {
    /// The state; what forbids most comes first.
    #[must_use]
    pub fn state(&self) -> ModelState {
        if !self.measured {
            ModelState::Cold
        } else if self.blind {
            ModelState::MetricsMissing
        } else if self.unattainable {
            ModelState::Unattainable
        } else if self.drifting {
            ModelState::Drift
        } else if self.learnt_seconds >= self.least_seconds && self.demand && self.checked {
            ModelState::Confident
        } else {
            ModelState::Learning
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Knowledge = Knowledge {
        measured: true,
        blind: false,
        unattainable: false,
        drifting: false,
        learnt_seconds: 500.0,
        least_seconds: 120.0,
        demand: true,
        checked: true,
    };

    #[test]
    fn every_state_is_reached() {
        let cases = [
            (KNOWN, ModelState::Confident),
            (
                Knowledge {
                    measured: false,
                    blind: true,
                    ..KNOWN
                },
                ModelState::Cold,
            ),
            (
                Knowledge {
                    blind: true,
                    drifting: true,
                    ..KNOWN
                },
                ModelState::MetricsMissing,
            ),
            (
                Knowledge {
                    unattainable: true,
                    ..KNOWN
                },
                ModelState::Unattainable,
            ),
            (
                Knowledge {
                    drifting: true,
                    ..KNOWN
                },
                ModelState::Drift,
            ),
            (
                Knowledge {
                    checked: false,
                    ..KNOWN
                },
                ModelState::Learning,
            ),
            (
                Knowledge {
                    learnt_seconds: 60.0,
                    ..KNOWN
                },
                ModelState::Learning,
            ),
            (Knowledge { demand: false, ..KNOWN }, ModelState::Learning),
        ];
        for (knowledge, state) in cases {
            assert_eq!(knowledge.state(), state);
        }
    }
}
