//! From what is known to a decision.

use std::collections::BTreeMap;

use super::decision::{Bound, Bounds, Decision, Flag, ModelState};
use super::evidence;
use super::explain::{self, Facts};
use super::model::Model;
use super::objective::Objective;
use super::observation::Resources;
use super::optimiser::{self, Binding, Load, Size, Work};
use super::pace::{Ask, Pace};
use super::reaction::{Reaction, Situation};
use super::readout::Verdict;
use super::safety::Table;
use super::settings::Settings;
use super::sizing::{Plan, Question, SafeAt};
use super::state::Knowledge;
use super::tracker::Tracker;

/// Utilisation taken to be safe before anything says otherwise.
const PRIOR_UTILISATION: f64 = 0.5;
/// Utilisation never gone below on account of latency: a table full of violations must not ask for ever more.
const LEAST_UTILISATION: f64 = 0.2;
/// Highest utilisation to plan for where the load was never seen.
const EXTRAPOLATED_UTILISATION: f64 = 0.8;
/// Load over the highest seen from which a declared throughput is an extrapolation.
const EXTRAPOLATED: f64 = 1.5;
/// Time between two looks for a better pod size, in seconds.
const SIZE_LOOK_SECONDS: f64 = 60.0;
/// Most replicas without a maximum of the user's.
const MOST_REPLICAS: u32 = 1000;

/// What remembers between decisions.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    /// Two speeds of replicas.
    pub pace: Pace,
    /// Violations that load does not explain.
    pub reaction: Reaction,
    /// The pod size decided last.
    pub plan: Option<Plan>,
    /// Replicas decided last.
    pub replicas: Option<u32>,
    /// Safe utilisation while the objectives last held.
    pub trusted: f64,
    /// State at the last decision.
    pub state: Option<ModelState>,
    /// When a better pod size was last looked for, in seconds since the Unix epoch.
    pub looked_at: f64,
    /// Safety tables from before the present violation.
    pub tables: Vec<Table>,
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
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
    /// The size behind it.
    pub size: Size,
}

