//! The slow speed: which pod size, at most every half hour and only for a real saving.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::context::{Caution, Context};
use super::knee::{self, Stream};
use super::memory::MEBIBYTE;
use super::observation::Resources;
use super::optimiser::{Load, Market, Size, Work};
use super::units::{Bytes, Cores};
use super::window::Window;

/// Request of a container that hardly uses any CPU, in cores.
const LEAST_CPU: f64 = 0.01;
/// Least request of the container that does the work, in cores.
const LEAST_PRIMARY_CPU: f64 = 0.05;
/// Requests that are tried, as factors of the present one: how far one change may go.
const FACTORS: [f64; 12] = [0.71, 0.79, 0.89, 1.0, 1.12, 1.26, 1.41, 1.58, 1.78, 2.0, 2.24, 2.5];

/// A pod size that was decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Requests and limits by container: CPU in cores, memory in bytes; negative where unset.
    containers: BTreeMap<String, [f64; 4]>,
    /// When it was decided, in seconds since the Unix epoch.
    pub at: f64,
}

impl Plan {
    /// A plan of given resources.
    #[must_use]
    pub fn of_all(containers: &BTreeMap<String, Resources>, at: f64) -> Self {
        let containers = containers.iter();
        let containers = containers.map(|(name, resources)| (name.clone(), to_numbers(resources)));
        Self {
            containers: containers.collect(),
            at,
        }
    }

    /// The plan as resources.
    #[must_use]
    pub fn resources(&self) -> BTreeMap<String, Resources> {
        self.containers
            .iter()
            .map(|(name, numbers)| (name.clone(), from_numbers(numbers)))
            .collect()
    }

    /// The resources of one container.
    #[must_use]
    pub fn of(&self, container: &str) -> Option<Resources> {
        self.containers.get(container).map(from_numbers)
    }
}

/// What a new size is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is known.
    pub context: &'a Context<'a>,
    /// How cautious to be.
    pub caution: Caution,
    /// Loads to carry.
    pub loads: &'a [Load],
    /// The present size.
    pub present: Size,
    /// Whether memory was raised in haste within the last day: then it is not lowered.
    pub keeps_memory: bool,
}

/// A proposal and what it saves.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The plan.
    pub plan: Plan,
    /// Share of the present cost that it saves, 0 to 1.
    pub saving: f64,
    /// Its CPU request in cores, of the container that does the work.
    pub request: f64,
}

