//! What the next smaller choice would have meant: one replica fewer, and smaller pods.

use super::explain::{Facts, counted};
use super::memory::MEBIBYTE;
use super::optimiser::Work;

/// The next smaller request that is tried, as a factor of the present one.
const SMALLER: f64 = 0.89;

/// Both in words; empty where there is neither.
#[must_use]
pub fn next_smaller(facts: &Facts<'_>) -> String {
    let sentences = [fewer(facts), smaller_pods(facts)];
    let said: Vec<String> = sentences.into_iter().flatten().collect();
    said.join(" ")
}

/// One replica fewer: what it would save, and what it would do to the latency.
fn fewer(facts: &Facts<'_>) -> Option<String> {
    let (need, work) = (facts.need?, facts.context.work?);
    if facts.replicas <= 1 {
        return None;
    }
    let fewer = facts.replicas - 1;
    let utilisation = utilisation(&work, need.load.high / f64::from(fewer), need.size.request);
    let (saved, said) = (saved(facts), latency(facts, utilisation)?);
    Some(format!(
        "{} would save {saved} and run at {:.0}% of the request, {said}.",
        counted(fewer),
        utilisation * 100.0
    ))
}

fn utilisation(work: &Work, load: f64, request: f64) -> f64 {
    (work.idle + work.per_request * load) / request.max(1e-6)
}

/// What all containers of a pod request.
fn saved(facts: &Facts<'_>) -> String {
    let resources = || facts.containers.values();
    let cpu: f64 = resources().filter_map(|one| one.cpu_request).map(|cores| cores.0).sum();
    let memory: f64 = resources()
        .filter_map(|one| one.memory_request)
        .map(|bytes| bytes.0 as f64)
        .sum();
    let memory = if memory > 0.0 {
        format!(" and {:.0} MiB", memory / MEBIBYTE)
    } else {
        String::new()
    };
    format!("{:.0}m CPU{memory}", cpu * 1000.0)
}

/// The bound of the latency at a utilisation against what is asked for, of the objective that it serves worst.
fn latency(facts: &Facts<'_>, utilisation: f64) -> Option<String> {
    let model = facts.context.model;
    let each = facts.context.objectives.iter().zip(&model.trackers);
    let bounds = each.filter_map(|(objective, tracker)| {
        let shape = model.shape(objective, facts.context.settings)?;
        let bound = tracker.fit?.predict(utilisation, &shape) * tracker.conformal.factor();
        Some((bound / objective.response_time_seconds, bound, objective))
    });
    let (_, bound, objective) = bounds.max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(format!(
        "p{:.0} up to {:.0} ms against {:.0} ms",
        objective.percentile * 100.0,
        bound * 1000.0,
        objective.response_time_seconds * 1000.0
    ))
}

/// Smaller pods: how many the same load would need, and what they would request in all.
fn smaller_pods(facts: &Facts<'_>) -> Option<String> {
    let need = facts.need?;
    let (request, limit) = (need.size.request * SMALLER, need.size.limit * SMALLER);
    let (least, most) = facts.context.replicas();
    let needed = facts.context.need(request, limit, facts.caution)?;
    let replicas = needed.replicas.clamp(least, most);
    let all = |replicas: u32, request: f64| f64::from(replicas) * request * 1000.0;
    Some(format!(
        "Pods of {:.0}m CPU would need {}, {:.0}m in all against {:.0}m, at up to {:.0}% of the request.",
        request * 1000.0,
        counted(replicas),
        all(replicas, request),
        all(facts.replicas, need.size.request),
        needed.size.safe * 100.0
    ))
}
