//! From what is known to a decision.

use std::collections::BTreeMap;

use super::context::{Caution, Context, Need};
use super::decision::{Bound, Decision, Flag, ModelState};
use super::explain::{self, Facts};
use super::observation::Resources;
use super::pace::{Ask, Pace};
use super::reaction::{Reaction, Situation};
use super::settings::Settings;
use super::sizing::{self, Plan, Proposal, Question};

/// Most that latency alone adds in one step, as a factor of the pods that serve.
const MOST_STEP: f64 = 1.5;
/// Most that latency alone asks for in all, as a multiple of what the load needs at the utilisation that held before: at half
/// of that hardly anything queues, so whatever is slow then is not cured by more pods.
const MOST_BY_LOAD: f64 = 2.0;
/// How long to learn before a pod size is chosen, in learning times.
const SIZE_LEARNING: f64 = 3.0;
/// The same while the objective is violated: a larger size may be the cure.
const SIZE_LEARNING_VIOLATED: f64 = 0.75;
/// How many times the usual saving a smaller size must promise: it may cost the objective, a larger one only money.
const SMALLER: f64 = 2.0;
/// Requests that differ by less than this factor are the same, such as those of a plan that changes memory alone.
const SAME: f64 = 1.01;
/// Utilisation below which new code is not taken on account of latency alone.
const NEW_UTILISATION: f64 = 0.5;
/// How long new code must have been measured before anything shrinks, in learning times.
const NEW_LEARNING: f64 = 3.5;
/// Age at which a window is an old one, on which nothing is scaled in, in lengths of it.
const MOST_AGE: f64 = 0.75;
/// Most changes of the pod size in a day of so many size intervals. Two that make pods smaller do not follow each other: a day
/// that began with one keeps the other for growth.
const SIZES_A_DAY: usize = 2;
const DAY: f64 = 48.0;
/// Time between two looks for a better pod size, in seconds.
const SIZE_LOOK_SECONDS: f64 = 60.0;