impl Question<'_> {
    /// The cheapest plan within reach at `now`; `None` while the work is not known.
    #[must_use]
    pub fn propose(&self, now: f64) -> Option<Proposal> {
        let primary = self.context.model.primary(self.context.settings)?;
        let work = self.context.work?;
        let market = self.market(work, primary, true);
        let before = self.market(work, primary, false).cost(&self.present);
        let (size, cost) = market.cheapest(self.sizes(&work, primary))?;
        let saving = if before.is_finite() { 1.0 - cost / before } else { 1.0 };
        Some(Proposal {
            plan: self.plan(&size, &work, primary, now),
            saving,
            request: size.request,
        })
    }

    /// The size nearest to the present one that its owner allows, whatever is thought of it; `None` while the work is not known.
    #[must_use]
    pub fn allowed(&self, now: f64) -> Option<Proposal> {
        let primary = self.context.model.primary(self.context.settings)?;
        let work = self.context.work?;
        let bounds = self.context.bounds.of(primary);
        let request = bounds.cpu(self.present.request, LEAST_PRIMARY_CPU);
        let size = self.size(request, request * self.limit_ratio());
        // What the owner leaves to choose is the limit: it has room for the bursts within a period.
        let size = self.size(request, size.limit.max(self.least_limit(&size, &work)));
        Some(Proposal {
            plan: self.plan(&size, &work, primary, now),
            saving: 0.0,
            request,
        })
    }

    fn sizes(&self, work: &Work, primary: &str) -> impl Iterator<Item = Size> {
        let present = self.present;
        let bounds = self.context.bounds.of(primary);
        let least = bounds.min_cpu.map_or(0.0, |cpu| cpu.0);
        let most = self.context.model.believed().max(present.request).max(least);
        let ratio = self.limit_ratio();
        let requests = FACTORS.iter().map(move |factor| {
            let request = round_up(present.request * factor, 0.005);
            bounds.cpu(request, LEAST_PRIMARY_CPU)
        });
        requests
            .filter(move |request| *request <= most)
            .map(move |request| self.size(request, request * ratio))
            .filter(|size| self.has_room(size, work))
    }

    /// Limit over request: what the load was seen to surge by, and half as much again, since a limit costs nothing while
    /// nobody else wants the CPU.
    fn limit_ratio(&self) -> f64 {
        let surge = self.context.model.forecast.headroom(0.99);
        let settings = self.context.settings;
        let present = self.present.limit / self.present.request;
        let least = present.clamp(settings.least_limit_ratio, settings.most_limit_ratio);
        (1.5 * surge).clamp(least, settings.most_limit_ratio)
    }

    fn size(&self, request: f64, limit: f64) -> Size {
        let limit = round_up(limit, 0.005);
        let safe = self.context.safe_for_all(request, limit, self.caution);
        self.context.size(request, limit, safe)
    }

    /// Whether bursts within a period of the CFS controller fit, at the load that this pod is to carry.
    fn has_room(&self, size: &Size, work: &Work) -> bool {
        size.limit >= self.least_limit(size, work)
    }

    /// The least limit with room for the bursts within a period, in cores.
    fn least_limit(&self, size: &Size, work: &Work) -> f64 {
        let utilisation = self.context.settings.request_utilisation;
        let load = size.latency_load(work).min(size.request_load(work, utilisation));
        let used = work.idle + work.per_request * load;
        let stream = Stream {
            load,
            per_request: work.per_request,
            used,
        };
        // A pod that was seen to keep the objective with less room need not have more.
        let room =
            (self.present.limit - self.present.safe * self.present.request).max(0.0) / stream.deviation().max(1e-9);
        stream.least_limit(knee::DEVIATIONS.min(room))
    }

    fn market(&self, work: Work, primary: &str, planned: bool) -> Market<'_> {
        let (mut beside, mut fixed, mut per_load) = (0.0, 0.0, 0.0);
        for (name, container) in self.context.model.window.iter().flat_map(|window| &window.containers) {
            let resources = if planned {
                self.beside(name, container.resources)
            } else {
                container.resources
            };
            if name != primary {
                beside += resources.cpu_request.map_or(0.0, |cpu| cpu.0);
            }
            let price = |bytes: Option<Bytes>| {
                bytes.map_or(0.0, |bytes| bytes.0 as f64) / (1024.0 * MEBIBYTE)
                    * self.context.settings.gibibyte_in_cores
            };
            let learnt = self
                .context
                .model
                .memories
                .get(name)
                .filter(|memory| planned && memory.known());
            let at = |load: f64| learnt.and_then(|memory| memory.plan(load)).map(|plan| plan.request);
            let base = price(at(0.0).or(container.resources.memory_request));
            fixed += base;
            per_load += (price(at(100.0)) - price(at(0.0))) / 100.0;
        }
        Market {
            loads: self.loads,
            work,
            utilisation: self.context.settings.request_utilisation,
            replicas: self.context.replicas(),
            beside,
            memory: (fixed, per_load),
        }
    }

    fn plan(&self, size: &Size, work: &Work, primary: &str, now: f64) -> Plan {
        let load = size
            .latency_load(work)
            .min(size.request_load(work, self.context.settings.request_utilisation));
        let containers = self.context.model.window.iter().flat_map(|window| &window.containers);
        let planned = containers.map(|(name, container)| {
            let mut resources = self.beside(name, container.resources);
            if name == primary {
                resources.cpu_request = Some(Cores(size.request));
                resources.cpu_limit = Some(Cores(size.limit));
            }
            (name.clone(), to_numbers(&self.with_memory(name, resources, load)))
        });
        Plan {
            containers: planned.collect(),
            at: now,
        }
    }

    /// Resources of a container other than the primary one, by its own use.
    fn beside(&self, name: &str, present: Resources) -> Resources {
        let Some(demand) = self.context.model.demands.get(name).filter(|demand| demand.known()) else {
            return present;
        };
        let used = demand.cpu(self.pod_load().max(1.0) * 1.3) / self.context.settings.request_utilisation;
        let request = self.context.bounds.of(name).cpu(round_up(used, 0.005), LEAST_CPU);
        let limit = present.cpu_limit.map(|limit| Cores(limit.0.max(3.0 * request)));
        Resources {
            cpu_request: Some(Cores(request)),
            cpu_limit: limit,
            ..present
        }
    }

    fn with_memory(&self, name: &str, present: Resources, load: f64) -> Resources {
        let memory = self.context.model.memories.get(name);
        let Some(plan) = memory.and_then(|memory| memory.plan(load)) else {
            return present;
        };
        let (request, mut limit) = (self.context.bounds.of(name).memory(plan.request), plan.limit);
        limit = limit.max(request);
        if self.keeps_memory {
            limit = limit.max(present.memory_limit.unwrap_or(limit));
        }
        let known = memory.is_some_and(super::memory::Memory::known);
        if !known && present.memory_limit.is_none_or(|before| before > limit) {
            return present;
        }
        Resources {
            memory_request: Some(request),
            memory_limit: Some(limit),
            ..present
        }
    }

    fn pod_load(&self) -> f64 {
        self.context.model.window.as_ref().map_or(0.0, Window::load_per_pod)
    }
}

