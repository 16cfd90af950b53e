//! Latency as a function of CPU utilisation: a queueing-shaped curve whose weights are learnt.
//!
//! Utilisation rho is CPU in use over CPU requested, as an HPA counts it: the request is what a pod is sure to get.
//!
//! q(rho) = w0 + w1 * W(rho) + w2 * K(rho), with
//! - w0 the latency of a pod that does not queue, in seconds;
//! - W(rho) the tail of the wait in a queue of c servers: the mean by Sakasegawa ("An approximation formula
//!   L_q = alpha rho^beta / (1 - rho)", Annals of the Institute of Statistical Mathematics 29, 1977; as given in Hopp and
//!   Spearman, "Factory Physics", section 8.6) is that of an exponential wait of mean s / (c (1 - rho)) which a request meets
//!   with probability C, so the tail is that mean times ln(C / (1 - p)), and nothing where fewer wait than may be late (M/M/c:
//!   Kleinrock, "Queueing Systems" I, section 5.9; at rho near 1, where C is 1, Kingman's heavy-traffic limit, 1962);
//! - K(rho) the pause of a throttled CFS period ([`super::knee`]), counted in full once as many periods are throttled as
//!   requests may be late.
//!
//! The weights are fitted to the bins of [`super::safety::Table`] by least squares of relative errors under w >= 0, pulled
//! towards priors of w1 = 1 and w2 = 1/2, which are cautious: a service whose queue was never seen is taken to queue like
//! the formula. The pull and the priors are heuristics.

use serde::{Deserialize, Serialize};

use super::knee::{PERIOD_SECONDS, Stream};
use super::safety::Bin;

/// Highest utilisation of the formula; the wait grows linearly beyond.
const SATURATED: f64 = 0.97;
/// Highest utilisation of the request that is looked at.
const MOST: f64 = 1.5;
/// Weight of the priors in windows.
const PRIOR_WEIGHT: f64 = 2.0;
const PRIOR: [f64; 2] = [1.0, 0.5];

/// The pod that a curve is drawn for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// CPU request in cores, over which utilisation is counted.
    pub request: f64,
    /// CPU limit in cores.
    pub limit: f64,
    /// Cores at which the pod's queue grows without end ([`Capacity`]).
    pub capacity: f64,
    /// Core-seconds of a request.
    pub per_request: f64,
    /// Cores used without load.
    pub idle: f64,
    /// The objective's percentile, 0 to 1.
    pub percentile: f64,
}

impl Shape {
    /// The two rising terms in seconds at utilisation `rho`.
    fn terms(&self, rho: f64) -> [f64; 2] {
        [self.wait(rho), self.pause(rho)]
    }

    fn wait(&self, rho: f64) -> f64 {
        let rho = rho * self.request / self.capacity;
        let servers = self.capacity.max(1.0);
        let service = self.per_request / self.capacity.clamp(1e-3, 1.0);
        let inside = rho.clamp(0.0, SATURATED);
        let waits = inside.powf((2.0 * (servers + 1.0)).sqrt() - 1.0);
        let mean = service / (servers * (1.0 - inside));
        let beyond = 1.0 + (rho - SATURATED).max(0.0) / (1.0 - SATURATED);
        mean * beyond * (waits / (1.0 - self.percentile).max(1e-4)).ln().max(0.0)
    }

    fn pause(&self, rho: f64) -> f64 {
        let used = rho.max(0.0) * self.request;
        let load = (used - self.idle).max(0.0) / self.per_request.max(1e-9);
        let stream = Stream {
            load,
            per_request: self.per_request,
            used,
        };
        let late = (1.0 - self.percentile).max(1e-3);
        PERIOD_SECONDS * (stream.throttled_share(self.limit) / late).min(1.0)
    }
}

/// Learnt weights: seconds, and two without a unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Latency without queueing in seconds.
    pub base_seconds: f64,
    /// Weight of the wait.
    pub wait: f64,
    /// Weight of the pause of a throttled period.
    pub pause: f64,
    /// Mean squared relative error over the bins.
    pub error: f64,
}

