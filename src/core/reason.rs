//! Why a decision is as it is, in one clause with its numbers.

use super::context::Context;
use super::decision::{Bound, ModelState};
use super::evidence;
use super::explain::{Facts, counted};
use super::objective::Objective;
use super::units::Bytes;

/// Time from which on it is told in minutes, in seconds.
const MINUTES_FROM: f64 = 180.0;

/// Why these replicas, and why this memory where it is raised.
#[must_use]
pub fn reason(facts: &Facts<'_>) -> String {
    match raised_memory(facts) {
        Some(memory) if facts.replicas == facts.current => memory,
        Some(memory) => format!("{}; {memory}", of_replicas(facts)),
        None => of_replicas(facts),
    }
}

fn of_replicas(facts: &Facts<'_>) -> String {
    let load = facts.context.model.forecast.present();
    match (facts.state, facts.bound) {
        (ModelState::MetricsMissing, _) => missing(facts.context),
        (ModelState::Unattainable, _) => {
            let late = late(facts.context);
            format!("two scale-outs did not bring the latency down ({late}), so no more is spent")
        }
        (ModelState::Drift, Bound::State) => drift(facts.context),
        (ModelState::Learning, Bound::State) => learning(facts.context),
        (_, Bound::State) if facts.context.without_cpu().is_some() => without_cpu(facts.context),
        (_, Bound::Limit) => limit(facts, load),
        (_, Bound::State) if facts.violated => {
            format!("the objective does not hold at present ({})", late(facts.context))
        }
        (_, Bound::Use) => format!("the requests must cover the CPU that {load:.1} requests/s use"),
        (_, Bound::Knee) => format!("at {load:.1} requests/s the CPU limit leaves just room for bursts"),
        (_, Bound::Forecast) => forecast(facts, load),
        (_, bound) => latency(facts, bound, load),
    }
}

/// Which containers get more memory, and how much.
fn raised_memory(facts: &Facts<'_>) -> Option<String> {
    if !facts.raised {
        return None;
    }
    let before = facts.context.in_force();
    let limit = |bytes: Option<Bytes>| bytes.map_or(0.0, |bytes| bytes.0 as f64 / super::memory::MEBIBYTE);
    let raised = facts.containers.iter().filter_map(|(name, resources)| {
        let (old, new) = (
            before.get(name).and_then(|old| old.memory_limit),
            resources.memory_limit,
        );
        (limit(new) > limit(old)).then(|| format!("{name} to {:.0} MiB", limit(new)))
    });
    let raised: Vec<String> = raised.collect();
    let what = if raised.is_empty() {
        String::new()
    } else {
        format!(" of {}", raised.join(" and of "))
    };
    Some(format!(
        "the memory limit{what} is raised at once, before the kernel kills"
    ))
}

fn span(seconds: f64) -> String {
    if seconds < MINUTES_FROM {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

fn missing(context: &Context<'_>) -> String {
    let since = context
        .model
        .window
        .as_ref()
        .map_or(0.0, |window| context.now - window.at);
    format!(
        "metrics stopped arriving {} ago and nothing is scaled in blind",
        span(since)
    )
}

/// How many of the newest requests are late for the worst objective, and how many may be.
fn late(context: &Context<'_>) -> String {
    let shares = context.objectives.iter().map(|objective| {
        let late = context.model.recent.latest_share(objective);
        (
            late / evidence::allowed(objective),
            late,
            evidence::allowed(objective),
            objective,
        )
    });
    shares
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, late, allowed, objective)| {
            format!(
                "{:.1}% of the newest requests took longer than {:.0} ms, {:.1}% may",
                late * 100.0,
                objective.response_time_seconds * 1000.0,
                allowed * 100.0
            )
        })
}

fn drift(context: &Context<'_>) -> String {
    let samples = least(context, |tracker, _| tracker.samples);
    format!(
        "the application changed {} ago and is being learnt anew ({samples:.0} samples so far)",
        span(context.now - context.model.drift_at)
    )
}

fn learning(context: &Context<'_>) -> String {
    let samples = least(context, |tracker, _| tracker.samples);
    let requests = least(context, |tracker, _| tracker.table.requests());
    let wanted = context.objectives.iter().map(|one| 3.0 / evidence::allowed(one));
    format!(
        "too little is known yet to run on less ({samples:.0} of {} samples, {requests:.0} of {:.0} requests)",
        context.settings.least_samples,
        wanted.fold(0.0, f64::max)
    )
}

fn least(context: &Context<'_>, of: impl Fn(&super::tracker::Tracker, &Objective) -> f64) -> f64 {
    let each = context.objectives.iter().zip(&context.model.trackers);
    let least = each
        .map(|(objective, tracker)| of(tracker, objective))
        .fold(f64::INFINITY, f64::min);
    if least.is_finite() { least } else { 0.0 }
}

fn without_cpu(context: &Context<'_>) -> String {
    let seconds = context.without_cpu().unwrap_or(0.0);
    format!(
        "the CPU in use has not been told for {} and nothing shrinks on an old figure",
        span(seconds)
    )
}

/// Who set the least or most replicas that decide.
fn limit(facts: &Facts<'_>, load: f64) -> String {
    let bounds = facts.context.bounds;
    let (least, most) = facts.context.replicas();
    let needed = facts.need.map_or(facts.wanted, |need| need.replicas);
    let who = if facts.wanted > most {
        match bounds.max_replicas {
            Some(_) => format!("max-replicas allows no more than {}", counted(most)),
            None => format!("without max-replicas there are no more than {}", counted(most)),
        }
    } else if bounds.min_replicas.is_some_and(|minimum| minimum >= least) {
        format!("min-replicas asks for {}", counted(least))
    } else if least > 1 {
        format!("the PodDisruptionBudget needs {} to spare one", counted(least))
    } else {
        format!("there is no less than {}", counted(least))
    };
    if facts.wanted > needed && facts.wanted > most {
        let wanted = facts.wanted;
        format!("{who} where {load:.1} requests/s need {needed} and the objective, or a rollout, asks for {wanted}")
    } else {
        format!("{who} where {load:.1} requests/s need {needed}")
    }
}

fn forecast(facts: &Facts<'_>, load: f64) -> String {
    let high = facts.need.map_or(load, |need| need.foreseen);
    let horizon = facts.context.model.horizon_seconds(facts.context.settings);
    format!("{load:.1} requests/s may become {high:.1} within {horizon:.0} s")
}

fn latency(facts: &Facts<'_>, bound: Bound, load: f64) -> String {
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
