//! Everything that is learnt about one Deployment, and how an observation changes it.

use std::collections::{BTreeMap, VecDeque};

use super::demand::{Demand, Learnt};
use super::evidence::{self, Recent};
use super::forecast::Forecast;
use super::latency::{self, Capacity, Fit, Shape};
use super::memory::Memory;
use super::objective::Objective;
use super::observation::Observation;
use super::optimiser::Work;
use super::profile::Profile;
use super::safety::Bin;
use super::settings::Settings;
use super::starting::Starting;
use super::tracker::{Seen, Tracker};
use super::units::Bytes;
use super::window::{ContainerWindow, Window};

/// Least trust in a pair of load and CPU while the demand is not known: a rough line is better than none.
const FIRST_TRUST: f64 = 0.5;
/// Length of a window over the scrape interval from which on it is late, and how far its CPU is trusted then.
const LATE: f64 = 1.5;
const LATE_TRUST: f64 = 0.2;
/// Time for which code counts as new, in seconds.
const NEW_SECONDS: f64 = 900.0;
/// Limit in cores assumed of a container with neither limit nor request.
const UNKNOWN_LIMIT: f64 = 1.0;
/// What a table keeps of its weight when the pods have another size.
const SIZE_FADE: f64 = 0.3;
/// Windows that may be missing before the next one is not trusted.
const MOST_GAP: f64 = 3.0;
/// Loads younger than this part of the lag of CPU figures are in none of those.
const NEWEST: f64 = 0.2;
/// Most that another size is believed to raise the safe utilisation, as a factor.
const MOST_GAIN: f64 = 1.8;
/// Utilisation that a curve must allow for ratios of it to mean something.
pub const LEAST_CURVE: f64 = 0.15;
/// Part of a promised gain that is believed.
pub const BELIEVED: f64 = 0.6;
/// Use of any pod, in cores, above which an application is known to keep more than one core busy.
const MORE_THAN_ONE_CORE: f64 = 1.1;

/// What is learnt.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// One per objective, in their order.
    pub trackers: Vec<Tracker>,
    /// CPU demand by container.
    pub demands: BTreeMap<String, Demand>,
    /// Memory by container.
    pub memories: BTreeMap<String, Memory>,
    /// Load ahead.
    pub forecast: Forecast,
    /// The day.
    pub profile: Profile,
    /// Pod start time.
    pub starting: Starting,
    /// The last five minutes.
    pub recent: Recent,
    /// What bounds the CPU of a pod.
    pub capacity: Capacity,
    /// The last usable window.
    pub window: Option<Window>,
    /// The template in force.
    pub template: String,
    /// Replicas that the Deployment asks for, also when blind.
    pub desired: Option<u32>,
    /// Whether latency is not learnt from at present: something other than utilisation makes it long.
    pub suspended: bool,
    /// Last usable window, learnt from or not, in seconds since the Unix epoch; 0 if none.
    pub seen_at: f64,
    /// First usable window, in seconds since the Unix epoch; 0 if none.
    pub since: f64,
    /// Last window that told the CPU of the application, in seconds since the Unix epoch; the first at least, 0 if none.
    pub cpu_at: f64,
    /// Last change of the application, in seconds since the Unix epoch; 0 if none.
    pub drift_at: f64,
    /// Last change of its template, in seconds since the Unix epoch; 0 if none.
    pub changed_at: f64,
    /// Highest load seen, in requests per second.
    pub highest_load: f64,
    /// Most cores that a pod was seen to use.
    pub most_used: f64,
    /// CPU request of a pod in the last window, in cores.
    pub request: f64,
    /// CPU limit of a pod in the last window, in cores.
    pub limit: f64,
    /// Request and limit when all pods last had the same, in cores; 0 before.
    pub settled: (f64, f64),
    /// Load per pod over the lag of CPU metrics: (instant, requests per second).
    pub loads: VecDeque<(f64, f64)>,
}

impl Model {
    /// Takes in one observation. `true` when the application has changed.
    pub fn observe(&mut self, observation: &Observation, objectives: &[Objective], settings: &Settings) -> bool {
        if self
            .window
            .as_ref()
            .is_some_and(|window| observation.at_seconds <= window.at)
        {
            return false;
        }
        self.desired = Some(observation.desired_replicas);
        self.starting.learn(observation);
        self.learn_kills(observation);
        let changed = self.changed_template(observation);
        let Some(window) = Window::new(observation, settings) else {
            return changed;
        };
        if self.after_a_gap(&window) {
            return changed;
        }
        if self.since <= 0.0 {
            self.since = window.at;
        }
        let drifted = self.learn_resources(&window, settings);
        self.learn_load(&window, settings);
        self.window = Some(window);
        self.learn_most_used(settings);
        self.learn_latency(observation, objectives, settings);
        if drifted && !changed {
            self.drift(observation.at_seconds);
        }
        changed || drifted
    }

