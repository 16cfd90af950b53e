//! The views as data: what the page draws, and what its JSON twin says. Field names carry their units.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cost::{Cost, Prices, money};
use crate::core::observation::Resources;
use crate::core::readout::{Compliance, Curve, CurvePoint, ObservedPoint, Verdict};
use crate::core::units::{Bytes, Cores};
use crate::report::status::{ObjectiveStatus, Snapshot, Workload};
use crate::report::words;

/// Everything at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// When the last cycle of the recommender ended, in RFC 3339; absent before the first.
    pub at: Option<String>,
    /// Whether the replica that answered is the one that recommends.
    pub leader: bool,
    /// ServiceLevelObjectives.
    pub objectives: Vec<ObjectiveView>,
    /// Managed Deployments.
    pub workloads: Vec<WorkloadView>,
    /// What all workloads request now and would request if every recommendation were followed.
    pub cost: CostView,
}

/// One ServiceLevelObjective with how its Deployments keep it.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectiveView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it asks, in words.
    pub asks: Vec<String>,
    /// Why it cannot be used.
    pub error: Option<String>,
    /// The Deployments that it matches.
    pub deployments: Vec<Kept>,
}

/// How a Deployment keeps an objective.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// The Deployment.
    pub deployment: String,
    /// Each objective of the SLO.
    pub objectives: Vec<ComplianceView>,
}

/// How one objective has been kept.
#[derive(Clone, Debug, Serialize)]
pub struct ComplianceView {
    /// Name of the ServiceLevelObjective.
    pub slo: String,
    /// What it asks, in words.
    pub asks: String,
    /// Percentile as a share, 0 to 1.
    pub percentile: f64,
    /// Response time in seconds.
    pub response_time_seconds: f64,
    /// Throughput in requests per second for which it must hold; absent means every throughput.
    pub throughput_per_second: Option<f64>,
    /// What the last minutes say.
    pub verdict: Verdict,
    /// Requests of those minutes.
    pub recent_requests: u64,
    /// Latency at the percentile over those minutes.
    pub recent_latency_seconds: Option<f64>,
    /// Share of requests in time over the last hour.
    pub compliance: Option<f64>,
    /// Share of that hour's error budget that is left; negative when overspent.
    pub error_budget_left: f64,
}

/// One managed Deployment.
#[derive(Clone, Debug, Serialize)]
pub struct WorkloadView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether the recommendation is written at admission.
    pub live: bool,
    /// State of the model.
    pub state: String,
    /// What that state means.
    pub state_meaning: &'static str,
    /// Load in requests per second.
    pub load_per_second: Option<f64>,
    /// Replicas as the user wrote them, now and recommended.
    pub replicas: Replicas,
    /// Pods that serve.
    pub ready_pods: u32,
    /// Containers, the application's before the sidecar.
    pub containers: Vec<ContainerView>,
    /// What it requests and would request.
    pub cost: CostView,
    /// How its objectives are kept.
    pub objectives: Vec<ComplianceView>,
    /// Latency against load for each objective.
    pub curves: Vec<CurveView>,
    /// Why, in plain words.
    pub explanation: ExplanationView,
    /// The model in numbers, each in the unit that its name ends with.
    pub model: BTreeMap<String, f64>,
    /// What stands in the way.
    pub remarks: Vec<String>,
    /// When it was decided, in seconds since the Unix epoch.
    pub decided_at_seconds: f64,
}

/// Replica counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Replicas {
    /// As the user wrote them.
    pub original: Option<u32>,
    /// Asked for now.
    pub current: u32,
    /// Recommended; absent while unknown.
    pub recommended: Option<u32>,
}

/// One container.
#[derive(Clone, Debug, Serialize)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// As the user wrote it.
    pub original: Amounts,
    /// In force.
    pub current: Amounts,
    /// Recommended; what is absent stays as it is.
    pub recommended: Amounts,
}

/// Requests and limits.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Amounts {
    /// CPU request in cores.
    pub cpu_request_cores: Option<f64>,
    /// CPU limit in cores.
    pub cpu_limit_cores: Option<f64>,
    /// Memory request in bytes.
    pub memory_request_bytes: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit_bytes: Option<u64>,
}

