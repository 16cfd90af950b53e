//! Resources of running pods, when they are admitted again through `pods/resize`.

use std::collections::BTreeMap;

use super::owner::Owner;
use super::resources::{conflict, current, overlay, recorded, traits, wanted};
use crate::admission::Context;
use crate::amounts::{Amounts, Kind, Pair, QualityOfService, quality_of_service};
use crate::limits::{Demand, Limits};
use crate::notices::Reason;
use crate::outcome::Outcome;
use crate::plans::{ContainerResources, Plan, names};
use crate::review::Request;
use crate::view::{Container, Metadata, Pod, PodSpec};
use crate::workload::Workload;

/// A running container whose amounts Valence decides.
struct Running<'p> {
    path: String,
    container: &'p Container<'p>,
    /// As the request wants them.
    asked: Amounts,
    /// As they are now.
    before: Amounts,
    after: Amounts,
}

/// Writes the plan of a live workload, or the original values of a released one, over what the request asks for.
pub fn admit(context: &Context<'_>, request: &Request<'_, Pod<'_>>) -> Outcome {
    let mut outcome = Outcome::default();
    let parts = |pod: &'_ Pod<'_>| pod.metadata.is_some() && pod.spec.is_some();
    let (Some(object), old) = (
        request.object.as_ref().filter(|pod| parts(pod)),
        request.old_object.as_ref(),
    ) else {
        return outcome;
    };
    let (Some(metadata), Some(spec)) = (&object.metadata, &object.spec) else {
        return outcome;
    };
    let owner = Owner::find(context.plans, request.namespace(), metadata);
    let Some((name, deployment)) = owner.name.as_deref().zip(owner.deployment.as_deref()) else {
        return outcome;
    };
    let workload = Workload::known(context.plans, request.namespace(), name, deployment);
    let old_spec = old.and_then(|old| old.spec.as_ref()).unwrap_or(spec);
    let resize = Resize {
        context,
        workload: &workload,
        metadata,
        spec,
        old_spec,
    };
    if let Err(complaint) = resize.run(&mut outcome) {
        outcome.warn(complaint);
    }
    outcome
}

struct Resize<'r, 'a> {
    context: &'r Context<'r>,
    workload: &'r Workload<'r>,
    metadata: &'r Metadata<'a>,
    spec: &'r PodSpec<'a>,
    old_spec: &'r PodSpec<'a>,
}

impl Resize<'_, '_> {
    fn run(&self, outcome: &mut Outcome) -> Result<(), String> {
        let running = current(self.old_spec)?;
        let class = quality_of_service(&running.all());
        let mut containers = self.targets()?;
        if containers.is_empty() {
            return Ok(());
        }
        if let Some(conflict) = conflict(self.context.plans, self.workload) {
            return Err(conflict);
        }
        if self.spec.resources.is_some() {
            return Err(
                "the pod has resources as a whole (spec.resources); those of its containers are left as they are"
                    .to_owned(),
            );
        }
        if class == QualityOfService::BestEffort {
            return Err(
                "the pod's class is BestEffort, which cannot change in place: it gets resources when it is made anew"
                    .to_owned(),
            );
        }
        for container in &mut containers {
            self.keep_memory(container);
        }
        self.hold(&mut containers, &running.all(), outcome);
        self.keep_class(&mut containers, class)?;
        self.write(&containers, outcome);
        Ok(())
    }

