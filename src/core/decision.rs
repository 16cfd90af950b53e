//! What the core answers: replicas, resources and why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use valence_webhook::Rollout;

use super::observation::Resources;
use super::units::{Bytes, Cores};

/// What the user allows, from the annotations of the Deployment and its PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Least replicas.
    pub min_replicas: Option<u32>,
    /// Most replicas.
    pub max_replicas: Option<u32>,
    /// Least and most of what the containers request, by name; one that is not named has none.
    pub containers: BTreeMap<String, ContainerBounds>,
    /// Whether a PodDisruptionBudget covers the pods, so that one replica could not be drained.
    pub disruption_budget: bool,
    /// How its pods are replaced when their template changes.
    pub rollout: Rollout,
    /// Whether decisions are applied to the Deployment; otherwise they are recommendations that pods do not follow.
    pub live: bool,
}

/// What the user allows one container to request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContainerBounds {
    /// Least CPU.
    pub min_cpu: Option<Cores>,
    /// Most CPU.
    pub max_cpu: Option<Cores>,
    /// Least memory.
    pub min_memory: Option<Bytes>,
    /// Most memory.
    pub max_memory: Option<Bytes>,
}

impl Bounds {
    /// What the container of this name may request.
    #[must_use]
    pub fn of(&self, container: &str) -> ContainerBounds {
        self.containers.get(container).copied().unwrap_or_default()
    }
}

impl ContainerBounds {
    /// `cores`, but no less than `least` and within the bounds.
    #[must_use]
    pub fn cpu(&self, cores: f64, least: f64) -> f64 {
        let most = self.max_cpu.map_or(f64::INFINITY, |cpu| cpu.0);
        cores.max(self.min_cpu.map_or(least, |cpu| cpu.0)).min(most.max(0.001))
    }

    /// `bytes` within the bounds.
    #[must_use]
    pub fn memory(&self, bytes: Bytes) -> Bytes {
        bytes
            .max(self.min_memory.unwrap_or_default())
            .min(self.max_memory.unwrap_or(Bytes(u64::MAX)))
    }
}

/// The decision about one Deployment at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When it was made, in seconds since the Unix epoch.
    pub at_seconds: f64,
    /// How much the model knows.
    pub state: ModelState,
    /// What else the reader should know.
    pub flags: Vec<Flag>,
    /// Replicas to run; `None` while unknown.
    pub replicas: Option<u32>,
    /// Requests and limits by container name, the sidecar among them once it is known.
    pub containers: BTreeMap<String, Resources>,
    /// Utilisation of the CPU request (0 to 1) up to which the objective is predicted to hold.
    pub target_utilisation: Option<f64>,
    /// Why.
    pub explanation: Explanation,
}

/// How much the model knows of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelState {
    /// Nothing measured yet.
    Cold,
    /// Measured, not enough to shrink anything.
    Learning,
    /// The bound has been checked against what was seen.
    Confident,
    /// The application changed; the model is relearning and does not shrink.
    Drift,
    /// Metrics stopped arriving; nothing is scaled in blind.
    MetricsMissing,
    /// More capacity has not helped; no more is spent.
    Unattainable,
}

impl ModelState {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Cold,
        Self::Learning,
        Self::Confident,
        Self::Drift,
        Self::MetricsMissing,
        Self::Unattainable,
    ];

    /// As statuses and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "Cold",
            Self::Learning => "Learning",
            Self::Confident => "Confident",
            Self::Drift => "Drift",
            Self::MetricsMissing => "MetricsMissing",
            Self::Unattainable => "Unattainable",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A remark about a decision, independent of the state of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Flag {
    /// The declared throughput is far from any load that was seen.
    Extrapolated,
    /// The live load is above the declared throughput.
    ThroughputExceeded,
}

/// The term that decided a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bound {
    /// The latency objective.
    Latency,
    /// The requests must cover the CPU that is used.
    Use,
    /// Room for bursts inside a CFS period.
    Knee,
    /// Memory.
    Memory,
    /// A minimum or maximum of the user's.
    Limit,
    /// The forecast of load.
    Forecast,
    /// How far beyond what was seen the model may go.
    TrustRegion,
    /// The state of the model (cold, drifting, blind, unattainable): the present value is kept.
    State,
}

impl Bound {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Latency,
        Self::Use,
        Self::Knee,
        Self::Memory,
        Self::Limit,
        Self::Forecast,
        Self::TrustRegion,
        Self::State,
    ];

    /// As statuses have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latency => "Latency",
            Self::Use => "Use",
            Self::Knee => "Knee",
            Self::Memory => "Memory",
            Self::Limit => "Limit",
            Self::Forecast => "Forecast",
            Self::TrustRegion => "TrustRegion",
            Self::State => "State",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A decision explained: every number with its inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The term that bound the choice.
    pub bound: Bound,
    /// One sentence in plain words, with the numbers.
    pub summary: String,
    /// Inputs by name, in the unit that the name ends with.
    pub inputs: BTreeMap<String, f64>,
    /// What the next smaller choice would have done, in plain words; empty where there was none.
    pub next_smaller: String,
}
