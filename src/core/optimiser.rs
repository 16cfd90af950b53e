//! The choice: how many pods of which size carry a load at the least cost.
//!
//! A pod carries what keeps it below two bounds: its CPU over its request stays at or below the utilisation that the
//! objectives allow, also when the load outruns its forecast; and its mean CPU stays within a share of its request, so that
//! what is used is what is paid for. Cost is requested cores, with memory at its price in
//! cores, plus a little for the limit, which a node must have spare now and then.

/// CPU of the application in one pod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Cores used without load.
    pub idle: f64,
    /// Core-seconds of a request.
    pub per_request: f64,
}

/// A pod size, by the container that does the work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// CPU request in cores.
    pub request: f64,
    /// CPU limit in cores.
    pub limit: f64,
    /// Highest utilisation of the request that keeps every objective.
    pub safe: f64,
    /// Share of the error budget that is left.
    pub budget_left: f64,
}

/// A load to carry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests per second at present.
    pub present: f64,
    /// Expected requests per second.
    pub expected: f64,
    /// The same with headroom for what the forecast may miss while the error budget lasts.
    pub high: f64,
    /// The worst that it may lately have missed: it must not bring the pods down, though it may cost some of the budget.
    pub surge: f64,
}

impl Load {
    /// A load that is known.
    #[must_use]
    pub fn known(load: f64) -> Self {
        Self {
            present: load,
            expected: load,
            high: load,
            surge: load,
        }
    }
}

/// Which bound asked for the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The objective.
    Latency,
    /// The request must cover the use.
    Request,
    /// A surge must not bring the pods down.
    Surge,
}

/// Utilisation of the request at which a surge is still worked off: a node whose other pods are busy gives no more than the
/// request, but hardly to all pods at once.
const SURGE_UTILISATION: f64 = 1.1;
/// What is added to that for every share of the error budget beyond the given one that is left: what is hardly touched may
/// pay for a surge.
const SURGE_BY_BUDGET: f64 = 1.0;
const SURGE_BUDGET: f64 = 0.6;
/// What is taken off where the budget is overspent, by its overdraft up to as much again: surges have proven to cost too much.
const SURGE_BY_DEBT: f64 = 0.4;

/// Price of a core of limit in cores of request.
const LIMIT_PRICE: f64 = 0.03;
/// How much more than the cheapest size one may cost that is preferred for being larger.
const NEAR: f64 = 1.03;
/// What a pod costs besides its application, in cores, where its sidecar is not known.
const POD_OVERHEAD: f64 = 0.01;

impl Size {
    /// Requests per second at which a pod reaches the bound of the objective.
    #[must_use]
    pub fn latency_load(&self, work: &Work) -> f64 {
        load_within(self.safe * self.request, self.request, work)
    }

    /// Requests per second at which a pod uses the share `utilisation` of its request.
    #[must_use]
    pub fn request_load(&self, work: &Work, utilisation: f64) -> f64 {
        load_within(utilisation * self.request, self.request, work)
    }

    /// Utilisation of the request that a surge may lead to.
    fn surge_utilisation(&self) -> f64 {
        SURGE_UTILISATION + SURGE_BY_BUDGET * (self.budget_left - SURGE_BUDGET).max(0.0)
            - SURGE_BY_DEBT * (-self.budget_left).clamp(0.0, 1.0)
    }

    /// Replicas as a fraction, and what asked for them.
    #[must_use]
    pub fn replicas(&self, load: &Load, work: &Work, utilisation: f64) -> (f64, Binding) {
        let latency = load.high / self.latency_load(work);
        let request = load.present / self.request_load(work, utilisation);
        let surge = load.surge / self.request_load(work, self.surge_utilisation());
        if surge > latency.max(request) {
            (surge, Binding::Surge)
        } else if latency >= request {
            (latency, Binding::Latency)
        } else {
            (request, Binding::Request)
        }
    }
}

/// Whole replicas for a fraction: a hundredth of a pod is not worth one.
#[must_use]
pub fn whole(replicas: f64) -> u32 {
    (replicas - 0.01).ceil().clamp(0.0, 100_000.0) as u32
}

/// What the choice among sizes needs besides the sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Market<'a> {
    /// The loads to carry, each as likely as the others.
    pub loads: &'a [Load],
    /// The work.
    pub work: Work,
    /// Share of the request that may be in use.
    pub utilisation: f64,
    /// Least and most replicas.
    pub replicas: (u32, u32),
    /// Cores that the other containers of a pod request.
    pub beside: f64,
    /// Cost of a pod's memory in cores at a load per pod: fixed part and part per request a second.
    pub memory: (f64, f64),
}