impl Fit {
    /// Fits the bins; `None` when there are none.
    #[must_use]
    pub fn new<'a>(bins: impl Iterator<Item = &'a Bin>, shape: &Shape) -> Option<Self> {
        let rows: Vec<Row> = bins.map(|bin| Row::new(bin, shape)).collect();
        let lowest = rows.iter().map(|row| row.latency).min_by(f64::total_cmp)?;
        let mut weights = [lowest, PRIOR[0], PRIOR[1]];
        for _ in 0..40 {
            for term in 0..3 {
                weights[term] = best(&rows, weights, term, lowest);
            }
        }
        let total: f64 = rows.iter().map(|row| row.weight).sum();
        let squares: f64 = rows
            .iter()
            .map(|row| row.weight * (row.at(weights) / row.latency - 1.0).powi(2))
            .sum();
        Some(Self {
            base_seconds: weights[0],
            wait: weights[1],
            pause: weights[2],
            error: squares / total,
        })
    }

    /// Predicted latency in seconds at utilisation `rho` of a pod of this shape.
    #[must_use]
    pub fn predict(&self, rho: f64, shape: &Shape) -> f64 {
        let [wait, pause] = shape.terms(rho);
        self.base_seconds + self.wait * wait + self.pause * pause
    }

    /// Whether pauses of throttled periods outweigh the queue at utilisation `rho`.
    #[must_use]
    pub fn throttled(&self, rho: f64, shape: &Shape) -> bool {
        let [wait, pause] = shape.terms(rho);
        self.pause * pause > self.wait * wait
    }

    /// The highest utilisation at which `factor` times the prediction stays within `response_time_seconds`, 0 if none.
    #[must_use]
    pub fn safe_utilisation(&self, response_time_seconds: f64, factor: f64, shape: &Shape) -> f64 {
        let within = |rho: f64| self.predict(rho, shape) * factor <= response_time_seconds;
        let (mut low, mut high) = (0.0, MOST);
        if within(high) {
            return high;
        }
        if !within(low) {
            return 0.0;
        }
        for _ in 0..24 {
            let middle = 0.5 * (low + high);
            if within(middle) { low = middle } else { high = middle }
        }
        low
    }

    /// The weights for a pod with `to` cores instead of `from`. Below one core a request gets its CPU time more slowly;
    /// `cpu_share` is the part of the base latency that is CPU time.
    #[must_use]
    pub fn resized(&self, from: f64, to: f64, cpu_share: f64) -> Self {
        let stretch = from.clamp(1e-3, 1.0) / to.clamp(1e-3, 1.0);
        Self {
            base_seconds: self.base_seconds * (1.0 + cpu_share.clamp(0.0, 1.0) * (stretch - 1.0)),
            ..*self
        }
    }
}

struct Row {
    weight: f64,
    latency: f64,
    terms: [f64; 3],
}

impl Row {
    fn new(bin: &Bin, shape: &Shape) -> Self {
        let [wait, pause] = shape.terms(bin.utilisation);
        Self {
            weight: bin.weight,
            latency: bin.ln_latency.exp(),
            terms: [1.0, wait, pause],
        }
    }

    fn at(&self, weights: [f64; 3]) -> f64 {
        self.terms.iter().zip(weights).map(|(term, weight)| term * weight).sum()
    }
}

/// The best non-negative value of one weight with the others held (coordinate descent).
fn best(rows: &[Row], weights: [f64; 3], term: usize, lowest: f64) -> f64 {
    let (prior, strength) = if term == 0 {
        (lowest, 0.05 / (lowest * lowest))
    } else {
        (PRIOR[term - 1], PRIOR_WEIGHT * 0.05)
    };
    let (mut over, mut under) = (strength * prior, strength);
    for row in rows {
        let scale = row.weight / (row.latency * row.latency);
        let rest = row.at(weights) - weights[term] * row.terms[term];
        over += scale * row.terms[term] * (row.latency - rest);
        under += scale * row.terms[term] * row.terms[term];
    }
    (over / under).max(0.0)
}