    /// When anything was noted last, in seconds since the Unix epoch; 0 if never.
    #[must_use]
    pub fn latest(&self) -> f64 {
        let stamps = [self.since, self.drift_at, self.changed_at, self.cpu_at, self.seen_at];
        stamps.into_iter().fold(self.forecast.latest_at(), f64::max)
    }

    /// The clock was set back to `now`: nothing lies ahead of it, and the next window is measured from this one.
    pub fn not_after(&mut self, now: f64) {
        for stamp in [
            &mut self.since,
            &mut self.drift_at,
            &mut self.changed_at,
            &mut self.cpu_at,
        ] {
            *stamp = stamp.min(now);
        }
        self.seen_at = 0.0;
        self.window = None;
        self.recent = Recent::default();
        self.loads.clear();
        self.forecast.not_after(now);
        self.profile.forget_pending();
        self.starting.not_after(now);
    }

    /// The container that does the work: the one whose CPU grows most with load, the sidecar aside.
    #[must_use]
    pub fn primary(&self, settings: &Settings) -> Option<&str> {
        let window = self.window.as_ref()?;
        let rank = |name: &str, container: &ContainerWindow| {
            let used = self
                .demands
                .get(name)
                .map_or(0.0, |demand| demand.cpu(window.load_per_pod()));
            if used > 0.0 {
                used
            } else {
                container.resources.cpu_request.map_or(0.0, |cpu| cpu.0 * 1e-3)
            }
        };
        window
            .containers
            .iter()
            .filter(|(name, _)| **name != settings.sidecar)
            .max_by(|a, b| rank(a.0, a.1).total_cmp(&rank(b.0, b.1)).then_with(|| b.0.cmp(a.0)))
            .map(|(name, _)| name.as_str())
    }

    /// The work of the primary container.
    #[must_use]
    pub fn work(&self, settings: &Settings) -> Option<Work> {
        let demand = self.demands.get(self.primary(settings)?)?;
        let per_request = demand.per_request();
        (per_request > 0.0).then(|| Work {
            idle: demand.idle(),
            per_request,
        })
    }

    /// Whether the demand of the primary container is known.
    #[must_use]
    pub fn demand_known(&self, settings: &Settings) -> bool {
        self.primary(settings)
            .and_then(|name| self.demands.get(name))
            .is_some_and(Demand::known)
    }

    /// Most cores worth giving to a pod: beyond one core, and beyond what it has, more is only believed of an application
    /// that was seen to keep more than one core busy.
    #[must_use]
    pub fn believed(&self) -> f64 {
        match self.capacity {
            Capacity::Threads(threads) => f64::from(threads),
            _ if self.most_used > MORE_THAN_ONE_CORE => f64::INFINITY,
            _ => self.request.max(1.0),
        }
    }

    /// The present utilisation of the pods' requests.
    #[must_use]
    pub fn utilisation(&self, settings: &Settings) -> Option<f64> {
        let (window, work) = (self.window.as_ref()?, self.work(settings)?);
        let used = work.idle + work.per_request * window.load_per_pod();
        (self.request > 0.0).then(|| used / self.request)
    }

    /// The pod that curves are drawn for.
    #[must_use]
    pub fn shape(&self, objective: &Objective, settings: &Settings) -> Option<Shape> {
        self.work(settings)
            .map(|work| self.shape_of(objective, &work, self.request, self.limit))
    }

    /// A pod of another size.
    #[must_use]
    pub fn shape_of(&self, objective: &Objective, work: &Work, request: f64, limit: f64) -> Shape {
        Shape {
            request,
            limit,
            capacity: self.capacity.cores(request, limit).max(1e-3),
            per_request: work.per_request,
            idle: work.idle,
            percentile: objective.percentile,
        }
    }

