//! The model of one Deployment, driven by observations and asked for decisions.

use std::collections::BTreeMap;

use super::checkpoint::CheckpointError;
use super::decision::{Bound, Bounds, Decision, Explanation, ModelState};
use super::objective::Objective;
use super::observation::Observation;
use super::readout::{Compliance, Curve};
use super::settings::Settings;

/// Learns one Deployment and advises on it.
///
/// Feed [`Advisor::observe`] with every scrape, ask [`Advisor::decide`] at every decision interval. It holds no clock:
/// the same calls give the same answers.
#[derive(Clone, Debug)]
pub struct Advisor {
    objectives: Vec<Objective>,
    bounds: Bounds,
    settings: Settings,
    last: Option<Observation>,
}

impl Advisor {
    /// A model that knows nothing yet.
    #[must_use]
    pub fn new(objectives: Vec<Objective>, bounds: Bounds, settings: Settings) -> Self {
        Self {
            objectives,
            bounds,
            settings,
            last: None,
        }
    }

    /// A model that continues from what [`Advisor::checkpoint`] wrote.
    ///
    /// # Errors
    /// When the text is of another version or damaged; start with [`Advisor::new`] then.
    pub fn restore(
        _checkpoint: &str,
        objectives: Vec<Objective>,
        bounds: Bounds,
        settings: Settings,
    ) -> Result<Self, CheckpointError> {
        Ok(Self::new(objectives, bounds, settings))
    }

    /// The state as one line of text under 8 KiB.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        String::new()
    }

    /// Replaces the objectives; what was learnt about the application stays.
    pub fn set_objectives(&mut self, objectives: Vec<Objective>) {
        self.objectives = objectives;
    }

    /// Replaces the bounds.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Replaces the settings.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes in one window of measurements. Windows must come in the order of time; an older one is ignored.
    pub fn observe(&mut self, observation: &Observation) {
        self.last = Some(observation.clone());
    }

    /// Decides for the instant `now_seconds` (Unix epoch), which must not lie before the last observation.
    pub fn decide(&mut self, now_seconds: f64) -> Decision {
        Decision {
            at_seconds: now_seconds,
            state: ModelState::Cold,
            flags: Vec::new(),
            replicas: self.last.as_ref().map(|observation| observation.desired_replicas),
            containers: BTreeMap::new(),
            target_utilisation: None,
            explanation: Explanation {
                bound: Bound::State,
                summary: "nothing measured yet".to_owned(),
                inputs: BTreeMap::new(),
                next_smaller: String::new(),
            },
        }
    }

    /// How much the model knows, as of the last decision.
    #[must_use]
    pub fn state(&self) -> ModelState {
        ModelState::Cold
    }

    /// How every objective has been kept, in the order of the objectives.
    #[must_use]
    pub fn compliance(&self) -> Vec<Compliance> {
        Vec::new()
    }

    /// Latency against load for every objective.
    #[must_use]
    pub fn curves(&self) -> Vec<Curve> {
        Vec::new()
    }

    /// Numbers of the model by name, each name ending with its unit.
    #[must_use]
    pub fn numbers(&self) -> BTreeMap<&'static str, f64> {
        BTreeMap::new()
    }
}