impl Market<'_> {
    /// Mean cost of a size in cores over the loads; infinite where the most replicas could not carry them.
    #[must_use]
    pub fn cost(&self, size: &Size) -> f64 {
        let per_pod_load = size
            .latency_load(&self.work)
            .min(size.request_load(&self.work, self.utilisation));
        let pod = size.request + LIMIT_PRICE * size.limit + self.beside.max(POD_OVERHEAD);
        let pod = pod + self.memory.0 + self.memory.1 * per_pod_load;
        let mut sum = 0.0;
        for load in self.loads {
            let (replicas, _) = size.replicas(load, &self.work, self.utilisation);
            let wanted = whole(replicas).max(self.replicas.0);
            if wanted > self.replicas.1 {
                return f64::INFINITY;
            }
            sum += f64::from(wanted) * pod;
        }
        sum / self.loads.len().max(1) as f64
    }

    /// The cheapest of `sizes` and its cost; of those that cost nearly the same the largest, which is the fastest.
    #[must_use]
    pub fn cheapest(&self, sizes: impl Iterator<Item = Size>) -> Option<(Size, f64)> {
        let priced: Vec<(Size, f64)> = sizes.map(|size| (size, self.cost(&size))).collect();
        let least = priced.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
        let near = priced
            .into_iter()
            .filter(|(_, cost)| cost.is_finite() && *cost <= NEAR * least);
        near.max_by(|a, b| a.0.request.total_cmp(&b.0.request))
    }
}

/// Load that keeps a pod at `cores`; a pod too small for its idle work still carries a twentieth of `whole`.
fn load_within(cores: f64, whole: f64, work: &Work) -> f64 {
    (cores - work.idle).max(0.05 * whole).max(1e-6) / work.per_request.max(1e-9)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const WORK: Work = Work {
        idle: 0.02,
        per_request: 0.01,
    };

    fn size(request: f64, limit: f64, safe: f64) -> Size {
        Size {
            request,
            limit,
            safe,
            budget_left: 0.0,
        }
    }

    fn market(loads: &[Load]) -> Market<'_> {
        Market {
            loads,
            work: WORK,
            utilisation: 0.9,
            replicas: (1, 100),
            beside: 0.0,
            memory: (0.0, 0.0),
        }
    }

    #[test]
    fn replicas_of_a_worked_example() {
        // 100/s of 10 ms is one core; at 50% of one core less 0.02 idle a pod carries 48/s.
        let (replicas, binding) = size(1.0, 1.0, 0.5).replicas(&Load::known(100.0), &WORK, 0.9);
        assert!((replicas - 100.0 / 48.0).abs() < 1e-9);
        assert_eq!((whole(replicas), binding), (3, Binding::Latency));
        let (_, binding) = size(0.2, 1.0, 1.5).replicas(&Load::known(100.0), &WORK, 0.9);
        assert_eq!(binding, Binding::Request);
    }

    #[test]
    fn a_budget_that_is_hardly_touched_pays_for_surges() {
        let load = Load {
            surge: 200.0,
            ..Load::known(10.0)
        };
        let replicas = |budget_left: f64| {
            let size = Size {
                budget_left,
                ..size(1.0, 2.0, 0.9)
            };
            size.replicas(&load, &WORK, 0.95).0
        };
        assert!((replicas(0.6) - replicas(0.0)).abs() < 1e-9);
        assert!(replicas(1.0) < 0.85 * replicas(0.6));
        // An overspent one is brought back by more room for them.
        assert!(replicas(-1.0) > 1.5 * replicas(0.0) && replicas(-3.0) == replicas(-1.0));
    }

    #[test]
    fn a_pod_that_cannot_carry_its_idle_work_asks_for_a_finite_number() {
        let (replicas, _) = size(0.01, 0.01, 0.1).replicas(&Load::known(1.0), &WORK, 0.9);
        assert!(replicas.is_finite() && replicas > 1.0);
    }

    #[test]
    fn memory_makes_fewer_larger_pods_cheaper() {
        let loads = [55.0, 90.0, 130.0].map(|load| Load {
            present: load,
            expected: load,
            high: 1.1 * load,
            surge: 1.1 * load,
        });
        let sizes = || {
            [0.25, 0.5, 1.0, 2.0]
                .map(|request| size(request, 1.5 * request, 0.6))
                .into_iter()
        };
        let light = market(&loads).cheapest(sizes()).unwrap().0;
        let heavy = Market {
            memory: (1.0, 0.0),
            ..market(&loads)
        }
        .cheapest(sizes())
        .unwrap()
        .0;
        assert!(heavy.request > light.request, "{} {}", heavy.request, light.request);
    }

    #[test]
    fn a_size_that_the_most_replicas_cannot_carry_is_none() {
        let loads = [Load::known(5000.0)];
        assert!(market(&loads).cheapest([size(0.25, 0.25, 0.5)].into_iter()).is_none());
    }

    proptest! {
        #[test]
        fn more_load_never_needs_fewer(load in 0.0_f64..1000.0, more in 0.0_f64..500.0, request in 0.05_f64..4.0, safe in 0.05_f64..0.95) {
            let size = size(request, request * 1.5, safe);
            let at = |load: f64| size.replicas(&Load { present: load, expected: load, high: load * 1.2, surge: load * 1.5 }, &WORK, 0.9).0;
            prop_assert!(at(load + more) >= at(load));
        }
    }
}