    /// Highest utilisation that the curve alone allows at two sizes, each a request and a limit in cores.
    #[must_use]
    pub fn safe_by_curve(
        &self,
        tracker: &Tracker,
        objective: &Objective,
        (from, to): ((f64, f64), (f64, f64)),
        work: &Work,
    ) -> Option<(f64, f64)> {
        let fit = tracker.fit?;
        let before = self.shape_of(objective, work, from.0, from.1);
        let mut after = self.shape_of(objective, work, to.0, to.1);
        // No pod is trusted to have more than its share of what the present one has.
        after.capacity = after.capacity.min(before.capacity * to.0 / from.0);
        let resized = fit.resized(before.capacity, after.capacity, cpu_share(&fit, work));
        let (target, factor) = (objective.response_time_seconds, tracker.planning_factor(objective));
        Some((
            fit.safe_utilisation(target, factor, &before),
            resized.safe_utilisation(target, factor, &after),
        ))
    }

    /// How far ahead a decision must look, in seconds.
    #[must_use]
    pub fn horizon_seconds(&self, settings: &Settings) -> f64 {
        settings.scrape_interval_seconds + settings.decision_interval_seconds + self.starting.seconds()
    }

    /// Whether the code changed so lately that what held for the one before says little about it.
    #[must_use]
    pub fn is_new(&self, now: f64) -> bool {
        self.changed_at > 0.0 && now - self.changed_at < NEW_SECONDS
    }

    /// Objectives changed: what was learnt about those that stay is kept, and the latencies of a percentile that stays.
    pub fn match_objectives(&mut self, before: &[Objective], after: &[Objective]) {
        let old = std::mem::take(&mut self.trackers);
        self.trackers = after.iter().map(|objective| kept(objective, before, &old)).collect();
    }

    /// The application changed at `at`: relearn.
    fn drift(&mut self, at: f64) {
        self.drift_at = at;
        self.capacity = Capacity::default();
        self.demands.values_mut().for_each(|demand| demand.forget());
        self.trackers.iter_mut().for_each(Tracker::drift);
    }

    /// Counters that were not read for a while have gathered what no single window holds: the first after a gap is only
    /// what the next ones are measured from.
    fn after_a_gap(&mut self, window: &Window) -> bool {
        let gap = self.seen_at > 0.0 && window.at - self.seen_at > MOST_GAP * window.seconds;
        self.seen_at = window.at;
        gap
    }

    fn changed_template(&mut self, observation: &Observation) -> bool {
        let changed = !self.template.is_empty() && self.template != observation.template;
        self.template.clone_from(&observation.template);
        if changed {
            self.drift(observation.at_seconds);
            self.changed_at = observation.at_seconds;
            self.memories.values_mut().for_each(Memory::forget);
            // Other code may have fewer threads.
            self.most_used = 0.0;
        }
        changed
    }

    fn learn_kills(&mut self, observation: &Observation) {
        for (name, container) in observation.pods.iter().flat_map(|pod| &pod.containers) {
            if container.killed_for_memory {
                let resources = &container.resources;
                let limit = resources
                    .memory_limit
                    .or(container.memory.max(resources.memory_request));
                let limit = limit.unwrap_or(Bytes(0));
                self.memories.entry(name.clone()).or_default().killed(limit);
            }
        }
    }

    fn learn_resources(&mut self, window: &Window, settings: &Settings) -> bool {
        self.loads.push_back((window.at, window.pod_load));
        while self
            .loads
            .front()
            .is_some_and(|(at, _)| *at < window.at - settings.cpu_lag_seconds)
        {
            self.loads.pop_front();
        }
        let (load, trust) = paired(&self.loads, window.at, settings.cpu_lag_seconds);
        // A machine that cannot keep up with scraping does not tell CPU in time either.
        let late = window.seconds > LATE * settings.scrape_interval_seconds;
        let trust = if late { LATE_TRUST * trust } else { trust };
        let mut drifted = false;
        let mut application = window.containers.iter().filter(|(name, _)| **name != settings.sidecar);
        if self.cpu_at <= 0.0 || application.any(|(_, container)| container.cpu.is_some()) {
            self.cpu_at = window.at;
        }
        for (name, container) in &window.containers {
            let demand = self.demands.entry(name.clone()).or_default();
            // A rough line is better than none, but none is learnt from pods that have just started where there is one.
            let told = container.cpu.filter(|_| window.settled || demand.per_request() <= 0.0);
            if let Some(cpu) = told {
                let trust = if demand.known() { trust } else { trust.max(FIRST_TRUST) };
                let learnt = demand.learn(load, cpu, trust);
                drifted |= learnt == Learnt::Drift && *name != settings.sidecar;
            }
            if let Some(memory) = container.memory {
                self.memories
                    .entry(name.clone())
                    .or_default()
                    .learn(window.at, load, memory);
            }
        }
        drifted
    }