/// The resources in force with memory raised where a kill or a peak asks for it; `None` where it is enough. A limit that is
/// raised `again` within a day is doubled: what leaks is not followed step by step, each of which replaces pods.
#[must_use]
pub fn urgent(context: &Context<'_>, in_force: &BTreeMap<String, Resources>, again: bool) -> Option<Plan> {
    let raised = in_force
        .iter()
        .map(|(name, resources)| (name, raise(context, name, resources, again)));
    let raised: Vec<_> = raised.collect();
    raised.iter().any(|(_, raised)| raised.is_some()).then(|| {
        let mut containers = in_force.clone();
        containers.extend(
            raised
                .into_iter()
                .filter_map(|(name, raised)| Some((name.clone(), raised?))),
        );
        Plan::of_all(&containers, context.now)
    })
}

fn raise(context: &Context<'_>, name: &str, resources: &Resources, again: bool) -> Option<Resources> {
    let memory = context.model.memories.get(name)?;
    let load = context.model.window.as_ref().map_or(0.0, Window::load_per_pod);
    let most = context.bounds.of(name).max_memory.unwrap_or(Bytes(u64::MAX));
    let plan = memory.plan(load)?;
    let more = |bytes: Bytes| if again { Bytes(bytes.0.saturating_mul(2)) } else { bytes };
    let Some(limit) = resources.memory_limit else {
        // Without a limit it is a node out of memory that kills, and those first that use more than they requested.
        let request = plan
            .request
            .max(resources.memory_request.map_or(Bytes(0), more))
            .min(most);
        let raises = memory.was_killed_at(resources.memory_request) && Some(request) > resources.memory_request;
        return raises.then_some(Resources {
            memory_request: Some(request),
            ..*resources
        });
    };
    if !memory.urgent(limit) {
        return None;
    }
    let raised = plan.limit.max(more(limit)).min(most);
    (raised > limit).then(|| Resources {
        memory_limit: Some(raised),
        memory_request: resources.memory_request.max(Some(plan.request.min(most))),
        ..*resources
    })
}

fn round_up(value: f64, step: f64) -> f64 {
    let steps = (value / step - 1e-6).ceil();
    (steps * step * 1e6).round() / 1e6
}

fn to_numbers(resources: &Resources) -> [f64; 4] {
    let cpu = |cores: Option<Cores>| cores.map_or(-1.0, |cores| cores.0);
    let memory = |bytes: Option<Bytes>| bytes.map_or(-1.0, |bytes| bytes.0 as f64);
    [
        cpu(resources.cpu_request),
        cpu(resources.cpu_limit),
        memory(resources.memory_request),
        memory(resources.memory_limit),
    ]
}

fn from_numbers(numbers: &[f64; 4]) -> Resources {
    let some = |value: f64| (value >= 0.0).then_some(value);
    Resources {
        cpu_request: some(numbers[0]).map(Cores),
        cpu_limit: some(numbers[1]).map(Cores),
        memory_request: some(numbers[2]).map(|bytes| Bytes(bytes as u64)),
        memory_limit: some(numbers[3]).map(|bytes| Bytes(bytes as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_survive_as_numbers() {
        let resources = Resources {
            cpu_request: Some(Cores(0.25)),
            memory_limit: Some(Bytes(1 << 28)),
            ..Resources::default()
        };
        assert_eq!(from_numbers(&to_numbers(&resources)), resources);
    }

    #[test]
    fn rounding_goes_up_in_steps() {
        assert!((round_up(0.2501, 0.005) - 0.255).abs() < 1e-12);
        assert!((round_up(0.25, 0.005) - 0.25).abs() < 1e-12);
    }
}
