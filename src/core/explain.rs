//! A decision in words and numbers.

use std::collections::BTreeMap;

use super::context::{Context, Need};
use super::decision::{Bound, Decision, Explanation, ModelState};
use super::observation::Resources;
use super::units::Cores;

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
    /// What the load asks for, if known.
    pub need: Option<Need>,
    /// Requests and limits decided.
    pub containers: BTreeMap<String, Resources>,
    /// Whether an objective is surely violated.
    pub violated: bool,
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
            bound: facts.bound,
            summary: summary(facts),
            inputs: inputs(facts),
            next_smaller: next_smaller(facts),
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
    for (objective, tracker) in facts.context.objectives.iter().zip(&model.trackers) {
        put(
            &format!("{}_error_budget_left_ratio", objective.slo),
            tracker.budget.left(objective),
        );
    }
    inputs
}

fn summary(facts: &Facts<'_>) -> String {
    let change = match facts.replicas.cmp(&facts.current) {
        std::cmp::Ordering::Greater => format!("Scale out from {} to {}", facts.current, counted(facts.replicas)),
        std::cmp::Ordering::Less => format!("Scale in from {} to {}", facts.current, counted(facts.replicas)),
        std::cmp::Ordering::Equal => format!("Keep {}", counted(facts.replicas)),
    };
    format!("{change}{}: {}.", size(facts), reason(facts))
}

fn counted(replicas: u32) -> String {
    format!("{replicas} {}", if replicas == 1 { "replica" } else { "replicas" })
}

fn size(facts: &Facts<'_>) -> String {
    let primary = facts.context.model.primary(facts.context.settings);
    let request = primary
        .and_then(|name| facts.containers.get(name))
        .and_then(|resources| resources.cpu_request);
    request.map_or_else(String::new, |Cores(cores)| format!(" of {:.0}m CPU", cores * 1000.0))
}

fn reason(facts: &Facts<'_>) -> String {
    let load = facts.context.model.forecast.present();
    match (facts.state, facts.bound) {
        (ModelState::MetricsMissing, _) => "metrics stopped arriving and nothing is scaled in blind".to_owned(),
        (ModelState::Unattainable, _) => {
            "two scale-outs did not bring the latency down, so no more is spent".to_owned()
        }
        (ModelState::Drift, Bound::State) => "the application changed and is being learnt anew".to_owned(),
        (ModelState::Learning, Bound::State) => "too little is known yet to run on less".to_owned(),
        (_, Bound::State) if facts.context.without_cpu().is_some() => without_cpu(facts),
        (_, Bound::Limit) => format!("the declared bounds decide at {load:.1} requests/s"),
        (_, Bound::State) if facts.violated => "the objective does not hold at present".to_owned(),
        (_, Bound::Use) => format!("the requests must cover the CPU that {load:.1} requests/s use"),
        (_, Bound::Memory) => "memory is raised at once, before the kernel kills".to_owned(),
        (_, Bound::Knee) => format!("at {load:.1} requests/s the CPU limit leaves just room for bursts"),
        (_, Bound::Forecast) => forecast_reason(facts, load),
        (_, bound) => latency_reason(facts, bound, load),
    }
}

fn without_cpu(facts: &Facts<'_>) -> String {
    let seconds = facts.context.without_cpu().unwrap_or(0.0);
    format!("the CPU in use has not been told for {seconds:.0} s and nothing shrinks on an old figure")
}

fn forecast_reason(facts: &Facts<'_>, load: f64) -> String {
    let high = facts.need.map_or(load, |need| need.foreseen);
    let horizon = facts.context.model.horizon_seconds(facts.context.settings);
    format!("{load:.1} requests/s may become {high:.1} within {horizon:.0} s")
}

fn latency_reason(facts: &Facts<'_>, bound: Bound, load: f64) -> String {
    let safe = facts.need.map_or(0.0, |need| need.size.safe);
    let word = if bound == Bound::Latency {
        "the objectives hold"
    } else {
        "it is safe"
    };
    format!(
        "at {load:.1} requests/s {word} up to {:.0}% of the CPU request",
        safe * 100.0
    )
}

/// What one replica fewer would have meant.
fn next_smaller(facts: &Facts<'_>) -> String {
    let (Some(need), Some(work)) = (facts.need, facts.context.work) else {
        return String::new();
    };
    if facts.replicas <= 1 {
        return String::new();
    }
    let fewer = facts.replicas - 1;
    let used = work.idle + work.per_request * need.load.high / f64::from(fewer);
    let utilisation = used / need.size.request.max(1e-6);
    let model = facts.context.model;
    let worst = facts
        .context
        .objectives
        .iter()
        .zip(&model.trackers)
        .filter_map(|(objective, tracker)| {
            let shape = model.shape(objective, facts.context.settings)?;
            let bound = tracker.fit?.predict(utilisation, &shape) * tracker.conformal.factor();
            Some((bound / objective.response_time_seconds, bound, objective))
        });
    let saved = need.size.request * 1000.0;
    worst.max_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(String::new, |(_, bound, objective)| {
        format!(
            "{} would save {saved:.0}m CPU and run at {:.0}% of the request, p{:.0} up to {:.0} ms against {:.0} ms.",
            counted(fewer),
            utilisation * 100.0,
            objective.percentile * 100.0,
            bound * 1000.0,
            objective.response_time_seconds * 1000.0
        )
    })
}