/// What remembers between decisions.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    /// Two speeds of replicas.
    pub pace: Pace,
    /// Violations that load does not explain.
    pub reaction: Reaction,
    /// The pod size decided last.
    pub plan: Option<Plan>,
    /// When it was decided and when the one before it, in seconds since the Unix epoch; memory raised in haste does not count.
    pub sized_at: [f64; SIZES_A_DAY],
    /// When memory was last raised in haste, in seconds since the Unix epoch.
    pub memory_raised_at: f64,
    /// The plan before, where the last one made pods smaller: it comes back should the objective be violated.
    pub larger: Option<Plan>,
    /// Replicas decided last.
    pub replicas: Option<u32>,
    /// Safe utilisation while the objectives last held.
    pub trusted: f64,
    /// State at the last decision.
    pub state: Option<ModelState>,
    /// When a better pod size was last looked for, in seconds since the Unix epoch.
    pub looked_at: f64,
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
        if self.replicas.is_some_and(|decided| decided < current) {
            self.pace.raised(context.now);
        }
        let violated = context.violated && state != ModelState::MetricsMissing;
        let caution = Caution {
            state,
            trusted: self.trusted(context, state, violated),
        };
        let raised = self.raise_memory(context);
        if !raised {
            self.resize(context, caution, violated);
        }
        let need = self.need(context, caution);
        self.react(context, violated, need.as_ref(), current);
        let state = context.state(self.reaction.unattainable());
        let (wanted, bound) = self.wanted(context, state, need.as_ref(), current);
        let (replicas, bound) = self.replicas(context, state, violated, (wanted, bound), current);
        self.replicas = Some(replicas);
        self.state = Some(state);
        let containers = self.containers(context);
        explain::decision(&Facts {
            context,
            state,
            replicas,
            current,
            bound,
            wanted,
            need,
            containers,
            violated,
            raised,
            caution,
        })
    }

    /// The application changed.
    pub fn drift(&mut self) {
        self.reaction.forget();
    }

    /// When anything was noted last, in seconds since the Unix epoch; 0 if never.
    #[must_use]
    pub fn latest(&self) -> f64 {
        self.sized_at
            .into_iter()
            .fold(self.pace.latest().max(self.reaction.latest()), f64::max)
    }

    /// The clock was set back to `now`: nothing lies ahead of it.
    pub fn not_after(&mut self, now: f64) {
        self.pace.not_after(now);
        self.reaction.not_after(now);
        self.sized_at = self.sized_at.map(|at| at.min(now));
        (self.looked_at, self.memory_raised_at) = (self.looked_at.min(now), self.memory_raised_at.min(now));
    }

    /// Requests and limits to recommend: the plan, or what is in force.
    #[must_use]
    pub fn containers(&self, context: &Context<'_>) -> BTreeMap<String, Resources> {
        let mut containers = context.in_force();
        containers.extend(self.plan.iter().flat_map(Plan::resources));
        containers
    }

    /// The utilisation that held before this violation, while one lasts; otherwise it is brought up to date.
    fn trusted(&mut self, context: &Context<'_>, state: ModelState, violated: bool) -> Option<f64> {
        if context.model.is_new(context.now) {
            let caution = Caution {
                state,
                trusted: violated.then_some(NEW_UTILISATION),
            };
            self.trusted = context.safe_live(caution);
            return caution.trusted;
        }
        if violated || self.reaction.active() {
            return (self.trusted > 0.0).then_some(self.trusted);
        }
        self.trusted = context.safe_live(Caution { state, trusted: None });
        None
    }

    fn need(&self, context: &Context<'_>, caution: Caution) -> Option<Need> {
        let primary = context.model.primary(context.settings)?;
        let (request, limit) = (context.model.request, context.model.limit);
        let Some((planned_request, planned_limit)) = self.planned(primary) else {
            return context.need(request, limit, caution);
        };
        let need = context.need(planned_request, planned_limit, caution);
        let same = |planned: f64, present: f64| (planned / present - 1.0).abs() < 0.01;
        if !context.bounds.live || same(planned_limit, limit) && same(planned_request, request) {
            return need;
        }
        // On the way from one size to the other both must do; but pods that become larger one by one need not become more.
        let most = if self.grows(context) {
            context.model.desired
        } else {
            None
        };
        let present = context.need(request, limit, caution).map(|need| Need {
            replicas: need.replicas.min(most.unwrap_or(u32::MAX)),
            ..need
        });
        [need, present].into_iter().flatten().max_by_key(|need| need.replicas)
    }

    /// CPU request and limit of the plan, in cores.
    fn planned(&self, primary: &str) -> Option<(f64, f64)> {
        let planned = self.plan.as_ref()?.of(primary)?;
        Some((planned.cpu_request?.0, planned.cpu_limit?.0))
    }

    /// Whether pods are on their way to a larger size.
    fn grows(&self, context: &Context<'_>) -> bool {
        let model = context.model;
        let planned = model
            .primary(context.settings)
            .and_then(|primary| self.planned(primary));
        planned.is_some_and(|(request, limit)| request > SAME * model.request && limit >= model.limit)
    }

    fn react(&mut self, context: &Context<'_>, violated: bool, need: Option<&Need>, current: u32) {
        let model = context.model;
        let Some(window) = &model.window else { return };
        let utilisation = model.utilisation(context.settings).unwrap_or(0.0);
        let exceeded = context.flags().contains(&Flag::ThroughputExceeded);
        let busy = need.is_some_and(|need| need.replicas > current) || utilisation > self.trusted + 0.04;
        let answered = model.starting.seconds() + context.response_seconds() + 1.5 * window.seconds;
        let arrived = context.now - self.pace.out_at() < answered;
        let situation = Situation {
            now: context.now,
            violated,
            explained: busy || exceeded || model.forecast.jumped(),
            severity: context.severity(),
            severe: context.severe(),
            budget_left: context.budget_left(),
            unsettled: window.starting > 0 || arrived || window.trust < 0.5 && model.drift_at <= 0.0,
            response_seconds: context.response_seconds(),
            current: window.desired,
            by_load: self.by_load(context, ModelState::Confident),
        };
        let begun = self.reaction.consider(&situation);
        if begun && let Some(larger) = self.larger.take() {
            self.resized(larger, context.now);
        }
    }

    /// Replicas that are wanted, whatever the least and the most are, and what bound them.
    fn wanted(&self, context: &Context<'_>, state: ModelState, need: Option<&Need>, current: u32) -> (u32, Bound) {
        let (mut wanted, mut bound) = need.map_or((current, Bound::State), |need| (need.replicas, need.bound));
        if self.reaction.floor() > wanted {
            (wanted, bound) = (self.reaction.floor(), Bound::Latency);
        }
        wanted = wanted.min(self.most_at_once(context, state, current));
        wanted = self.while_rolling(context, wanted);
        if state == ModelState::MetricsMissing {
            (wanted, bound) = (current.max(self.replicas.unwrap_or(current)), Bound::State);
        }
        (wanted, bound)
    }

    fn replicas(
        &mut self,
        context: &Context<'_>,
        state: ModelState,
        violated: bool,
        (mut wanted, mut bound): (u32, Bound),
        current: u32,
    ) -> (u32, Bound) {
        let (least, most) = context.replicas();
        if wanted < least || wanted > most {
            (wanted, bound) = (wanted.clamp(least, most), Bound::Limit);
        }
        let may_shrink = matches!(state, ModelState::Confident | ModelState::Unattainable)
            && (!violated || state == ModelState::Unattainable)
            && context
                .model
                .window
                .as_ref()
                .is_some_and(|window| window.starting == 0 && context.now - window.at < MOST_AGE * window.seconds)
            && context.without_cpu().is_none()
            && context.now - context.model.changed_at >= NEW_LEARNING * context.settings.learning_seconds;
        let hold_seconds = context.settings.scale_in_hold_seconds;
        let decided = self.pace.decide(&Ask {
            now: context.now,
            wanted,
            current,
            may_shrink,
            hold_seconds,
            interval_seconds: context.settings.decision_interval_seconds,
        });
        let held = decided > wanted && !may_shrink;
        (decided.clamp(least, most), if held { Bound::State } else { bound })
    }

    /// While a rolling update takes pods away so many more are needed, unless each comes back larger.
    fn while_rolling(&self, context: &Context<'_>, wanted: u32) -> u32 {
        let rolling = context.bounds.live && context.model.window.as_ref().is_some_and(|window| window.rolling);
        if rolling && !self.grows(context) {
            context.bounds.rollout.with_headroom(wanted)
        } else {
            wanted
        }
    }

    /// Latency alone asks for no more than a step at a time: what the load needs at the utilisation that was trusted, or
    /// half as many again as serve now; and never for more than twice what the load needs.
    fn most_at_once(&self, context: &Context<'_>, state: ModelState, current: u32) -> u32 {
        let by_load = self.by_load(context, state);
        let ready = context.model.window.as_ref().map_or(current, |window| window.ready);
        let step = (f64::from(ready) * MOST_STEP).min(f64::from(by_load) * MOST_BY_LOAD);
        by_load.max(step.ceil() as u32).max(current)
    }

    /// Replicas that the load needs at the utilisation that was trusted.
    fn by_load(&self, context: &Context<'_>, state: ModelState) -> u32 {
        let (request, limit) = (context.model.request, context.model.limit);
        let trusted = Some(if self.trusted > 0.0 { self.trusted } else { 0.5 });
        context
            .need(request, limit, Caution { state, trusted })
            .map_or(0, |need| need.replicas)
    }

    fn resize(&mut self, context: &Context<'_>, caution: Caution, violated: bool) {
        let model = context.model;
        let forbidden = self.is_forbidden(context);
        let judged = (forbidden || !self.outgrown(context, caution.state))
            && self.due(context, caution.state, violated, forbidden);
        let looked = judged || forbidden && self.looks(context);
        if context.work.is_none() || model.request <= 0.0 || !looked {
            return;
        }
        self.looked_at = context.now;
        let loads = context.loads();
        let question = Question {
            context,
            caution,
            loads: &loads,
            keeps_memory: self.lately_raised(context),
            present: context.size(
                model.request,
                model.limit,
                context.safe_for_all(model.request, model.limit, caution),
            ),
        };
        let least = context.settings.least_saving;
        let shrinks = |proposal: &Proposal| SAME * proposal.request < model.request;
        let shrinkable = self.larger.is_none() || self.sizes(context) == 0;
        let wanted = |proposal: &Proposal| {
            let grows = proposal.request > SAME * model.request;
            let saving = if shrinks(proposal) { SMALLER * least } else { least };
            proposal.saving >= saving && (grows || !violated) && (!shrinks(proposal) || shrinkable)
        };
        let proposed = judged.then(|| question.propose(context.now)).flatten();
        // What the owner says holds, whatever it saves, and even where the model would have no such size or knows too little
        // to choose among those that are allowed.
        let proposal = if forbidden {
            proposed.or_else(|| question.allowed(context.now))
        } else {
            proposed.filter(wanted)
        };
        if let Some(proposal) = proposal {
            let before = Plan::of_all(&self.containers(context), context.now);
            self.larger = shrinks(&proposal).then_some(before);
            self.resized(proposal.plan, context.now);
        }
    }

    /// Whether the load has just outgrown the pods: more of them are wanted now, and none may be taken away to be replaced.
    fn outgrown(&self, context: &Context<'_>, state: ModelState) -> bool {
        let ready = context.model.window.as_ref().map_or(0, |window| window.ready);
        context.model.forecast.jumped() || self.by_load(context, state) > ready
    }

    /// Raises memory where a kill or a peak asks for it, whatever else is known.
    fn raise_memory(&mut self, context: &Context<'_>) -> bool {
        let plan = sizing::urgent(context, &self.containers(context), self.lately_raised(context));
        let raised = plan.is_some();
        if raised {
            self.memory_raised_at = context.now;
        }
        self.plan = plan.or_else(|| self.plan.take());
        raised
    }

    /// Whether memory was raised in haste within the last day.
    fn lately_raised(&self, context: &Context<'_>) -> bool {
        self.memory_raised_at > 0.0 && context.now - self.memory_raised_at < day(context.settings)
    }

    fn resized(&mut self, plan: Plan, now: f64) {
        self.plan = Some(plan);
        self.sized_at = [now, self.sized_at[0]];
        self.reaction.forget();
    }

    /// Whether the CPU request that is planned, or in force where none is, is one that its owner has come to forbid.
    fn is_forbidden(&self, context: &Context<'_>) -> bool {
        let Some(primary) = context.model.primary(context.settings) else {
            return false;
        };
        let request = self
            .planned(primary)
            .map_or(context.model.request, |(request, _)| request);
        let allowed = context.bounds.of(primary).cpu(request, 0.0);
        request > SAME * allowed || allowed > SAME * request
    }

    /// Sizes decided within the last day, and for the present template: another one replaces all pods anyway.
    fn sizes(&self, context: &Context<'_>) -> usize {
        let since = context.model.changed_at.max(context.now - day(context.settings));
        self.sized_at.iter().filter(|at| **at > since.max(0.0)).count()
    }

    /// Whether another size may be decided: not more than two a day and some time after the last, but at once where the
    /// owner's bounds forbid the present one.
    fn due(&self, context: &Context<'_>, state: ModelState, violated: bool, forbidden: bool) -> bool {
        let settings = context.settings;
        let sizes = self.sizes(context);
        let rested = sizes == 0 || context.now - self.sized_at[0] >= settings.size_interval_seconds;
        let rested = rested && sizes < SIZES_A_DAY;
        let learnt = context.now - context.model.since.max(context.model.drift_at);
        let known = matches!(state, ModelState::Confident | ModelState::Unattainable);
        let learning = if violated {
            SIZE_LEARNING_VIOLATED
        } else {
            SIZE_LEARNING
        };
        (known || violated && state != ModelState::MetricsMissing)
            && context.without_cpu().is_none()
            && (forbidden || rested)
            && learnt >= learning * settings.learning_seconds
            && self.looks(context)
    }

    /// Whether the last look at the size is some time ago.
    fn looks(&self, context: &Context<'_>) -> bool {
        context.now - self.looked_at >= SIZE_LOOK_SECONDS.min(context.settings.size_interval_seconds)
    }
}

/// A day of the pace of sizes, in seconds: shorter where that is hurried.
fn day(settings: &Settings) -> f64 {
    DAY * settings.size_interval_seconds
}