    /// The most that any pod was seen to use: told, not reckoned from the load, which may exceed what a pod can do.
    fn learn_most_used(&mut self, settings: &Settings) {
        let primary = self.primary(settings);
        let window = self.window.as_ref().zip(primary);
        let used = window.and_then(|(window, primary)| window.containers.get(primary)?.most_cpu);
        self.most_used = self.most_used.max(used.unwrap_or(0.0));
    }

    fn learn_load(&mut self, window: &Window, settings: &Settings) {
        let horizon = self.horizon_seconds(settings);
        self.forecast.learn(window.at, window.seconds, window.load, horizon);
        let trend = self.forecast.ahead(horizon);
        self.profile
            .learn(window.at, settings.season_seconds, window.load, trend, horizon);
        self.highest_load = self.highest_load.max(window.load);
    }

    fn learn_latency(&mut self, observation: &Observation, objectives: &[Objective], settings: &Settings) {
        let Some((at, seconds, trust)) = self
            .window
            .as_ref()
            .map(|window| (window.at, window.seconds, window.trust))
        else {
            return;
        };
        self.recent.add(at, &observation.latency);
        for (tracker, objective) in self.trackers.iter_mut().zip(objectives) {
            tracker
                .budget
                .add(evidence::count(&observation.latency, objective), seconds);
        }
        self.learn_size(objectives, settings);
        let Some(utilisation) = self.utilisation(settings) else {
            return;
        };
        let seen = Seen {
            at,
            latency: &observation.latency,
            utilisation,
            trust,
            requests_per_sample: settings.requests_per_sample,
        };
        // After a change utilisation is not known before the CPU of the new code is.
        if self.suspended || self.drift_at > 0.0 && !self.demand_known(settings) {
            return;
        }
        for (index, objective) in objectives.iter().enumerate() {
            let Some(shape) = self.shape(objective, settings) else {
                return;
            };
            if let Some(tracker) = self.trackers.get_mut(index) {
                tracker.learn(&seen, objective, &shape);
                if tracker.fit.is_none() {
                    tracker.refit(&shape);
                }
            }
        }
        self.infer_capacity(objectives, settings);
    }

    /// Follows the size of the pods. What was seen at a utilisation is taken to hold for another size at as many times that
    /// as the curve says, which is what the size was chosen by, though it weighs less.
    fn learn_size(&mut self, objectives: &[Objective], settings: &Settings) {
        let Some((request, limit)) = self.size(settings) else {
            return;
        };
        (self.request, self.limit) = (request, limit);
        let unsettled = self
            .window
            .as_ref()
            .is_some_and(|window| window.rolling || window.mixed);
        let settled = std::mem::replace(&mut self.settled, (request, limit));
        if settled.0 <= 0.0 {
            return;
        }
        if unsettled {
            self.settled = settled;
            return;
        }
        let other = |before: f64, now: f64| (now / before - 1.0).abs() > 0.03;
        if other(settled.0, request) || other(settled.1, limit) {
            let mut trackers = std::mem::take(&mut self.trackers);
            for (tracker, objective) in trackers.iter_mut().zip(objectives) {
                tracker.rescale(self.gain(tracker, objective, (settled, (request, limit)), settings));
                tracker.table.fade(SIZE_FADE);
            }
            self.trackers = trackers;
        }
    }

    /// How many times the utilisation that was safe at one size is taken to be so at another.
    fn gain(
        &self,
        tracker: &Tracker,
        objective: &Objective,
        sizes: ((f64, f64), (f64, f64)),
        settings: &Settings,
    ) -> f64 {
        let by_curve = self
            .work(settings)
            .and_then(|work| self.safe_by_curve(tracker, objective, sizes, &work));
        by_curve
            .filter(|(before, after)| *before > LEAST_CURVE && *after > 0.0)
            .map_or(1.0, |(before, after)| believed_gain(after / before))
    }

    /// CPU request and limit of the primary container over the ready pods. One that is not set is derived from the
    /// other: without a limit twice the request, without a request the limit.
    fn size(&self, settings: &Settings) -> Option<(f64, f64)> {
        let container = self.window.as_ref()?.containers.get(self.primary(settings)?)?;
        let limit = container
            .limit
            .or(container.request.map(|request| 2.0 * request))
            .unwrap_or(UNKNOWN_LIMIT);
        let limit = limit.max(0.001);
        Some((container.request.unwrap_or(limit).clamp(0.001, limit), limit))
    }

