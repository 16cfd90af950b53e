//! A decision in words and numbers.

use std::collections::BTreeMap;

use super::context::{Caution, Context, Need};
use super::decision::{Bound, Decision, Explanation, ModelState};
use super::objective::Objective;
use super::observation::Resources;
use super::units::Cores;
use super::{reason, smaller};

/// What is explained.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What the decision was made from.
    pub context: &'a Context<'a>,
    /// State.
    pub state: ModelState,
    /// Replicas decided.
    pub replicas: u32,
    /// Replicas before.
    pub current: u32,
    /// What bound them.
    pub bound: Bound,
    /// Replicas that were wanted before the least and the most were looked at.
    pub wanted: u32,
    /// What the load asks for, if known.
    pub need: Option<Need>,
    /// Requests and limits decided.
    pub containers: BTreeMap<String, Resources>,
    /// Whether an objective is surely violated.
    pub violated: bool,
    /// Whether memory is raised at once.
    pub raised: bool,
    /// How cautious the need was asked for.
    pub caution: Caution,
}

/// The decision of a model that knows nothing.
#[must_use]
pub fn cold(at_seconds: f64, desired: Option<u32>) -> Decision {
    let known = desired.map_or_else(String::new, |replicas| format!("; the {replicas} replicas stay"));
    Decision {
        at_seconds,
        state: ModelState::Cold,
        flags: Vec::new(),
        replicas: desired,
        containers: BTreeMap::new(),
        target_utilisation: None,
        explanation: Explanation {
            bound: Bound::State,
            summary: format!("Nothing has been measured yet{known}."),
            inputs: BTreeMap::new(),
            next_smaller: String::new(),
        },
    }
}

/// The decision with its explanation.
#[must_use]
pub fn decision(facts: &Facts<'_>) -> Decision {
    Decision {
        at_seconds: facts.context.now,
        state: facts.state,
        flags: facts.context.flags(),
        replicas: Some(facts.replicas),
        containers: facts.containers.clone(),
        target_utilisation: target_utilisation(facts),
        explanation: Explanation {
            bound: if facts.raised { Bound::Memory } else { facts.bound },
            summary: summary(facts),
            inputs: inputs(facts),
            next_smaller: smaller::next_smaller(facts),
        },
    }
}

/// Mean use over request, at the load that a pod is planned for.
fn target_utilisation(facts: &Facts<'_>) -> Option<f64> {
    let (need, work) = (facts.need?, facts.context.work?);
    let headroom = (need.load.high / need.load.expected.max(1e-9)).max(1.0);
    let by_latency = need.size.latency_load(&work) / headroom;
    let load = by_latency.min(
        need.size
            .request_load(&work, facts.context.settings.request_utilisation),
    );
    Some(((work.idle + work.per_request * load) / need.size.request.max(1e-6)).clamp(0.01, 2.0))
}

fn inputs(facts: &Facts<'_>) -> BTreeMap<String, f64> {
    let model = facts.context.model;
    let mut inputs = BTreeMap::new();
    let mut put = |name: &str, value: f64| {
        inputs.insert(name.to_owned(), (value * 1e6).round() / 1e6);
    };
    put("load_per_second", model.forecast.present());
    put("pod_start_seconds", model.starting.seconds());
    put("horizon_seconds", model.horizon_seconds(facts.context.settings));
    put("request_cores", model.request);
    put("capacity_cores", model.capacity.cores(model.request, model.limit));
    put("current_replicas", f64::from(facts.current));
    if let Some(utilisation) = model.utilisation(facts.context.settings) {
        put("utilisation_ratio", utilisation);
    }
    if let Some(work) = facts.context.work {
        put("cpu_per_request_seconds", work.per_request);
        put("idle_cores", work.idle);
    }
    if let Some(need) = facts.need {
        put("planned_load_per_second", need.load.expected);
        put("planned_load_with_headroom_per_second", need.load.high);
        put("safe_utilisation_ratio", need.size.safe);
        put("needed_replicas", f64::from(need.replicas));
    }
    let declared = || facts.context.declared();
    if declared().next().is_some() {
        put(
            "least_declared_load_per_second",
            declared().fold(f64::INFINITY, f64::min),
        );
        put("most_declared_load_per_second", declared().fold(0.0, f64::max));
        put("highest_load_per_second", model.highest_load);
    }
    for (objective, tracker) in facts.context.objectives.iter().zip(&model.trackers) {
        let name = named(objective, facts.context.objectives);
        put(
            &format!("{name}_error_budget_left_ratio"),
            tracker.budget.left(objective),
        );
    }
    inputs
}

/// The name of an objective: that of its SLO, with percentile and response time where the SLO has several.
fn named(objective: &Objective, all: &[Objective]) -> String {
    let alone = all.iter().filter(|other| other.slo == objective.slo).count() == 1;
    if alone {
        return objective.slo.clone();
    }
    let milliseconds = objective.response_time_seconds * 1000.0;
    let load = objective
        .throughput_per_second
        .map_or_else(String::new, |load| format!("_at_{:.0}", load * 60.0));
    format!(
        "{}_p{}_{milliseconds}ms{load}",
        objective.slo,
        objective.percentile * 100.0
    )
}

fn summary(facts: &Facts<'_>) -> String {
    let change = match facts.replicas.cmp(&facts.current) {
        std::cmp::Ordering::Greater => format!("Scale out from {} to {}", facts.current, counted(facts.replicas)),
        std::cmp::Ordering::Less => format!("Scale in from {} to {}", facts.current, counted(facts.replicas)),
        std::cmp::Ordering::Equal => format!("Keep {}", counted(facts.replicas)),
    };
    format!("{change}{}: {}.", size(facts), reason::reason(facts))
}

/// Replicas in words.
#[must_use]
pub fn counted(replicas: u32) -> String {
    format!("{replicas} {}", if replicas == 1 { "replica" } else { "replicas" })
}

fn size(facts: &Facts<'_>) -> String {
    let primary = facts.context.model.primary(facts.context.settings);
    let request = primary
        .and_then(|name| facts.containers.get(name))
        .and_then(|resources| resources.cpu_request);
    request.map_or_else(String::new, |Cores(cores)| format!(" of {:.0}m CPU", cores * 1000.0))
}