/// What bounds the CPU of a pod. A node with idle cores gives it up to its limit, a full one no more than its request, and
/// an application with few threads cannot use more than those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Capacity {
    /// Its request; the cautious assumption.
    #[default]
    Request,
    /// Midway (geometrically) between request and limit.
    Middle,
    /// Its limit.
    Limit,
    /// So many threads.
    Threads(u32),
}

impl Capacity {
    /// In cores, for a pod of this request and limit.
    #[must_use]
    pub fn cores(self, request: f64, limit: f64) -> f64 {
        match self {
            Self::Request => request.min(limit),
            Self::Middle => (request * limit).sqrt().min(limit),
            Self::Limit => limit,
            Self::Threads(threads) => f64::from(threads).min(limit),
        }
    }
}

/// What bounds the CPU of a pod, judged from where its latency rises: the candidate whose curve explains the bins best,
/// if clearly better than `present`. No candidate lies below what was seen to be used.
#[must_use]
pub fn infer_capacity(bins: &[Bin], shape: &Shape, present: Capacity) -> Capacity {
    let Some(lowest) = bins.iter().map(|bin| bin.ln_latency).min_by(f64::total_cmp) else {
        return present;
    };
    let highest = bins.iter().map(|bin| bin.ln_latency).fold(lowest, f64::max);
    if bins.len() < 6 || highest - lowest < 0.5 {
        return present;
    }
    let used = bins
        .iter()
        .map(|bin| bin.utilisation * shape.request)
        .fold(0.0, f64::max);
    let error = |capacity: Capacity| {
        let cores = capacity.cores(shape.request, shape.limit);
        Fit::new(
            bins.iter(),
            &Shape {
                capacity: cores,
                ..*shape
            },
        )
        .map_or(f64::INFINITY, |fit| fit.error)
    };
    let threads = (0..6)
        .map(|power| 1_u32 << power)
        .filter(|&threads| f64::from(threads) < 0.9 * shape.limit);
    let candidates = [Capacity::Request, Capacity::Middle, Capacity::Limit].into_iter();
    candidates
        .chain(threads.map(Capacity::Threads))
        .filter(|capacity| capacity.cores(shape.request, shape.limit) >= 0.95 * used)
        .map(|capacity| (capacity, error(capacity)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .filter(|(_, least)| *least < 0.5 * error(present))
        .map_or(present, |(capacity, _)| capacity)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::core::evidence::Counts;

    fn shape(capacity: f64) -> Shape {
        Shape {
            request: capacity,
            limit: capacity,
            capacity,
            per_request: 0.01,
            idle: 0.0,
            percentile: 0.99,
        }
    }

    fn bin(utilisation: f64, latency: f64) -> Bin {
        Bin {
            weight: 10.0,
            counts: Counts {
                requests: 1e4,
                exceeding: 1.0,
            },
            utilisation,
            ln_latency: latency.ln(),
        }
    }

    #[test]
    fn the_mean_wait_of_one_server_is_that_of_m_m_1() {
        // With c = 1 Sakasegawa's exponent is 1: W = rho / (1 - rho) * E[S]; at rho = 1/2 that is one service time.
        let mean = |servers: f64, waits: f64| shape(servers).wait(0.5) / (100.0 * waits).ln() * waits;
        let wait = mean(1.0, 0.5);
        assert!((wait - 0.01).abs() < 1e-12);
        // M/M/2 at rho = 1/2: exactly 1/3 of a service time; Sakasegawa gives 0.36.
        let wait = mean(2.0, 0.5_f64.powf(6.0_f64.sqrt() - 1.0));
        assert!((wait / 0.01 - 0.364).abs() < 0.01, "{wait}");
    }

    #[test]
    fn learns_a_curve_it_was_not_told() {
        let truth = |rho: f64| 0.03 + 0.02 * rho * rho / (1.0 - rho);
        let bins: Vec<Bin> = (2..20)
            .map(|step| f64::from(step) * 0.045)
            .map(|rho| bin(rho, truth(rho)))
            .collect();
        let fit = Fit::new(bins.iter(), &shape(1.0)).unwrap();
        for bin in &bins {
            let relative = fit.predict(bin.utilisation, &shape(1.0)) / bin.ln_latency.exp() - 1.0;
            assert!(relative.abs() < 0.25, "{} {relative}", bin.utilisation);
        }
    }

    #[test]
    fn what_was_never_seen_to_queue_is_taken_to_queue() {
        let fit = Fit::new([bin(0.2, 0.03)].iter(), &shape(1.0)).unwrap();
        assert!(fit.wait > 0.5);
        let safe = fit.safe_utilisation(0.1, 1.0, &shape(1.0));
        assert!((0.3..0.8).contains(&safe), "{safe}");
    }

    #[test]
    fn the_tail_of_the_wait_is_that_of_exponential_service() {
        // One server at half load: a request waits with probability 1/2, and then 20 ms on average. 99% wait less than
        // 20 ms ln(0.5 / 0.01).
        let one = shape(1.0).wait(0.5);
        assert!((one - 0.02 * 50_f64.ln()).abs() < 1e-9, "{one}");
        // Four servers at half load: Erlang's C is 0.174, so 5 ms ln(17.4); Sakasegawa's is 0.222.
        let four = shape(4.0).wait(0.5);
        assert!((four / (0.005 * 17.4_f64.ln()) - 1.0).abs() < 0.12, "{four}");
        assert_eq!(shape(4.0).wait(0.05), 0.0, "hardly anybody waits");
    }

    #[test]
    fn pods_of_less_than_a_core_answer_more_slowly() {
        let fit = Fit {
            base_seconds: 0.03,
            wait: 1.0,
            pause: 0.5,
            error: 0.0,
        };
        assert!((fit.resized(1.0, 0.5, 1.0).base_seconds - 0.06).abs() < 1e-12);
        assert!((fit.resized(1.0, 0.5, 0.2).base_seconds - 0.036).abs() < 1e-12);
        assert!((fit.resized(2.0, 4.0, 1.0).base_seconds - 0.03).abs() < 1e-12);
    }

    #[test]
    fn a_single_threaded_application_is_caught() {
        let pod = Shape {
            request: 2.0,
            limit: 4.0,
            ..shape(2.0)
        };
        let seen = |capacity: f64, most: f64| -> Vec<Bin> {
            let truth = shape(capacity);
            let used = (1..20).map(|step| f64::from(step) * 0.08).filter(|&used| used < most);
            used.map(|used| bin(used / pod.request, 0.03 + truth.wait(used / capacity)))
                .collect()
        };
        assert_eq!(
            infer_capacity(&seen(1.0, 0.9), &pod, Capacity::Request),
            Capacity::Threads(1)
        );
        assert_eq!(
            infer_capacity(&seen(2.0, 1.9), &pod, Capacity::Request),
            Capacity::Request
        );
        assert_eq!(
            infer_capacity(&seen(4.0, 0.5), &pod, Capacity::Request),
            Capacity::Request
        );
    }

    #[test]
    fn capacity_lies_between_request_and_limit() {
        assert!((Capacity::Middle.cores(0.5, 2.0) - 1.0).abs() < 1e-12);
        assert!((Capacity::Threads(4).cores(0.5, 2.0) - 2.0).abs() < 1e-12);
        assert!((Capacity::Request.cores(2.0, 1.0) - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_curve_never_falls(low in 0.0_f64..1.1, more in 0.0_f64..0.3, capacity in 0.1_f64..8.0) {
            let fit = Fit { base_seconds: 0.01, wait: 0.7, pause: 0.3, error: 0.0 };
            prop_assert!(fit.predict(low + more, &shape(capacity)) >= fit.predict(low, &shape(capacity)) - 1e-12);
        }
    }
}
