//! Requests and limits of a new pod.

use std::collections::BTreeMap;

use super::Arrival;
use super::inject::Injection;
use crate::amounts::{Amounts, Kind, Pair, QualityOfService, quality_of_service};
use crate::hpa;
use crate::limits::{Demand, Limits, Traits};
use crate::notices::Reason;
use crate::outcome::Outcome;
use crate::patch::write_text;
use crate::plans::{ContainerResources, names};
use crate::record::{Annotations, readable};
use crate::view::{Container, PodSpec, Resources};
use crate::workload::Workload;

/// A sidecar is not squeezed below this.
const LEAST_SIDECAR: Amounts = Amounts {
    cpu: Pair {
        request: Some(5),
        limit: Some(50),
    },
    memory: Pair {
        request: Some(32 << 20),
        limit: Some(64 << 20),
    },
};

/// Local storage of a sidecar, in bytes: its logs.
const SIDECAR_STORAGE: u64 = 32 << 20;

/// What a new pod's containers get.
pub(super) struct Rewriting {
    /// What the injected sidecar gets.
    pub sidecar: Amounts,
    /// Local storage that the injected sidecar has to state, in bytes.
    pub sidecar_storage: Option<u64>,
    /// Whether the namespace has room for it all.
    pub fits: bool,
    /// Containers of the pod with their amounts before and after.
    containers: Vec<Rewritten>,
}

struct Rewritten {
    position: usize,
    name: String,
    before: Amounts,
    after: Amounts,
}

impl Rewriting {
    /// Works the amounts out. What stands in the way is told.
    pub fn of(arrival: &Arrival<'_, '_>, injection: Option<&Injection>, outcome: &mut Outcome) -> Self {
        let current = match current(arrival.spec) {
            Ok(current) => current,
            Err(complaint) => return Self::nothing(arrival, &complaint, outcome),
        };
        let mut containers = planned(arrival, &current, outcome);
        let class = quality_of_service(&current.all());
        if class == QualityOfService::Guaranteed {
            containers.iter_mut().for_each(|container| fix(&mut container.after));
        }
        let sidecar = injection.map(|_| own_sidecar(arrival, class)).unwrap_or_default();
        let mut rewriting = Self {
            sidecar,
            sidecar_storage: None,
            fits: true,
            containers,
        };
        rewriting.hold(arrival, &current, class, injection.is_some(), outcome);
        rewriting
    }

    /// Amounts that are not understood stay; a sidecar gets what sidecars usually get.
    fn nothing(arrival: &Arrival<'_, '_>, complaint: &str, outcome: &mut Outcome) -> Self {
        if arrival.workload.is_some_and(Workload::is_live) {
            outcome.warn(format!("{complaint}; resources are left as they are"));
        }
        Self {
            sidecar: Amounts::from(&arrival.context.settings.sidecar_resources),
            sidecar_storage: None,
            fits: true,
            containers: Vec::new(),
        }
    }

    fn hold(
        &mut self,
        arrival: &Arrival<'_, '_>,
        current: &Current,
        class: QualityOfService,
        injected: bool,
        outcome: &mut Outcome,
    ) {
        let limits = Limits::of(arrival.context.plans, arrival.namespace, traits(arrival.spec));
        if limits.is_empty() || (self.containers.is_empty() && !injected) {
            return;
        }
        let mut demands: Vec<_> = self.containers.iter().map(Rewritten::demand).collect();
        if injected {
            demands.push(sidecar_demand(self.sidecar));
        }
        let held = limits.hold(&mut demands, &self.untouched(current), &[]);
        if injected && let Some(sidecar) = demands.pop() {
            self.sidecar = sidecar.wanted;
        }
        for (container, demand) in self.containers.iter_mut().zip(demands) {
            container.after = demand.wanted;
        }
        if class == QualityOfService::Guaranteed {
            self.keep_guaranteed(injected);
        }
        self.fits = held.fits;
        if let Some((bytes, fits)) = limits.storage(SIDECAR_STORAGE).filter(|_| injected) {
            self.sidecar_storage = Some(bytes);
            self.fits &= fits;
        }
        for note in held.notes {
            outcome.tell(arrival.subject(), Reason::Capped, note);
        }
    }

    /// A cut may have taken requests and limits apart: the smaller of the two fits both.
    fn keep_guaranteed(&mut self, injected: bool) {
        let all = self.containers.iter_mut().map(|container| &mut container.after);
        for amounts in all.chain(injected.then_some(&mut self.sidecar)) {
            for kind in Kind::ALL {
                let pair = amounts.pair_mut(kind);
                let least = pair.request.min(pair.limit).or(pair.request).or(pair.limit);
                *pair = Pair {
                    request: least,
                    limit: least,
                };
            }
        }
    }

