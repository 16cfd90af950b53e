//! The model of one Deployment, driven by observations and asked for decisions.

use std::collections::BTreeMap;

use super::checkpoint::{self, CheckpointError};
use super::context::Context;
use super::decision::{Bounds, Decision, ModelState};
use super::model::Model;
use super::objective::Objective;
use super::observation::Observation;
use super::planner::Planner;
use super::readout::{self, Compliance, Curve};
use super::settings::Settings;
use super::tracker::Tracker;

/// How far what was noted lies ahead of a window when the clock was set back since, in seconds.
const SET_BACK_SECONDS: f64 = 60.0;

/// Learns one Deployment and advises on it.
///
/// Feed [`Advisor::observe`] with every scrape, ask [`Advisor::decide`] at every decision interval. It holds no clock:
/// the same calls give the same answers.
#[derive(Clone, Debug)]
pub struct Advisor {
    objectives: Vec<Objective>,
    bounds: Bounds,
    settings: Settings,
    model: Model,
    planner: Planner,
}

impl Advisor {
    /// A model that knows nothing yet.
    #[must_use]
    pub fn new(objectives: Vec<Objective>, bounds: Bounds, settings: Settings) -> Self {
        let trackers = objectives.iter().map(|_| Tracker::default()).collect();
        let model = Model {
            trackers,
            ..Model::default()
        };
        Self {
            objectives,
            bounds,
            settings,
            model,
            planner: Planner::default(),
        }
    }

    /// A model that continues from what [`Advisor::checkpoint`] wrote.
    ///
    /// # Errors
    /// When the text is of another version or damaged; start with [`Advisor::new`] then.
    pub fn restore(
        checkpoint: &str,
        objectives: Vec<Objective>,
        bounds: Bounds,
        settings: Settings,
    ) -> Result<Self, CheckpointError> {
        let (model, planner) = checkpoint::read(checkpoint, &objectives)?;
        Ok(Self {
            objectives,
            bounds,
            settings,
            model,
            planner,
        })
    }

    /// The state as one line of text under 8 KiB.
    #[must_use]
    pub fn checkpoint(&self) -> String {
        checkpoint::write(&self.model, &self.planner, &self.objectives)
    }

    /// Replaces the objectives; what was learnt about the application stays.
    pub fn set_objectives(&mut self, objectives: Vec<Objective>) {
        if objectives != self.objectives {
            self.model.match_objectives(&self.objectives, &objectives);
            self.objectives = objectives;
        }
    }

    /// Replaces the bounds.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Takes in one window of measurements. Windows must come in the order of time; an older one is ignored, unless by so much
    /// that the clock must have been set back.
    pub fn observe(&mut self, observation: &Observation) {
        let at = observation.at_seconds;
        if self.model.latest().max(self.planner.latest()) > at + SET_BACK_SECONDS {
            self.model.not_after(at);
            self.planner.not_after(at);
        }
        if self.model.observe(observation, &self.objectives, &self.settings) {
            self.planner.drift();
        }
    }

    /// Decides for the instant `now_seconds` (Unix epoch), which must not lie before the last observation.
    pub fn decide(&mut self, now_seconds: f64) -> Decision {
        self.model.recent.expire(now_seconds);
        let context = Context::new(&self.model, &self.objectives, &self.bounds, &self.settings, now_seconds);
        let violated = context.violated;
        let decision = self.planner.decide(&context);
        self.model.suspended = violated && self.planner.reaction.active() && !self.model.is_new(now_seconds);
        decision
    }

    /// How much the model knows, as of the last decision.
    #[must_use]
    pub fn state(&self) -> ModelState {
        self.planner.state.unwrap_or(ModelState::Cold)
    }

    /// Seconds of learning since the first window, or since the application last changed; 0 before either.
    #[must_use]
    pub fn learnt_seconds(&self, now_seconds: f64) -> f64 {
        if self.model.since <= 0.0 {
            return 0.0;
        }
        (now_seconds - self.model.since.max(self.model.drift_at)).max(0.0)
    }

    /// How every objective has been kept, in the order of the objectives.
    #[must_use]
    pub fn compliance(&self) -> Vec<Compliance> {
        readout::compliance(&self.model, &self.objectives)
    }

    /// Latency against load for every objective.
    #[must_use]
    pub fn curves(&self) -> Vec<Curve> {
        readout::curves(&self.model, &self.objectives, &self.settings)
    }

    /// Numbers of the model by name, each name ending with its unit.
    #[must_use]
    pub fn numbers(&self) -> BTreeMap<&'static str, f64> {
        readout::numbers(&self.model, &self.settings)
    }
}