    /// The containers to decide about, with what they should get.
    fn targets(&self) -> Result<Vec<Running<'_>>, String> {
        let goals = Goals::of(self.workload, self.metadata);
        let containers = self.spec.containers().iter().enumerate();
        let sidecars = self.spec.init_containers().iter().enumerate();
        let places = containers
            .map(|(position, container)| (format!("/spec/containers/{position}"), container))
            .chain(
                sidecars
                    .filter(|(_, container)| {
                        container.restarts_always() && container.name() == names::SIDECAR_CONTAINER
                    })
                    .map(|(position, container)| (format!("/spec/initContainers/{position}"), container)),
            );
        let mut running = Vec::new();
        for (path, container) in places {
            let before = self.before(container)?;
            if let Some(after) = goals.of_container(self.workload, container.name(), &before) {
                running.push(Running {
                    path,
                    container,
                    asked: read(container)?,
                    before,
                    after,
                });
            }
        }
        Ok(running)
    }

    fn before(&self, container: &Container<'_>) -> Result<Amounts, String> {
        let all = self.old_spec.containers().iter().chain(self.old_spec.init_containers());
        let old = all.into_iter().find(|old| old.name() == container.name());
        old.map_or_else(|| read(container), read)
    }

    /// Nothing that is set can be taken away in place, and a memory limit goes down only where the kubelet may lower it,
    /// never below what is in use.
    fn keep_memory(&self, running: &mut Running<'_>) {
        let before = running.before;
        overlay_missing(&mut running.after, &before);
        let Some(limit) = running
            .after
            .memory
            .limit
            .filter(|limit| before.memory.limit > Some(*limit))
        else {
            return;
        };
        let in_use = self
            .planned(running.container.name())
            .and_then(|planned| planned.memory_in_use_bytes);
        let restarts = restarts_for_memory(running.container);
        running.after.memory.limit = if restarts {
            Some(limit)
        } else if self.context.settings.memory_limits_shrink_in_place {
            let least = in_use.map_or(limit, |in_use| in_use.saturating_add(in_use / 10));
            Some(limit.max(least)).min(before.memory.limit)
        } else {
            before.memory.limit
        };
    }

    fn planned(&self, container: &str) -> Option<&ContainerResources> {
        let plan = self.workload.plan.as_deref()?;
        if container == names::SIDECAR_CONTAINER {
            return plan.sidecar.as_ref();
        }
        plan.containers.get(container)
    }

    fn hold(&self, containers: &mut [Running<'_>], already: &[Amounts], outcome: &mut Outcome) {
        let limits = Limits::of(self.context.plans, self.workload.namespace, traits(self.spec));
        if limits.is_empty() {
            return;
        }
        let demand = |running: &Running<'_>| Demand {
            name: running.container.name().to_owned(),
            least: running.before,
            wanted: running.after,
        };
        let mut demands: Vec<_> = containers.iter().map(demand).collect();
        let held = limits.hold(&mut demands, &self.untouched(containers), already);
        for (running, demand) in containers.iter_mut().zip(demands) {
            running.after = demand.wanted;
        }
        for note in held.notes {
            outcome.tell(self.workload.subject(), Reason::Capped, note);
        }
    }

    fn untouched(&self, containers: &[Running<'_>]) -> Vec<Amounts> {
        let touched = |container: &Container<'_>| {
            containers
                .iter()
                .any(|running| running.container.name() == container.name())
        };
        let sidecars = self
            .spec
            .init_containers()
            .iter()
            .filter(|container| container.restarts_always());
        let all = self.spec.containers().iter().chain(sidecars);
        all.filter(|container| !touched(container))
            .filter_map(|container| read(container).ok())
            .collect()
    }

    /// The class of a running pod never changes: requests and limits stay equal where they are, and apart where they are.
    fn keep_class(&self, containers: &mut [Running<'_>], class: QualityOfService) -> Result<(), String> {
        if class == QualityOfService::Guaranteed {
            for running in containers.iter_mut() {
                for kind in Kind::ALL {
                    let pair = running.after.pair_mut(kind);
                    *pair = pair.fixed();
                }
            }
        } else if self.class_after(containers)? == QualityOfService::Guaranteed
            && let Some(first) = containers.first_mut()
        {
            let pair = &mut first.after.cpu;
            *pair = apart(*pair);
        }
        if self.class_after(containers)? == class {
            return Ok(());
        }
        Err("the pod's class would change, which cannot happen in place: its resources are left as they are".to_owned())
    }

    fn class_after(&self, containers: &[Running<'_>]) -> Result<QualityOfService, String> {
        let after = |container: &Container<'_>| {
            let running = containers
                .iter()
                .find(|running| running.container.name() == container.name());
            running.map_or_else(|| read(container), |running| Ok(running.after))
        };
        let all = self.spec.containers().iter().chain(self.spec.init_containers());
        let amounts = all.into_iter().map(after).collect::<Result<Vec<_>, _>>()?;
        Ok(quality_of_service(&amounts))
    }

    fn write(&self, containers: &[Running<'_>], outcome: &mut Outcome) {
        for running in containers.iter().filter(|running| running.after != running.asked) {
            let resources = running.container.resources.as_ref();
            running.after.patch(&running.path, resources, &mut outcome.patch);
            if running.asked != running.before {
                outcome.overrides = true;
                outcome.warn(format!(
                    "resources of container {} are set by Valence, not by this request: {} (annotate the Deployment {}: \"false\" to decide yourself)",
                    running.container.name(),
                    self.workload.reason(),
                    names::CONFIGURE,
                ));
                let message = format!(
                    "a resize of container {} was set back: {}",
                    running.container.name(),
                    self.workload.reason()
                );
                outcome.notice(self.workload.subject(), Reason::Overridden, message);
            }
        }
    }
}

/// Where a container's amounts come from.
enum Goals<'w> {
    /// A live workload: its plan.
    Plan(&'w Plan),
    /// A released one: what its pod's annotation says it asked for.
    Originals(BTreeMap<String, Amounts>),
    /// Neither.
    None,
}

impl<'w> Goals<'w> {
    fn of(workload: &'w Workload<'_>, metadata: &Metadata<'_>) -> Self {
        match (&workload.plan, workload.is_live()) {
            (Some(plan), true) => Self::Plan(plan),
            (_, false) => metadata
                .annotation(names::ORIGINAL)
                .map_or(Self::None, |record| Self::Originals(recorded(record))),
            _ => Self::None,
        }
    }

    fn of_container(&self, workload: &Workload<'_>, name: &str, before: &Amounts) -> Option<Amounts> {
        match self {
            Self::Plan(plan) if name == names::SIDECAR_CONTAINER => {
                let mut amounts = *before;
                overlay(&mut amounts, &Amounts::from(plan.sidecar.as_ref()?));
                Some(amounts)
            }
            Self::Plan(plan) => Some(wanted(workload, name, before, plan.containers.get(name)?)),
            Self::Originals(originals) => originals.get(name).copied(),
            Self::None => None,
        }
    }
}

fn read(container: &Container<'_>) -> Result<Amounts, String> {
    let complaint = |problem| {
        format!(
            "container {}: {problem}; resources are left as they are",
            container.name()
        )
    };
    Amounts::read(container.resources.as_ref()).map_err(complaint)
}

/// Keeps what was set before where nothing is set now.
fn overlay_missing(amounts: &mut Amounts, before: &Amounts) {
    for kind in Kind::ALL {
        let before = before.pair(kind);
        let pair = amounts.pair_mut(kind);
        pair.request = pair.request.or(before.request);
        pair.limit = pair.limit.or(before.limit);
        *pair = pair.consistent();
    }
}

fn restarts_for_memory(container: &Container<'_>) -> bool {
    let policies = container.resize_policy.as_deref().unwrap_or_default();
    policies.iter().any(|policy| {
        policy.resource_name.as_deref() == Some("memory")
            && policy.restart_policy.as_deref() == Some("RestartContainer")
    })
}

/// A request one unit below its limit, so that a pod does not become Guaranteed.
fn apart(pair: Pair) -> Pair {
    match (pair.effective_request(), pair.limit) {
        (Some(request), Some(limit)) if request == limit && request > 1 => Pair {
            request: Some(request - 1),
            limit: Some(limit),
        },
        (Some(1), Some(1)) => Pair {
            request: Some(1),
            limit: Some(2),
        },
        _ => pair,
    }
}