/// What is requested before and after.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CostView {
    /// As the user wrote it.
    pub original: Cost,
    /// Now.
    pub current: Cost,
    /// With the recommendation.
    pub recommended: Cost,
    /// Change from now to the recommendation as a share: -0.4 is 40% less.
    pub change: Option<f64>,
    /// Currency of `per_month`; empty where none is named.
    pub currency: String,
}

/// Latency against load.
#[derive(Clone, Debug, Serialize)]
pub struct CurveView {
    /// Name of the ServiceLevelObjective.
    pub slo: String,
    /// What it asks, in words.
    pub asks: String,
    /// Percentile as a share, 0 to 1.
    pub percentile: f64,
    /// Response time in seconds.
    pub response_time_seconds: f64,
    /// Load at which the upper bound reaches the response time.
    pub safe_load_per_second: Option<f64>,
    /// The same with the recommended replicas, where they differ from the pods that serve and the pod's size stays.
    pub recommended_safe_load_per_second: Option<f64>,
    /// Replicas recommended; absent while unknown.
    pub recommended_replicas: Option<u32>,
    /// The present load.
    pub load_per_second: Option<f64>,
    /// The model's curve.
    pub points: Vec<CurvePoint>,
    /// What was seen.
    pub observed: Vec<ObservedPoint>,
}

/// A decision explained.
#[derive(Clone, Debug, Serialize)]
pub struct ExplanationView {
    /// One sentence with the numbers.
    pub summary: String,
    /// The term that bound the choice.
    pub bound: String,
    /// The same in words.
    pub bound_meaning: &'static str,
    /// The same in a word or two.
    pub bound_in_short: &'static str,
    /// What would change it.
    pub remedy: &'static str,
    /// What the next smaller choice would have done.
    pub next_smaller: String,
    /// Remarks about the decision.
    pub flags: Vec<&'static str>,
    /// Inputs, each in the unit that its name ends with.
    pub inputs: BTreeMap<String, f64>,
}

impl Overview {
    /// The view of a cycle.
    #[must_use]
    pub fn new(snapshot: &Snapshot, prices: &Prices) -> Self {
        let workloads: Vec<_> = snapshot
            .workloads
            .iter()
            .map(|one| WorkloadView::new(one, prices))
            .collect();
        Self {
            at: snapshot.at.map(|at| at.to_string()),
            leader: snapshot.leader,
            objectives: snapshot
                .objectives
                .iter()
                .map(|one| ObjectiveView::new(one, snapshot))
                .collect(),
            cost: CostView::sum(workloads.iter().map(|workload| &workload.cost)),
            workloads,
        }
    }
}

impl ObjectiveView {
    /// The view of one ServiceLevelObjective.
    #[must_use]
    pub fn new(objective: &ObjectiveStatus, snapshot: &Snapshot) -> Self {
        let kept = |name: &String| {
            let workload = snapshot
                .workloads
                .iter()
                .find(|workload| workload.namespace == objective.namespace && workload.name == *name);
            let all = workload
                .map(|workload| workload.compliance.as_slice())
                .unwrap_or_default();
            Kept {
                deployment: name.clone(),
                objectives: all
                    .iter()
                    .filter(|one| one.objective.slo == objective.name)
                    .map(ComplianceView::from)
                    .collect(),
            }
        };
        Self {
            namespace: objective.namespace.clone(),
            name: objective.name.clone(),
            asks: objective.objectives.iter().map(words::objective).collect(),
            error: objective.error.clone(),
            deployments: objective.deployments.iter().map(kept).collect(),
        }
    }

    /// The worst of its Deployments: the least error budget left, where anything is known.
    #[must_use]
    pub fn worst(&self) -> Option<&ComplianceView> {
        self.deployments
            .iter()
            .flat_map(|kept| &kept.objectives)
            .filter(|one| one.compliance.is_some())
            .min_by(|a, b| a.error_budget_left.total_cmp(&b.error_budget_left))
    }
}