impl Context<'_> {
    /// Whether measurements are missing.
    #[must_use]
    pub fn blind(&self) -> bool {
        self.model
            .window
            .as_ref()
            .is_some_and(|window| self.now - window.at > self.settings.metrics_missing_seconds)
    }

    /// Whether any objective is surely violated by its newest windows.
    #[must_use]
    pub fn violated(&self) -> bool {
        self.objectives
            .iter()
            .any(|objective| self.model.recent.verdict(objective) == Verdict::Violated)
    }

    /// How much is known.
    #[must_use]
    pub fn state(&self, unattainable: bool) -> ModelState {
        let model = self.model;
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
                .all(|(tracker, objective)| checked(tracker, objective));
        let since_drift = self.now - model.drift_at;
        let known = model.demand_known(self.settings);
        Knowledge {
            measured: model.window.is_some(),
            blind: self.blind(),
            unattainable,
            drifting: model.drift_at > 0.0
                && (since_drift < 0.5 * self.settings.learning_seconds || samples < 3.0 || !known),
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
        let most = self.bounds.max_replicas.unwrap_or(MOST_REPLICAS);
        (least.min(most.max(1)), most.max(1))
    }

    /// The load of those objectives that hold at every throughput.
    #[must_use]
    pub fn live_load(&self) -> Load {
        let horizon = self.model.horizon_seconds(self.settings);
        let forecast = &self.model.forecast;
        let trend = forecast.expected(horizon);
        let day = self
            .model
            .profile
            .proven(self.now, self.settings.season_seconds, forecast.present(), horizon);
        let expected = trend.max(day.unwrap_or(0.0));
        Load {
            expected,
            high: expected * forecast.headroom(),
        }
    }

    /// The load that an objective is to hold at.
    fn load_of(&self, objective: &Objective) -> Load {
        objective.throughput_per_second.map_or_else(
            || self.live_load(),
            |declared| Load {
                expected: declared,
                high: declared,
            },
        )
    }

    /// Remarks.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let declared = || {
            self.objectives
                .iter()
                .filter_map(|objective| objective.throughput_per_second)
        };
        let live = self.model.forecast.present();
        let mut flags = Vec::new();
        if self.model.forecast.known() && declared().any(|load| load > EXTRAPOLATED * self.model.highest_load) {
            flags.push(Flag::Extrapolated);
        }
        if declared().any(|load| live > 1.05 * load) {
            flags.push(Flag::ThroughputExceeded);
        }
        flags
    }

    /// Safe utilisation of the present capacity for one objective.
    fn safe_now(&self, index: usize, objective: &Objective, state: ModelState, trusted: Option<f64>) -> f64 {
        let (Some(tracker), Some(shape)) = (
            self.model.trackers.get(index),
            self.model.shape(objective, self.settings),
        ) else {
            return PRIOR_UTILISATION;
        };
        let safe = tracker.safe(objective, &shape);
        if objective.throughput_per_second.is_some() {
            // The load asked for may never come: the curve must do, short of what was seen to be bad.
            let curve = if tracker.fit.is_some() {
                safe.curve
            } else {
                PRIOR_UTILISATION
            };
            return curve
                .max(safe.reach.safe)
                .min(EXTRAPOLATED_UTILISATION)
                .min(safe.reach.bad * 0.9)
                .max(LEAST_UTILISATION);
        }
        let present = self.model.utilisation(self.settings).unwrap_or(0.0);
        let floor = match (state, trusted) {
            (_, Some(trusted)) => trusted,
            (ModelState::Confident, None) => LEAST_UTILISATION,
            (_, None) if self.violated() => LEAST_UTILISATION,
            (_, None) => present.clamp(PRIOR_UTILISATION, 0.8),
        };
        safe.utilisation.max(floor)
    }

    /// Safe utilisation with another capacity: no more than at present, and less by as much as the curve loses.
    fn safe_with(&self, index: usize, objective: &Objective, now: f64, capacity: f64) -> f64 {
        let present = self.model.capacity;
        let (Some(tracker), Some(shape)) = (
            self.model.trackers.get(index),
            self.model.shape(objective, self.settings),
        ) else {
            return 0.0;
        };
        let Some(fit) = tracker.fit.filter(|_| capacity < present * 0.999) else {
            return now;
        };
        let factor = tracker.conformal.factor();
        let before = fit.safe_utilisation(objective.response_time_seconds, factor, &shape);
        let resized = fit.resized(present, capacity, self.cpu_share(&fit));
        let after = resized.safe_utilisation(
            objective.response_time_seconds,
            factor,
            &super::latency::Shape { capacity, ..shape },
        );
        if before > 0.0 {
            now * (after / before).min(1.0)
        } else {
            0.0
        }
    }

    /// Part of the base latency that is CPU time: the tail of the CPU time of a request is not known, so four times its
    /// mean is assumed.
    fn cpu_share(&self, fit: &super::latency::Fit) -> f64 {
        let per_request = self.model.work(self.settings).map_or(0.0, |work| work.per_request);
        (4.0 * per_request / fit.base_seconds.max(1e-6)).min(1.0)
    }

    /// Replicas that pods of `request`, `limit` need for all objectives.
    #[must_use]
    pub fn need(&self, work: &Work, request: f64, limit: f64, state: ModelState, trusted: Option<f64>) -> Option<Need> {
        let cover = if state == ModelState::Confident {
            self.settings.request_utilisation
        } else {
            f64::INFINITY
        };
        let capacity = self.capacity_of(limit);
        let needs = self.objectives.iter().enumerate().map(|(index, objective)| {
            let now = self.safe_now(index, objective, state, trusted);
            let safe = self.safe_with(index, objective, now, capacity);
            let size = Size {
                request,
                limit,
                capacity,
                safe,
            };
            self.need_of(&size, &self.load_of(objective), work, cover)
        });
        needs.max_by_key(|need| need.replicas)
    }

    fn need_of(&self, size: &Size, load: &Load, work: &Work, cover: f64) -> Need {
        let cover = if cover.is_finite() { cover } else { 1e6 };
        let (replicas, binding) = size.replicas(load, work, cover);
        let present = Load {
            expected: self.model.forecast.present(),
            high: load.high,
        };
        let without = Load {
            expected: present.expected,
            high: present.expected,
        };
        let ahead = optimiser::whole(replicas) > optimiser::whole(size.replicas(&without, work, cover).0);
        let bound = match binding {
            Binding::Request => Bound::Use,
            Binding::Latency if ahead => Bound::Forecast,
            Binding::Latency => Bound::Latency,
        };
        Need {
            replicas: optimiser::whole(replicas),
            bound,
            load: *load,
            size: *size,
        }
    }

    fn capacity_of(&self, limit: f64) -> f64 {
        let present = self.model.limit(self.settings).unwrap_or(limit);
        if (limit / present - 1.0).abs() < 0.03 {
            self.model.capacity
        } else {
            self.model.believed(limit)
        }
    }

    /// Requests and limits in force by container.
    #[must_use]
    pub fn in_force(&self) -> BTreeMap<String, Resources> {
        let window = self.model.window.as_ref();
        window.map_or_else(BTreeMap::new, |window| {
            window
                .containers
                .iter()
                .map(|(name, container)| (name.clone(), container.resources))
                .collect()
        })
    }
}

