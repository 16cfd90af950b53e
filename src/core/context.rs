//! What is known at the instant of a decision, read for the decision: state, loads, safe utilisation, replicas needed.

use std::collections::BTreeMap;

use super::decision::{Bound, Bounds, Flag, ModelState};
use super::evidence;
use super::model::{self, BELIEVED, LEAST_CURVE, Model};
use super::objective::Objective;
use super::observation::Resources;
use super::optimiser::{self, Binding, Load, Size, Work};
use super::reaction::SEVERE;
use super::readout::Verdict;
use super::settings::Settings;
use super::state::Knowledge;
use super::tracker::{Safe, Tracker};

/// Utilisation taken to be safe before anything says otherwise.
const PRIOR_UTILISATION: f64 = 0.5;
/// Utilisation never gone below on account of latency: a table full of violations must not ask for ever more.
const LEAST_UTILISATION: f64 = 0.3;
/// Highest utilisation to plan for where the load was never seen.
const EXTRAPOLATED_UTILISATION: f64 = 0.8;
/// Load over the highest seen from which a declared throughput is an extrapolation.
const EXTRAPOLATED: f64 = 1.5;
/// Headroom covers at least, and at most, this share of the surprises in load.
const LEAST_COVER: f64 = 0.5;
const MOST_COVER: f64 = 0.97;
/// Share of the request that is not used on purpose right after a jump of the load.
const JUMP_ROOM: f64 = 0.15;
/// Share of the surprises that must not bring the pods down.
const SURGE_COVER: f64 = 0.98;
/// How much less is covered when the whole error budget is left.
const COVER_SLOPE: f64 = 0.45;
/// Highest utilisation that a size never tried is planned for.
const MOST_UNTRIED: f64 = 0.95;
/// Late requests come at least so many at once, until more was seen.
const LEAST_DISPERSION: f64 = 3.0;
/// Share of the present utilisation below which no decision goes on account of latency alone.
const LEAST_SHARE: f64 = 0.75;
/// Most replicas without a maximum of the user's.
const MOST_REPLICAS: u32 = 1000;

/// What a decision is made from.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// What is known.
    pub model: &'a Model,
    /// What is asked for.
    pub objectives: &'a [Objective],
    /// What is allowed.
    pub bounds: &'a Bounds,
    /// Settings in force.
    pub settings: &'a Settings,
    /// Now, in seconds since the Unix epoch.
    pub now: f64,
    /// Whether an objective is surely violated by its newest windows.
    pub violated: bool,
    /// Whether all are surely met by theirs.
    pub met: bool,
    /// The work, once known.
    pub work: Option<Work>,
    /// Safe utilisation of the present size by objective, once the work is known.
    safe: Vec<Option<Safe>>,
}

/// Replicas that a size needs, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Need {
    /// Whole replicas before minimum and maximum.
    pub replicas: u32,
    /// What asked for them.
    pub bound: Bound,
    /// The load behind it.
    pub load: Load,
    /// How high that load may become, in requests per second.
    pub foreseen: f64,
    /// The size behind it.
    pub size: Size,
}

/// How cautious to be about what is safe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caution {
    /// State of the model.
    pub state: ModelState,
    /// The utilisation that held before the present violation, while there is one.
    pub trusted: Option<f64>,
}