impl From<&Compliance> for ComplianceView {
    fn from(one: &Compliance) -> Self {
        Self {
            slo: one.objective.slo.clone(),
            asks: words::objective(&one.objective),
            percentile: one.objective.percentile,
            response_time_seconds: one.objective.response_time_seconds,
            throughput_per_second: one.objective.throughput_per_second,
            verdict: one.verdict,
            recent_requests: one.recent_requests,
            recent_latency_seconds: one.recent_latency_seconds,
            compliance: one.compliance,
            error_budget_left: one.error_budget_left,
        }
    }
}

impl WorkloadView {
    /// The objective that is kept worst: the least error budget left, where anything is known.
    #[must_use]
    pub fn worst(&self) -> Option<&ComplianceView> {
        let known = self.objectives.iter().filter(|one| one.compliance.is_some());
        known.min_by(|a, b| a.error_budget_left.total_cmp(&b.error_budget_left))
    }

    /// The load that the recommendation is made for, in requests per second.
    #[must_use]
    pub fn planned_load_per_second(&self) -> Option<f64> {
        self.explanation.inputs.get("planned_load_per_second").copied()
    }

    /// The view of one Deployment.
    #[must_use]
    pub fn new(workload: &Workload, prices: &Prices) -> Self {
        let decision = &workload.decision;
        Self {
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            live: workload.live,
            state: decision.state.name().to_owned(),
            state_meaning: words::state(decision.state),
            load_per_second: workload.load_per_second,
            replicas: Replicas {
                original: workload.original_replicas,
                current: workload.current_replicas,
                recommended: decision.replicas,
            },
            ready_pods: workload.ready_pods,
            containers: containers(workload),
            cost: CostView::new(workload, prices),
            objectives: workload.compliance.iter().map(ComplianceView::from).collect(),
            curves: workload
                .curves
                .iter()
                .map(|curve| CurveView::new(curve, workload))
                .collect(),
            explanation: ExplanationView::new(workload),
            model: workload.numbers.clone(),
            remarks: remarks(workload),
            decided_at_seconds: decision.at_seconds,
        }
    }
}

/// What is not said by the explanation already.
fn remarks(workload: &Workload) -> Vec<String> {
    let summary = &workload.decision.explanation.summary;
    let all = workload.remarks.iter().filter(|remark| *remark != summary);
    all.cloned().collect()
}

/// Every container that is known, the sidecar last.
fn containers(workload: &Workload) -> Vec<ContainerView> {
    let recommended = &workload.decision.containers;
    let mut names: Vec<_> = workload.current.keys().chain(recommended.keys()).collect();
    names.sort_by_key(|name| {
        (
            *name == valence_webhook::plans::names::SIDECAR_CONTAINER,
            (*name).clone(),
        )
    });
    names.dedup();
    names
        .into_iter()
        .map(|name| ContainerView {
            name: name.clone(),
            original: Amounts::of(workload.original.get(name)),
            current: Amounts::of(workload.current.get(name)),
            recommended: Amounts::of(recommended.get(name)),
        })
        .collect()
}

impl Amounts {
    fn of(resources: Option<&Resources>) -> Self {
        let resources = resources.copied().unwrap_or_default();
        Self {
            cpu_request_cores: resources.cpu_request.map(|cpu| cpu.0),
            cpu_limit_cores: resources.cpu_limit.map(|cpu| cpu.0),
            memory_request_bytes: resources.memory_request.map(|memory| memory.0),
            memory_limit_bytes: resources.memory_limit.map(|memory| memory.0),
        }
    }
}

impl CostView {
    fn new(workload: &Workload, prices: &Prices) -> Self {
        let mut recommended = workload.current.clone();
        for (name, resources) in &workload.decision.containers {
            let entry = recommended.entry(name.clone()).or_default();
            entry.cpu_request = resources.cpu_request.or(entry.cpu_request);
            entry.memory_request = resources.memory_request.or(entry.memory_request);
        }
        let replicas = workload.decision.replicas.unwrap_or(workload.current_replicas);
        let original_replicas = workload.original_replicas.unwrap_or(workload.current_replicas);
        Self {
            original: Cost::of(original_replicas, &workload.original, prices),
            current: Cost::of(workload.current_replicas, &workload.current, prices),
            recommended: Cost::of(replicas, &recommended, prices),
            change: None,
            currency: prices.currency.clone(),
        }
        .compared()
    }

    fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            original: sum.original.plus(&one.original),
            current: sum.current.plus(&one.current),
            recommended: sum.recommended.plus(&one.recommended),
            change: None,
            currency: one.currency.clone(),
        })
        .compared()
    }

    /// What a month costs, in words; `None` without a price.
    #[must_use]
    pub fn month(&self, cost: &Cost) -> Option<String> {
        cost.per_month.map(|amount| money(&self.currency, amount) + " a month")
    }

    fn compared(mut self) -> Self {
        self.change = self.current.change_to(&self.recommended);
        self
    }
}

impl CurveView {
    fn new(curve: &Curve, workload: &Workload) -> Self {
        Self {
            recommended_safe_load_per_second: recommended_safe_load(curve, workload),
            recommended_replicas: workload.decision.replicas,
            slo: curve.objective.slo.clone(),
            asks: words::objective(&curve.objective),
            percentile: curve.objective.percentile,
            response_time_seconds: curve.objective.response_time_seconds,
            safe_load_per_second: curve.safe_load_per_second,
            load_per_second: workload.load_per_second,
            points: curve.points.clone(),
            observed: curve.observed.clone(),
        }
    }
}

/// Pods of one size share the load: the load that they may have grows with their number.
fn recommended_safe_load(curve: &Curve, workload: &Workload) -> Option<f64> {
    let replicas = workload.decision.replicas?;
    let serving = workload.ready_pods;
    let size = |all: &BTreeMap<String, Resources>, name: &str| {
        let request = all.get(name).and_then(|resources| resources.cpu_request);
        request.map(|cpu| (cpu.0 * 1000.0).round())
    };
    let changed = workload.decision.containers.keys().any(|name| {
        let wanted = size(&workload.decision.containers, name);
        wanted.is_some() && wanted != size(&workload.current, name)
    });
    if changed || serving == 0 || serving == replicas {
        return None;
    }
    curve
        .safe_load_per_second
        .map(|load| load * f64::from(replicas) / f64::from(serving))
}

impl ExplanationView {
    fn new(workload: &Workload) -> Self {
        let decision = &workload.decision;
        let explanation = &decision.explanation;
        Self {
            summary: explanation.summary.clone(),
            bound: explanation.bound.name().to_owned(),
            bound_meaning: words::bound(explanation.bound),
            bound_in_short: words::bound_in_short(explanation.bound),
            remedy: words::remedy(explanation.bound),
            next_smaller: explanation.next_smaller.clone(),
            flags: decision.flags.iter().map(|flag| words::flag(*flag)).collect(),
            inputs: explanation.inputs.clone(),
        }
    }
}

impl Amounts {
    /// The CPU request as a quantity.
    #[must_use]
    pub fn cpu_request(&self) -> String {
        words::cpu(self.cpu_request_cores.map(Cores))
    }

    /// The CPU limit as a quantity.
    #[must_use]
    pub fn cpu_limit(&self) -> String {
        words::cpu(self.cpu_limit_cores.map(Cores))
    }

    /// The memory request as a quantity.
    #[must_use]
    pub fn memory_request(&self) -> String {
        words::memory(self.memory_request_bytes.map(Bytes))
    }

    /// The memory limit as a quantity.
    #[must_use]
    pub fn memory_limit(&self) -> String {
        words::memory(self.memory_limit_bytes.map(Bytes))
    }

    /// The CPU request where there is one.
    #[must_use]
    pub fn cpu_request_or_none(&self) -> Option<String> {
        self.cpu_request_cores.map(|_| self.cpu_request())
    }

    /// The memory request where there is one.
    #[must_use]
    pub fn memory_request_or_none(&self) -> Option<String> {
        self.memory_request_bytes.map(|_| self.memory_request())
    }
}