    fn infer_capacity(&mut self, objectives: &[Objective], settings: &Settings) {
        let Some((objective, tracker)) = objectives.iter().zip(&self.trackers).next() else {
            return;
        };
        let Some(shape) = self.shape(objective, settings) else {
            return;
        };
        if tracker.samples < 10.0 || tracker.samples % 5.0 >= 1.0 {
            return;
        }
        let bins: Vec<Bin> = tracker.table.bins().copied().collect();
        self.capacity = latency::infer_capacity(&bins, &shape, self.capacity);
    }
}

/// The load that belongs to the CPU figure that is visible now, and how far the two may be set against each other: less
/// the more the load moved. A metrics server averages over a window and publishes it late: the newest load is not in the
/// figure yet, which during a rise would look too low against it.
fn paired(loads: &VecDeque<(f64, f64)>, now: f64, lag: f64) -> (f64, f64) {
    let mean = |oldest: f64, newest: f64| {
        let within = loads.iter().filter(|(at, _)| (newest..=oldest).contains(&(now - at)));
        let (count, sum) = within.fold((0.0, 0.0), |(count, sum), (_, load)| (count + 1.0, sum + load));
        (count > 0.0).then(|| sum / count)
    };
    let all = mean(f64::INFINITY, 0.0).unwrap_or(0.0);
    let most = loads.iter().map(|(_, load)| *load).fold(0.0, f64::max);
    let least = loads.iter().map(|(_, load)| *load).fold(f64::INFINITY, f64::min);
    let moved = if all > 0.0 { (most - least) / all } else { 0.0 };
    let load = mean(lag, NEWEST * lag).unwrap_or(all);
    (load, 1.0 / (1.0 + (moved / 0.2).powi(2)))
}

/// What is believed of a gain that the curve promises of a size never tried: a loss in full, of a gain a part.
#[must_use]
pub fn believed_gain(gain: f64) -> f64 {
    if gain <= 1.0 {
        gain
    } else {
        (1.0 + BELIEVED * (gain - 1.0)).min(MOST_GAIN)
    }
}

/// Part of the base latency that is CPU time: the tail of the CPU time of a request is not known, so four times its mean
/// is assumed.
fn cpu_share(fit: &Fit, work: &Work) -> f64 {
    (4.0 * work.per_request / fit.base_seconds.max(1e-6)).min(1.0)
}

fn kept(objective: &Objective, before: &[Objective], old: &[Tracker]) -> Tracker {
    let same = |other: &Objective| (other.percentile - objective.percentile).abs() < 1e-9;
    let exact = |other: &Objective| {
        same(other) && (other.response_time_seconds / objective.response_time_seconds - 1.0).abs() < 1e-9
    };
    let find = |matches: &dyn Fn(&Objective) -> bool| {
        before
            .iter()
            .position(matches)
            .and_then(|index| old.get(index))
            .cloned()
    };
    if let Some(tracker) = find(&exact) {
        return tracker;
    }
    find(&same).map_or_else(Tracker::default, |mut tracker| {
        tracker.table.forget_counts();
        tracker.budget = evidence::Budget::default();
        tracker.samples = 0.0;
        tracker
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_set_against_the_load_of_its_own_time() {
        let rising: VecDeque<(f64, f64)> = (0..5)
            .map(|step| (f64::from(step) * 15.0, 100.0 + 20.0 * f64::from(step)))
            .collect();
        let (load, trust) = paired(&rising, 60.0, 60.0);
        assert!((load - 130.0).abs() < 1e-9, "{load}");
        assert!(trust < 0.3, "{trust}");
        let standing: VecDeque<(f64, f64)> = (0..5).map(|step| (f64::from(step) * 15.0, 100.0)).collect();
        assert_eq!(paired(&standing, 60.0, 60.0), (100.0, 1.0));
        assert_eq!(paired(&VecDeque::from([(60.0, 7.0)]), 60.0, 60.0), (7.0, 1.0));
    }

    #[test]
    fn of_a_gain_a_part_is_believed_and_a_loss_in_full() {
        assert!((believed_gain(1.5) - 1.3).abs() < 1e-12 && (believed_gain(0.8) - 0.8).abs() < 1e-12);
        assert!(believed_gain(10.0) <= MOST_GAIN);
    }
}