impl<'a> Context<'a> {
    /// Reads what is known at `now`.
    #[must_use]
    pub fn new(
        model: &'a Model,
        objectives: &'a [Objective],
        bounds: &'a Bounds,
        settings: &'a Settings,
        now: f64,
    ) -> Self {
        let safe = objectives.iter().zip(&model.trackers).map(|(objective, tracker)| {
            let shape = model.shape(objective, settings)?;
            Some(tracker.safe(objective, &shape))
        });
        let verdict = |(objective, tracker): (&Objective, &Tracker)| {
            let dispersion = tracker.dispersion().max(LEAST_DISPERSION);
            model.recent.sober_verdict(objective, dispersion)
        };
        let verdicts: Vec<Verdict> = objectives.iter().zip(&model.trackers).map(verdict).collect();
        let safe = safe.collect();
        Self {
            model,
            objectives,
            bounds,
            settings,
            now,
            violated: verdicts.contains(&Verdict::Violated),
            met: !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == Verdict::Met),
            work: model.work(settings),
            safe,
        }
    }

    /// Whether measurements are missing.
    #[must_use]
    pub fn blind(&self) -> bool {
        let window = self.model.window.as_ref();
        window.is_some_and(|window| self.now - window.at > self.settings.metrics_missing_seconds)
    }

    /// For how long the CPU in use has not been told, in seconds, once that is longer than a figure may take: what the load
    /// needs is then known of old code alone.
    #[must_use]
    pub fn without_cpu(&self) -> Option<f64> {
        let usual = self.settings.metrics_missing_seconds + self.settings.cpu_lag_seconds;
        let seconds = self.now - self.model.cpu_at;
        (self.model.cpu_at > 0.0 && seconds > usual).then_some(seconds)
    }

    /// How much is known.
    #[must_use]
    pub fn state(&self, unattainable: bool) -> ModelState {
        let (model, settings) = (self.model, self.settings);
        let samples = model
            .trackers
            .iter()
            .map(|tracker| tracker.samples)
            .fold(f64::INFINITY, f64::min);
        let checked = !model.trackers.is_empty()
            && model
                .trackers
                .iter()
                .zip(self.objectives)
                .all(|(tracker, objective)| checked(tracker, objective, settings));
        let since_drift = self.now - model.drift_at;
        let known = model.demand_known(self.settings);
        let relearnt = since_drift >= 0.5 * self.settings.learning_seconds && samples >= 3.0 && known;
        Knowledge {
            measured: model.window.is_some(),
            blind: self.blind(),
            unattainable,
            drifting: model.drift_at > 0.0 && !relearnt,
            learnt_seconds: self.now - model.since,
            least_seconds: self.settings.learning_seconds,
            demand: known,
            checked,
        }
        .state()
    }

    /// Least and most replicas.
    #[must_use]
    pub fn replicas(&self) -> (u32, u32) {
        let floor = if self.bounds.disruption_budget { 2 } else { 1 };
        let least = self.bounds.min_replicas.unwrap_or(1).max(floor);
        let most = self.bounds.max_replicas.unwrap_or(MOST_REPLICAS).max(1);
        (least.min(most), most)
    }

    /// The load of those objectives that hold at every throughput.
    #[must_use]
    pub fn live_load(&self) -> Load {
        let horizon = self.model.horizon_seconds(self.settings);
        let forecast = &self.model.forecast;
        let season = self.settings.season_seconds;
        let day = self.model.profile.proven(self.now, season, forecast.present(), horizon);
        let expected = forecast.expected(horizon).max(day.unwrap_or(0.0));
        self.around(forecast.present(), expected)
    }

    /// A load with what may come on top of it.
    fn around(&self, present: f64, expected: f64) -> Load {
        let forecast = &self.model.forecast;
        let high = forecast.high(expected, self.cover());
        let risen = forecast.risen(present, self.model.horizon_seconds(self.settings), SURGE_COVER);
        Load {
            present,
            expected,
            high,
            surge: forecast.high(expected, SURGE_COVER).max(risen).max(high),
        }
    }

    /// Share of the surprises in load that headroom is kept for: the more, the less of the error budget is left.
    #[must_use]
    pub fn cover(&self) -> f64 {
        let left = self.least_left(|objective| objective.throughput_per_second.is_none());
        (MOST_COVER - COVER_SLOPE * left).clamp(LEAST_COVER, MOST_COVER)
    }

    /// Loads that a new size should be good for: what the last half hour and the day brought, or what was declared. The night
    /// alone would make pods too small for the day.
    #[must_use]
    pub fn loads(&self) -> Vec<Load> {
        let mut loads: Vec<Load> = self.declared().map(Load::known).collect();
        if loads.len() < self.objectives.len() {
            let shares = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0];
            let lately = shares.map(|share| self.model.forecast.load_quantile(share));
            let day = self.model.profile.loads();
            let day = shares.map(|share| day.get((share * day.len().saturating_sub(1) as f64).round() as usize));
            let day = day.into_iter().flatten().copied();
            loads.extend(lately.into_iter().chain(day).map(|load| self.around(load, load)));
        }
        loads
    }

    /// Loads that were declared, in requests per second.
    pub fn declared(&self) -> impl Iterator<Item = f64> {
        self.objectives
            .iter()
            .filter_map(|objective| objective.throughput_per_second)
    }

    /// Remarks.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let live = self.model.forecast.present();
        let far = EXTRAPOLATED * self.model.highest_load;
        let mut flags = Vec::new();
        if self.model.forecast.known() && self.declared().any(|load| load > far) {
            flags.push(Flag::Extrapolated);
        }
        if self.declared().any(|load| live > 1.05 * load) {
            flags.push(Flag::ThroughputExceeded);
        }
        flags
    }

    /// Share of the error budget that is left, of the worst objective.
    #[must_use]
    pub fn budget_left(&self) -> f64 {
        self.least_left(|_| true)
    }

    fn least_left(&self, of: impl Fn(&Objective) -> bool) -> f64 {
        let left = self.objectives.iter().zip(&self.model.trackers);
        left.filter(|(objective, _)| of(objective))
            .map(|(objective, tracker)| tracker.budget.cautious_left(objective))
            .fold(1.0, f64::min)
    }

    /// Exceedance of the newest windows over what is allowed, of the worst objective.
    #[must_use]
    pub fn severity(&self) -> f64 {
        let shares = self
            .objectives
            .iter()
            .map(|objective| self.model.recent.latest_share(objective) / evidence::allowed(objective));
        shares.fold(0.0, f64::max)
    }

    /// The longest response time asked for, in seconds: what ends now was begun so long ago.
    #[must_use]
    pub fn response_seconds(&self) -> f64 {
        let times = self.objectives.iter().map(|objective| objective.response_time_seconds);
        times.fold(0.0, f64::max)
    }

    /// Whether so many requests of the newest window are late for any objective that it is no passing violation.
    #[must_use]
    pub fn severe(&self) -> bool {
        let late = |objective| self.model.recent.latest_share(objective);
        self.objectives
            .iter()
            .any(|objective| late(objective) >= evidence::beyond(objective, SEVERE))
    }

    /// Requests and limits in force by container.
    #[must_use]
    pub fn in_force(&self) -> BTreeMap<String, Resources> {
        let containers = self.model.window.iter().flat_map(|window| &window.containers);
        containers
            .map(|(name, container)| (name.clone(), container.resources))
            .collect()
    }

    /// Replicas that pods of `request` and `limit` cores need for all objectives.
    #[must_use]
    pub fn need(&self, request: f64, limit: f64, caution: Caution) -> Option<Need> {
        let work = self.work?;
        let needs = self.objectives.iter().enumerate().map(|(index, objective)| {
            let safe = self
                .safe_of(index, objective, request, limit, caution)
                .max(LEAST_UTILISATION);
            self.need_of(
                &self.size(request, limit, safe),
                &self.load_of(objective),
                &work,
                caution.state,
            )
        });
        needs.max_by_key(|need| need.replicas)
    }

    /// A size of which it is known to what utilisation it is safe.
    #[must_use]
    pub fn size(&self, request: f64, limit: f64, safe: f64) -> Size {
        Size {
            request,
            limit,
            safe,
            budget_left: self.budget_left(),
        }
    }

    /// Highest utilisation of a size that keeps all objectives.
    #[must_use]
    pub fn safe_for_all(&self, request: f64, limit: f64, caution: Caution) -> f64 {
        let safe = self.objectives.iter().enumerate();
        safe.map(|(index, objective)| self.safe_of(index, objective, request, limit, caution))
            .fold(f64::INFINITY, f64::min)
    }

    /// Highest utilisation of the present size that keeps the objectives that hold at every throughput.
    #[must_use]
    pub fn safe_live(&self, caution: Caution) -> f64 {
        let live = self
            .objectives
            .iter()
            .enumerate()
            .filter(|(_, objective)| objective.throughput_per_second.is_none());
        live.map(|(index, objective)| self.safe_now(index, objective, caution))
            .fold(1.0, f64::min)
    }

    fn load_of(&self, objective: &Objective) -> Load {
        let declared = objective.throughput_per_second;
        declared.map_or_else(|| self.live_load(), Load::known)
    }

    fn safe_now(&self, index: usize, objective: &Objective, caution: Caution) -> f64 {
        let Some(Some(safe)) = self.safe.get(index) else {
            return PRIOR_UTILISATION;
        };
        if objective.throughput_per_second.is_some() {
            return self.safe_declared(index, safe);
        }
        let present = self.model.utilisation(self.settings).unwrap_or(0.0);
        let floor = match caution {
            Caution {
                trusted: Some(trusted), ..
            } => trusted,
            Caution {
                state: ModelState::Confident,
                ..
            } if self.met => present.clamp(LEAST_UTILISATION, MOST_UNTRIED),
            Caution {
                state: ModelState::Confident,
                ..
            } => (LEAST_SHARE * present).clamp(LEAST_UTILISATION, 0.8),
            _ if self.violated => (LEAST_SHARE * present).max(LEAST_UTILISATION),
            _ => (1.1 * present).clamp(PRIOR_UTILISATION, 0.9),
        };
        safe.utilisation.max(floor)
    }

    /// The load asked for may never come: the curve must do, short of what was seen to be bad.
    fn safe_declared(&self, index: usize, safe: &Safe) -> f64 {
        let fitted = self
            .model
            .trackers
            .get(index)
            .is_some_and(|tracker| tracker.fit.is_some());
        let curve = if fitted { safe.curve } else { PRIOR_UTILISATION };
        let most = EXTRAPOLATED_UTILISATION.min(0.9 * safe.reach.bad);
        curve.max(safe.reach.safe).min(most).max(LEAST_UTILISATION)
    }

    /// Safe utilisation of any size: the present one times what the curve says that the size changes.
    fn safe_of(&self, index: usize, objective: &Objective, request: f64, limit: f64, caution: Caution) -> f64 {
        let model = self.model;
        let now = self.safe_now(index, objective, caution);
        if (request / model.request - 1.0).abs() < 0.03 && (limit / model.limit - 1.0).abs() < 0.03 {
            return now;
        }
        let (Some(tracker), Some(work)) = (model.trackers.get(index), self.work) else {
            return 0.0;
        };
        let sizes = ((model.request, model.limit), (request, limit));
        let Some((before, after)) = model.safe_by_curve(tracker, objective, sizes, &work) else {
            return 0.0;
        };
        // Where the present size hardly keeps the objective at all there is nothing to take a multiple of.
        let hoped = if before > LEAST_CURVE {
            now * model::believed_gain(after / before)
        } else {
            BELIEVED * after
        };
        hoped.min(MOST_UNTRIED.max(now)).min(MOST_UNTRIED * limit / request)
    }

    fn need_of(&self, size: &Size, load: &Load, work: &Work, state: ModelState) -> Need {
        // While learning, a request that does not cover the use is the user's and stays. New code begins with what was known.
        let known = matches!(state, ModelState::Confident | ModelState::Drift) || self.model.is_new(self.now);
        let cover = match known {
            // Pods that are new and cold, at a load that nobody has seen.
            true if self.model.forecast.jumped() => self.settings.request_utilisation - JUMP_ROOM,
            true => self.settings.request_utilisation,
            false => f64::INFINITY,
        };
        let (replicas, binding) = size.replicas(load, work, cover);
        let present = self.model.forecast.present().min(load.high);
        let without = size.replicas(&Load::known(present), work, cover).0;
        let bound = match binding {
            Binding::Request => Bound::Use,
            Binding::Surge => Bound::Forecast,
            Binding::Latency if optimiser::whole(replicas) > optimiser::whole(without) => Bound::Forecast,
            Binding::Latency if self.stepwise() => Bound::TrustRegion,
            Binding::Latency if self.throttled(size) => Bound::Knee,
            Binding::Latency => Bound::Latency,
        };
        Need {
            replicas: optimiser::whole(replicas),
            bound,
            load: *load,
            foreseen: if binding == Binding::Surge {
                load.surge
            } else {
                load.high
            },
            size: *size,
        }
    }

    /// Whether it is throttled periods rather than queues that make the latency of a size at its safe utilisation.
    fn throttled(&self, size: &Size) -> bool {
        let Some(work) = self.work else { return false };
        self.objectives
            .iter()
            .zip(&self.model.trackers)
            .any(|(objective, tracker)| {
                let shape = self.model.shape_of(objective, &work, size.request, size.limit);
                tracker.fit.is_some_and(|fit| fit.throttled(size.safe, &shape))
            })
    }

    /// Whether only the step beyond what was seen bounds the utilisation, not the curve.
    fn stepwise(&self) -> bool {
        let safes = self.safe.iter().flatten();
        safes
            .min_by(|a, b| a.utilisation.total_cmp(&b.utilisation))
            .is_some_and(|safe| {
                safe.reach.bad.is_infinite() && safe.utilisation >= safe.reach.limit && safe.curve > safe.reach.limit
            })
    }
}

fn checked(tracker: &Tracker, objective: &Objective, settings: &Settings) -> bool {
    tracker.conformal.checked()
        && tracker.samples >= f64::from(settings.least_samples)
        && tracker.table.requests() >= 3.0 / evidence::allowed(objective)
}