fn checked(tracker: &Tracker, objective: &Objective) -> bool {
    tracker.conformal.checked()
        && tracker.samples >= 5.0
        && tracker.table.requests() >= 3.0 / evidence::allowed(objective)
}

impl Planner {
    /// Decides.
    pub fn decide(&mut self, context: &Context<'_>) -> Decision {
        let state = context.state(self.reaction.unattainable());
        let Some(desired) = context.model.desired.filter(|_| state != ModelState::Cold) else {
            self.state = Some(ModelState::Cold);
            return explain::cold(context.now, context.model.desired);
        };
        let current = if context.bounds.live {
            desired
        } else {
            self.replicas.unwrap_or(desired)
        };
        let work = context.model.work(context.settings);
        let violated = context.violated() && state != ModelState::MetricsMissing;
        let trusted = self.trusted(context, state, violated);
        self.resize(context, state, violated, work.as_ref());
        let need = work.as_ref().and_then(|work| self.need(context, work, state, trusted));
        self.react(context, violated, need.as_ref(), current);
        let state = context.state(self.reaction.unattainable());
        let (replicas, bound) = self.replicas(context, state, violated, need.as_ref(), current);
        self.replicas = Some(replicas);
        self.state = Some(state);
        let containers = self.containers(context);
        explain::decision(&Facts {
            context,
            state,
            replicas,
            current,
            bound,
            need,
            work,
            containers,
            violated,
        })
    }

    /// The application changed.
    pub fn drift(&mut self) {
        self.reaction.forget();
    }

    /// Takes back what the last episode of violation taught, when more capacity did not cure it.
    pub fn restored_tables(&mut self) -> Option<Vec<Table>> {
        if self.reaction.unattainable() && !self.tables.is_empty() {
            Some(std::mem::take(&mut self.tables))
        } else {
            None
        }
    }

    /// Requests and limits to recommend: the plan, or what is in force.
    #[must_use]
    pub fn containers(&self, context: &Context<'_>) -> BTreeMap<String, Resources> {
        let mut containers = context.in_force();
        if let Some(plan) = &self.plan {
            containers.extend(plan.resources());
        }
        containers
    }

    /// The utilisation that held before this violation, while one lasts; otherwise it is brought up to date.
    fn trusted(&mut self, context: &Context<'_>, state: ModelState, violated: bool) -> Option<f64> {
        if violated || self.reaction.unattainable() {
            return (self.trusted > 0.0).then_some(self.trusted);
        }
        let safe = context
            .objectives
            .iter()
            .enumerate()
            .filter(|(_, objective)| objective.throughput_per_second.is_none());
        let safe = safe.map(|(index, objective)| context.safe_now(index, objective, state, None));
        self.trusted = safe.fold(1.0, f64::min);
        None
    }

    fn need(&self, context: &Context<'_>, work: &Work, state: ModelState, trusted: Option<f64>) -> Option<Need> {
        let primary = context.model.primary(context.settings)?;
        let limit = context.model.limit(context.settings)?;
        let present = context.in_force().get(primary).copied().unwrap_or_default();
        let request = present.cpu_request.map_or(limit, |cpu| cpu.0);
        let planned = self.plan.as_ref().and_then(|plan| plan.of(primary));
        let planned = planned.and_then(|planned| Some((planned.cpu_request?.0, planned.cpu_limit?.0)));
        let Some((planned_request, planned_limit)) = planned else {
            return context.need(work, request, limit, state, trusted);
        };
        let planned_need = context.need(work, planned_request, planned_limit, state, trusted);
        if !context.bounds.live
            || ((planned_limit / limit - 1.0).abs() < 0.01 && (planned_request / request - 1.0).abs() < 0.01)
        {
            return planned_need;
        }
        // On the way from one size to the other both must do.
        let need = context.need(work, request, limit, state, trusted);
        [planned_need, need]
            .into_iter()
            .flatten()
            .max_by_key(|need| need.replicas)
    }

    fn react(&mut self, context: &Context<'_>, violated: bool, need: Option<&Need>, current: u32) {
        let model = context.model;
        let Some(window) = &model.window else { return };
        let utilisation = model.utilisation(context.settings).unwrap_or(0.0);
        let exceeded = context.flags().contains(&Flag::ThroughputExceeded);
        let busy = need.is_some_and(|need| need.replicas > current) || utilisation > self.trusted + 0.04;
        let arrived = context.now - self.pace.out_at() < model.starting.seconds() + 1.5 * window.seconds;
        let situation = Situation {
            now: context.now,
            violated,
            explained: busy || exceeded,
            severity: severity(context),
            unsettled: window.starting > 0 || arrived || window.trust < 0.5 && model.drift_at <= 0.0,
            current: window.desired,
        };
        if self.reaction.consider(&situation) {
            self.tables = model.trackers.iter().map(|tracker| tracker.table.clone()).collect();
        }
    }

