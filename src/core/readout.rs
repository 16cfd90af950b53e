//! What a page or a command shows of the model.

use std::collections::BTreeMap;

use serde::Serialize;

use super::model::Model;
use super::objective::Objective;
use super::settings::Settings;
use super::tracker::Tracker;

/// What the measurements say about an objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Verdict {
    /// It holds, at 95% confidence.
    Met,
    /// It does not hold, at 95% confidence.
    Violated,
    /// Too few requests to say.
    Unknown,
}

/// How an objective has been kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Compliance {
    /// The objective.
    pub objective: Objective,
    /// What the last five minutes or less say.
    pub verdict: Verdict,
    /// Requests in those minutes.
    pub recent_requests: u64,
    /// Requests of those that took longer than the response time.
    pub recent_exceeding: u64,
    /// Requests of those of which nobody can say, because pods from before the objective have no edge at its response time.
    pub recent_undecided: u64,
    /// The observed latency in seconds at the objective's percentile over those minutes; `None` without requests.
    pub recent_latency_seconds: Option<f64>,
    /// Share of requests within the response time over the last hour (older ones fade), 0 to 1; `None` without requests.
    pub compliance: Option<f64>,
    /// Share of the error budget of that hour that is left; negative when overspent.
    pub error_budget_left: f64,
}

/// Latency against load for one objective, at the present replicas and pod size.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The objective.
    pub objective: Objective,
    /// The model's curve, ascending in load; empty while the model knows nothing.
    pub points: Vec<CurvePoint>,
    /// What was seen, ascending in load.
    pub observed: Vec<ObservedPoint>,
    /// Load in requests per second at which the upper bound reaches the response time.
    pub safe_load_per_second: Option<f64>,
}

/// One point of the model's curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Load of the whole Deployment in requests per second.
    pub load_per_second: f64,
    /// Predicted latency in seconds at the objective's percentile.
    pub latency_seconds: f64,
    /// Upper bound of that latency in seconds (95%).
    pub upper_bound_seconds: f64,
    /// The bound that is planned by, in seconds: the narrower, the more error budget is left.
    pub planned_bound_seconds: f64,
}

/// What was seen near one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ObservedPoint {
    /// Load of the whole Deployment in requests per second, at the present replicas and pod size.
    pub load_per_second: f64,
    /// Latency in seconds at the objective's percentile.
    pub latency_seconds: f64,
    /// Share of requests above the response time, 0 to 1.
    pub share_exceeding: f64,
    /// Requests behind it (older ones fade).
    pub requests: f64,
}

/// Utilisations of a curve's points.
const POINTS: u32 = 32;

/// Most utilisation of the CPU request to which a curve is drawn.
const MOST_UTILISATION: f64 = 4.0;

/// How every objective has been kept.
pub(super) fn compliance(model: &Model, objectives: &[Objective]) -> Vec<Compliance> {
    let recent = model.recent.merged();
    let entries = objectives.iter().zip(&model.trackers);
    entries
        .map(|(objective, tracker)| {
            let exceedance = recent.exceedance(objective.response_time_seconds);
            let kept = tracker.budget.counts;
            Compliance {
                objective: objective.clone(),
                verdict: model.recent.sober_verdict(objective, tracker.dispersion()),
                recent_requests: exceedance.total,
                recent_exceeding: exceedance.exceeding,
                recent_undecided: exceedance.undecided,
                recent_latency_seconds: recent.quantile(objective.percentile),
                compliance: (kept.requests > 0.0).then(|| 1.0 - kept.share()),
                error_budget_left: tracker.budget.left(objective),
            }
        })
        .collect()
}

/// The curve of every objective.
pub(super) fn curves(model: &Model, objectives: &[Objective], settings: &Settings) -> Vec<Curve> {
    let entries = objectives.iter().zip(&model.trackers);
    entries
        .map(|(objective, tracker)| curve(model, objective, tracker, settings))
        .collect()
}

/// Numbers of the model.
pub(super) fn numbers(model: &Model, settings: &Settings) -> BTreeMap<&'static str, f64> {
    let mut numbers = BTreeMap::from([
        ("load_per_second", model.forecast.present()),
        (
            "load_ahead_per_second",
            model.forecast.expected(model.horizon_seconds(settings)),
        ),
        ("headroom_ratio", model.forecast.headroom(0.9)),
        ("pod_start_seconds", model.starting.seconds()),
        ("request_cores", model.request),
        ("capacity_cores", model.capacity.cores(model.request, model.limit)),
    ]);
    if let Some(work) = model.work(settings) {
        numbers.insert("cpu_per_request_seconds", work.per_request);
        numbers.insert("idle_cores", work.idle);
    }
    if let Some(utilisation) = model.utilisation(settings) {
        numbers.insert("utilisation_ratio", utilisation);
    }
    if let Some(coverage) = model.trackers.first().and_then(|tracker| tracker.conformal.coverage()) {
        numbers.insert("bound_coverage_ratio", coverage);
    }
    numbers
}

fn curve(model: &Model, objective: &Objective, tracker: &Tracker, settings: &Settings) -> Curve {
    let empty = Curve {
        objective: objective.clone(),
        points: vec![],
        observed: vec![],
        safe_load_per_second: None,
    };
    let (Some(shape), Some(work), Some(window)) = (
        model.shape(objective, settings),
        model.work(settings),
        model.window.as_ref(),
    ) else {
        return empty;
    };
    let load = |utilisation: f64| {
        ((utilisation * model.request - work.idle) / work.per_request).max(0.0) * f64::from(window.ready)
    };
    let (factor, planning_factor) = (tracker.conformal.factor(), tracker.planning_factor(objective));
    let safe = tracker.fit.map(|_| tracker.safe(objective, &shape).curve);
    // Beyond the requests, and beyond where the bound reaches the objective.
    let most = safe.map_or(1.2, |safe| (safe * 1.15).clamp(1.2, MOST_UTILISATION));
    let points = tracker.fit.map_or_else(Vec::new, |fit| {
        let utilisations = (1..=POINTS).map(|step| most * f64::from(step) / f64::from(POINTS));
        let point = |utilisation: f64| {
            let latency_seconds = fit.predict(utilisation, &shape);
            CurvePoint {
                load_per_second: load(utilisation),
                latency_seconds,
                upper_bound_seconds: latency_seconds * factor,
                planned_bound_seconds: latency_seconds * planning_factor,
            }
        };
        utilisations
            .map(point)
            .filter(|point| point.load_per_second > 0.0)
            .collect()
    });
    let observed = tracker.table.bins().map(|bin| ObservedPoint {
        load_per_second: load(bin.utilisation),
        latency_seconds: bin.ln_latency.exp(),
        share_exceeding: bin.counts.share(),
        requests: bin.counts.requests,
    });
    Curve {
        points,
        observed: observed.collect(),
        safe_load_per_second: safe.map(load),
        ..empty
    }
}