    fn untouched(&self, current: &Current) -> Vec<Amounts> {
        let touched = |position: usize| self.containers.iter().any(|container| container.position == position);
        let containers = current.containers.iter().enumerate();
        let rest = containers
            .filter(|(position, _)| !touched(*position))
            .map(|(_, amounts)| *amounts);
        rest.chain(current.sidecars.iter().copied()).collect()
    }

    /// Leaves every container as it is.
    pub fn leave(&mut self) {
        self.containers.clear();
    }

    /// Writes the amounts and the records of them.
    pub fn patch(&self, spec: &PodSpec<'_>, annotations: &mut Annotations<'_, '_>, outcome: &mut Outcome) {
        let mut changed: Vec<_> = self
            .containers
            .iter()
            .filter(|container| container.before != container.after)
            .collect();
        for container in &changed {
            let path = format!("/spec/containers/{}", container.position);
            let resources = spec.containers()[container.position].resources.as_ref();
            container.after.patch(&path, resources, &mut outcome.patch);
        }
        if !changed.is_empty() {
            changed.sort_by(|a, b| a.name.cmp(&b.name));
            annotations.set(names::ORIGINAL, record(&changed, |container| container.before));
            annotations.set(names::EFFECTIVE, record(&changed, |container| container.after));
        }
    }
}

impl Rewritten {
    fn demand(&self) -> Demand {
        Demand {
            name: self.name.clone(),
            least: self.before,
            wanted: self.after,
        }
    }
}

fn sidecar_demand(wanted: Amounts) -> Demand {
    Demand {
        name: names::SIDECAR_CONTAINER.to_owned(),
        least: LEAST_SIDECAR,
        wanted,
    }
}

#[derive(serde::Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    containers: BTreeMap<String, Resources<'a>>,
}

/// The amounts by container that a record of ours holds.
pub(super) fn recorded(record: &str) -> BTreeMap<String, Amounts> {
    let record = readable(record).and_then(|record| serde_json::from_str::<Record<'_>>(record).ok());
    let containers = record.iter().flat_map(|record| &record.containers);
    containers
        .filter_map(|(name, resources)| Some((name.clone(), Amounts::read(Some(resources)).ok()?)))
        .collect()
}

fn record(containers: &[&Rewritten], amounts: fn(&Rewritten) -> Amounts) -> String {
    let mut record = String::with_capacity(128);
    record.push_str("{\"containers\":");
    for (position, container) in containers.iter().enumerate() {
        record.push(if position == 0 { '{' } else { ',' });
        write_text(&mut record, &container.name);
        record.push(':');
        amounts(container).write(&mut record);
    }
    record.push_str("}}");
    record
}

/// Amounts as the pod has them.
pub(super) struct Current {
    /// Of containers, in order.
    pub containers: Vec<Amounts>,
    /// Of init containers that restart.
    pub sidecars: Vec<Amounts>,
    /// Of other init containers.
    init: Vec<Amounts>,
}

impl Current {
    /// All of them.
    pub fn all(&self) -> Vec<Amounts> {
        [&self.containers, &self.sidecars, &self.init]
            .into_iter()
            .flatten()
            .copied()
            .collect()
    }
}

/// Reads what a pod has.
pub(super) fn current(spec: &PodSpec<'_>) -> Result<Current, String> {
    let read = |container: &Container<'_>| {
        let complaint = |problem| format!("container {}: {problem}", container.name());
        Amounts::read(container.resources.as_ref()).map_err(complaint)
    };
    let all = |containers: &[Container<'_>], restarts: bool| {
        let some = containers
            .iter()
            .filter(|container| container.restarts_always() == restarts);
        some.map(read).collect::<Result<Vec<_>, _>>()
    };
    Ok(Current {
        containers: spec.containers().iter().map(read).collect::<Result<_, _>>()?,
        sidecars: all(spec.init_containers(), true)?,
        init: all(spec.init_containers(), false)?,
    })
}

/// What a quota's scopes ask about a pod.
pub(super) fn traits<'s>(spec: &'s PodSpec<'_>) -> Traits<'s> {
    Traits {
        priority_class: spec.priority_class_name.as_deref(),
        terminating: spec.active_deadline_seconds.is_some(),
    }
}