    fn replicas(
        &mut self,
        context: &Context<'_>,
        state: ModelState,
        violated: bool,
        need: Option<&Need>,
        current: u32,
    ) -> (u32, Bound) {
        let (least, most) = context.replicas();
        let (mut wanted, mut bound) = need.map_or((current, Bound::State), |need| (need.replicas, need.bound));
        if self.reaction.floor() > wanted {
            (wanted, bound) = (self.reaction.floor(), Bound::Latency);
        }
        if state == ModelState::MetricsMissing {
            (wanted, bound) = (current.max(self.replicas.unwrap_or(current)), Bound::State);
        }
        if wanted < least || wanted > most {
            (wanted, bound) = (wanted.clamp(least, most), Bound::Limit);
        }
        let may_shrink = matches!(state, ModelState::Confident | ModelState::Unattainable)
            && (!violated || state == ModelState::Unattainable)
            && context.model.window.as_ref().is_some_and(|window| window.starting == 0);
        let hold_seconds = context.settings.scale_in_hold_seconds;
        let ask = Ask {
            now: context.now,
            wanted,
            current,
            may_shrink,
            hold_seconds,
        };
        let decided = self.pace.decide(&ask);
        (
            decided.clamp(least, most),
            if decided > wanted && !may_shrink {
                Bound::State
            } else {
                bound
            },
        )
    }

    fn resize(&mut self, context: &Context<'_>, state: ModelState, violated: bool, work: Option<&Work>) {
        let model = context.model;
        let (Some(work), Some(primary), Some(limit)) =
            (work, model.primary(context.settings), model.limit(context.settings))
        else {
            return;
        };
        let in_force = context.in_force();
        let request = in_force
            .get(primary)
            .and_then(|resources| resources.cpu_request)
            .map_or(limit, |cpu| cpu.0);
        let safe = SafeTable { context, state };
        let loads = loads(context);
        let present = Size {
            request,
            limit,
            capacity: model.capacity,
            safe: safe.safe_at(model.capacity),
        };
        let question = Question {
            model,
            settings: context.settings,
            bounds: context.bounds,
            loads: &loads,
            replicas: context.replicas(),
            present,
            safe: &safe,
        };
        if let Some(plan) = question.urgent(context.now, &self.containers(context)) {
            self.plan = Some(plan);
            return;
        }
        let due = self
            .plan
            .as_ref()
            .is_none_or(|plan| context.now - plan.at >= context.settings.size_interval_seconds);
        let calm = state == ModelState::Confident && !violated && work.per_request > 0.0;
        if !due || !calm || context.now - self.looked_at < SIZE_LOOK_SECONDS.min(context.settings.size_interval_seconds)
        {
            return;
        }
        self.looked_at = context.now;
        let proposal = question.propose(context.now);
        if let Some(proposal) = proposal.filter(|proposal| proposal.saving >= context.settings.least_saving) {
            self.plan = Some(proposal.plan);
        }
    }
}

/// Exceedance of the newest windows over what is allowed, of the worst objective.
fn severity(context: &Context<'_>) -> f64 {
    let worst = context
        .objectives
        .iter()
        .map(|objective| context.model.recent.latest_share(objective) / evidence::allowed(objective));
    worst.fold(0.0, f64::max)
}

/// Loads that a new size should be good for: what the last half hour brought, or what was declared.
fn loads(context: &Context<'_>) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::new();
    for objective in context.objectives {
        match objective.throughput_per_second {
            Some(declared) => loads.push(Load {
                expected: declared,
                high: declared,
            }),
            None if loads.len() < 6 => {
                let headroom = context.model.forecast.headroom();
                let quantile = |share: f64| context.model.forecast.load_quantile(share);
                loads.extend([0.1, 0.3, 0.5, 0.7, 0.9, 1.0].map(|share| Load {
                    expected: quantile(share),
                    high: quantile(share) * headroom,
                }));
            }
            None => {}
        }
    }
    loads
}

#[derive(Debug)]
struct SafeTable<'a> {
    context: &'a Context<'a>,
    state: ModelState,
}

impl SafeAt for SafeTable<'_> {
    fn safe_at(&self, capacity: f64) -> f64 {
        let safe = self.context.objectives.iter().enumerate().map(|(index, objective)| {
            let now = self.context.safe_now(index, objective, self.state, None);
            self.context.safe_with(index, objective, now, capacity)
        });
        safe.fold(1.0, f64::min)
    }
}