/// The containers for which a live workload's plan has amounts.
fn planned(arrival: &Arrival<'_, '_>, current: &Current, outcome: &mut Outcome) -> Vec<Rewritten> {
    let Some(workload) = arrival.workload.filter(|workload| workload.is_live()) else {
        return Vec::new();
    };
    if !may_rewrite(arrival, workload, outcome) {
        return Vec::new();
    }
    let Some(plan) = &workload.plan else {
        return Vec::new();
    };
    // Asked again about the same pod: what was written, a cut by a quota included, stays.
    let written = arrival
        .metadata
        .annotation(names::EFFECTIVE)
        .map(recorded)
        .unwrap_or_default();
    let containers = arrival.spec.containers().iter().zip(&current.containers).enumerate();
    containers
        .filter(|(_, (container, before))| written.get(container.name()) != Some(*before))
        .filter_map(|(position, (container, before))| {
            let resources = plan.containers.get(container.name())?;
            Some(Rewritten {
                position,
                name: container.name().to_owned(),
                before: *before,
                after: wanted(workload, container.name(), before, resources),
            })
        })
        .collect()
}

/// Whether nobody else decides about the resources.
fn may_rewrite(arrival: &Arrival<'_, '_>, workload: &Workload<'_>, outcome: &mut Outcome) -> bool {
    if let Some(conflict) = conflict(arrival.context.plans, workload) {
        outcome.tell(workload.subject(), Reason::Conflict, conflict);
        return false;
    }
    if arrival.spec.resources.is_some() {
        outcome.warn("the pod has resources as a whole (spec.resources); those of its containers are left as they are");
        return false;
    }
    true
}

/// A VerticalPodAutoscaler that changes the same pods, unless it was told apart.
pub(super) fn conflict(plans: &dyn crate::plans::Plans, workload: &Workload<'_>) -> Option<String> {
    if workload.wishes.override_vertical {
        return None;
    }
    let name = plans.active_vertical_pod_autoscaler(workload.namespace, workload.name)?;
    Some(format!(
        "VerticalPodAutoscaler {name} changes the same pods: their resources are left to it (annotate {}: override to change that)",
        names::VERTICAL_POD_AUTOSCALER
    ))
}

/// What a container should get: the plan within the owner's bounds, with an autoscaler's utilisation left meaningful.
pub(super) fn wanted(
    workload: &Workload<'_>,
    container: &str,
    before: &Amounts,
    planned: &ContainerResources,
) -> Amounts {
    let bounds = &workload.wishes.bounds;
    let planned = Amounts::from(planned);
    let mut wanted = *before;
    for (kind, range) in [
        (Kind::Cpu, bounds.cpu_millicores(container)),
        (Kind::Memory, bounds.memory_bytes(container)),
    ] {
        let plan = planned.pair(kind);
        let request = plan.request.map(|request| range.clamp(request));
        let fixed = hpa::reads_utilisation(workload, kind, container);
        if fixed && before.pair(kind).is_guaranteed() {
            continue;
        }
        let pair = wanted.pair_mut(kind);
        let own = pair.request;
        pair.request = request.filter(|_| !fixed).or(own);
        pair.limit = plan.limit.or(pair.limit);
        *pair = pair.consistent();
    }
    wanted
}

fn fix(amounts: &mut Amounts) {
    for kind in Kind::ALL {
        let pair = amounts.pair_mut(kind);
        *pair = pair.fixed();
    }
}

/// What an injected sidecar should get: as learnt from its own usage, where that is live.
fn own_sidecar(arrival: &Arrival<'_, '_>, class: QualityOfService) -> Amounts {
    let mut amounts = Amounts::from(&arrival.context.settings.sidecar_resources);
    let live = arrival.workload.filter(|workload| workload.is_live());
    if let Some(learnt) = live.and_then(|workload| workload.plan.as_ref()?.sidecar.as_ref()) {
        overlay(&mut amounts, &Amounts::from(learnt));
    }
    if class == QualityOfService::Guaranteed {
        for kind in Kind::ALL {
            let pair = amounts.pair_mut(kind);
            pair.limit = pair.request.or(pair.limit);
            *pair = pair.fixed();
        }
    }
    amounts
}

/// Puts the amounts that are known over others.
pub(super) fn overlay(amounts: &mut Amounts, known: &Amounts) {
    for kind in Kind::ALL {
        let known = known.pair(kind);
        let pair = amounts.pair_mut(kind);
        pair.request = known.request.or(pair.request);
        pair.limit = known.limit.or(pair.limit);
        *pair = pair.consistent();
    }
}
