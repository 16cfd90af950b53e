//! VerticalPodAutoscaler: recommender and updater.
//!
//! From the project's documentation (flags and defaults of the recommender and the updater, "Recommendation model"
//! and the design proposal): decaying histograms of exponential buckets, half-life 24 hours; target at the 90th
//! percentile, bounds at the 50th and 95th with a confidence that grows with the history; 15% safety margin; memory by
//! peaks; an OOM kill counts as a peak of 120% or 100 MiB more. The updater looks once a minute and evicts pods whose
//! requests are outside the bounds, at most half of them at once and never below two replicas. Limits keep their ratio
//! to the requests. The recommender is taken to have a week of history of this application.

use super::{Controller, Hpa, HpaSettings};
use crate::cluster::{Phase, Size, World};

const HALF_LIFE_SECONDS: f64 = 24.0 * 3600.0;
const SAFETY_MARGIN: f64 = 1.15;
const HISTORY_DAYS: f64 = 7.0;
const LEAST_CPU: f64 = 0.025;
const LEAST_MEMORY: f64 = 250e6;
const OOM_RATIO: f64 = 1.2;
const OOM_STEP: f64 = 100.0 * 1024.0 * 1024.0;
const EVICTION_TOLERANCE: f64 = 0.5;
const MIN_REPLICAS: usize = 2;

/// What is left to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpaControls {
    /// CPU and memory, with fixed replicas.
    CpuAndMemory,
    /// Memory alone, beside an HPA on CPU at 70%.
    Memory,
}

/// A histogram of exponential buckets (each 5% longer than the last) in which samples lose half their weight in a day.
#[derive(Clone, Debug)]
struct DecayingHistogram {
    first: f64,
    weights: Vec<f64>,
}

impl DecayingHistogram {
    fn new(first: f64) -> Self {
        Self {
            first,
            weights: vec![0.0; 250],
        }
    }

    /// End of a bucket: the geometric series of the sizes of all buckets up to it.
    fn end(&self, bucket: usize) -> f64 {
        self.first * (1.05_f64.powi(bucket as i32 + 1) - 1.0) / 0.05
    }

    fn add(&mut self, value: f64, weight: f64, now: f64) {
        let last = self.weights.len() - 1;
        let bucket = (0..last).find(|&bucket| value < self.end(bucket)).unwrap_or(last);
        // Growing the weight of new samples is the same as letting old ones decay.
        self.weights[bucket] += weight * (now / HALF_LIFE_SECONDS).exp2();
    }

    fn percentile(&self, share: f64) -> Option<f64> {
        let total: f64 = self.weights.iter().sum();
        let mut sum = 0.0;
        let bucket = self.weights.iter().position(|weight| {
            sum += weight;
            sum >= share * total
        })?;
        (total > 0.0).then(|| self.end(bucket))
    }
}

/// Lower bound, target and upper bound of one resource.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    lower: f64,
    target: f64,
    upper: f64,
}

fn estimate(histogram: &DecayingHistogram, least: f64, days: f64) -> Option<Estimate> {
    let at = |share: f64| histogram.percentile(share).map(|value| value * SAFETY_MARGIN);
    Some(Estimate {
        lower: (at(0.5)? * (1.0 + 0.001 / days).powi(-2)).max(least),
        target: at(0.9)?.max(least),
        upper: (at(0.95)? * (1.0 + 1.0 / days)).max(least),
    })
}

/// The autoscaler, with the HPA beside it where there is one.
pub struct Vpa {
    controls: VpaControls,
    cpu: DecayingHistogram,
    memory: DecayingHistogram,
    peaks: Vec<(u64, f64)>,
    kills: Vec<(u64, f64)>,
    hpa: Option<Hpa>,
    next_update: f64,
}

impl Vpa {
    /// One that has just been created.
    pub fn new(controls: VpaControls, min_replicas: u32) -> Self {
        let hpa = (controls == VpaControls::Memory).then(|| Hpa::new(HpaSettings::at(0.7, min_replicas)));
        Self {
            controls,
            cpu: DecayingHistogram::new(0.01),
            memory: DecayingHistogram::new(1e7),
            peaks: Vec::new(),
            kills: Vec::new(),
            hpa,
            next_update: 0.0,
        }
    }

    fn observe(&mut self, world: &World, now: f64) {
        for member in &world.members {
            if let Some(cpu) = member.metrics.cpu {
                self.cpu.add(cpu, member.size.cpu_request.max(0.1), now);
            }
            self.observe_memory(member.id, member.metrics.memory.map(|bytes| bytes as f64), now);
            if let Some(at) = member.killed_for_memory_at
                && !self.kills.contains(&(member.id, at))
            {
                self.kills.push((member.id, at));
                let limit = member.size.memory_limit as f64;
                self.observe_memory(member.id, Some((limit * OOM_RATIO).max(limit + OOM_STEP)), now);
            }
        }
    }

    /// Memory counts by the peak of each container: a higher one takes the place of the last.
    fn observe_memory(&mut self, id: u64, memory: Option<f64>, now: f64) {
        let Some(memory) = memory else { return };
        match self.peaks.iter_mut().find(|(of, _)| *of == id) {
            Some((_, peak)) if *peak >= memory => {}
            Some((_, peak)) => {
                let before = *peak;
                *peak = memory;
                self.memory.add(before, -1.0, now);
                self.memory.add(memory, 1.0, now);
            }
            None => {
                self.peaks.push((id, memory));
                self.memory.add(memory, 1.0, now);
            }
        }
    }

    fn size(&self, world: &World, cpu: Estimate, memory: Estimate) -> Size {
        let now = world.deployment.size;
        let request = if self.controls == VpaControls::Memory {
            now.cpu_request
        } else {
            cpu.target
        };
        let memory_ratio = now.memory_limit as f64 / now.memory_request as f64;
        Size {
            cpu_request: request,
            cpu_limit: now.cpu_limit / now.cpu_request * request,
            memory_request: memory.target as u64,
            memory_limit: (memory.target * memory_ratio) as u64,
        }
    }

    fn update(&mut self, world: &mut World, now: f64) {
        let (Some(cpu), Some(memory)) = (
            estimate(&self.cpu, LEAST_CPU, HISTORY_DAYS),
            estimate(&self.memory, LEAST_MEMORY, HISTORY_DAYS),
        ) else {
            return;
        };
        world.resize_new(self.size(world, cpu, memory));
        let within = |value: f64, of: Estimate| (of.lower..=of.upper).contains(&value);
        let staying: Vec<_> = world
            .members
            .iter()
            .filter(|member| member.phase != Phase::Terminating)
            .collect();
        let ready = staying.iter().filter(|member| member.phase == Phase::Ready).count();
        let outside = staying
            .iter()
            .filter(|member| member.phase == Phase::Ready)
            .filter(|member| {
                let cpu_outside = self.controls == VpaControls::CpuAndMemory && !within(member.size.cpu_request, cpu);
                cpu_outside || !within(member.size.memory_request as f64, memory)
            });
        let outside: Vec<u64> = outside.map(|member| member.id).collect();
        let evictable = evictable(world.deployment.replicas as usize, ready);
        outside.into_iter().take(evictable).for_each(|id| world.evict(id, now));
    }
}

/// How many pods may be evicted now: half of the replicas may be missing, and below two replicas none is evicted.
fn evictable(replicas: usize, ready: usize) -> usize {
    if replicas < MIN_REPLICAS {
        return 0;
    }
    let tolerated = ((replicas as f64 * EVICTION_TOLERANCE) as usize).max(1);
    (ready + tolerated).saturating_sub(replicas)
}

impl Controller for Vpa {
    fn act(&mut self, world: &mut World, now: f64) {
        if let Some(hpa) = &mut self.hpa {
            hpa.act(world, now);
        }
        if now < self.next_update || world.blackout {
            return;
        }
        self.next_update = now + 60.0;
        self.observe(world, now);
        self.update(world, now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_target_is_the_90th_percentile_and_a_margin() {
        let mut histogram = DecayingHistogram::new(0.01);
        (0..100).for_each(|rank| histogram.add(f64::from(rank) / 100.0, 1.0, 0.0));
        let estimate = estimate(&histogram, LEAST_CPU, 7.0).unwrap();
        // Buckets are 5% wide, and the end of the bucket is taken.
        assert!((0.90 * 1.15..0.96 * 1.15).contains(&estimate.target), "{estimate:?}");
        assert!(estimate.lower < estimate.target && estimate.target < estimate.upper);
    }

    #[test]
    fn a_sample_of_yesterday_weighs_half() {
        let mut histogram = DecayingHistogram::new(0.01);
        histogram.add(0.1, 2.0, 0.0);
        histogram.add(0.5, 1.0, HALF_LIFE_SECONDS);
        // Equal weights: the median is in the lower bucket, anything above it in the upper.
        assert!(histogram.percentile(0.49).unwrap() < 0.2);
        assert!(histogram.percentile(0.51).unwrap() > 0.4);
    }

    #[test]
    fn a_short_history_widens_the_bounds() {
        let mut histogram = DecayingHistogram::new(0.01);
        histogram.add(0.5, 1.0, 0.0);
        let (day, week) = (
            estimate(&histogram, 0.0, 1.0).unwrap(),
            estimate(&histogram, 0.0, 7.0).unwrap(),
        );
        assert!((day.upper / day.target - 2.0).abs() < 1e-9);
        assert!(week.upper < day.upper && week.lower > day.lower);
    }

    #[test]
    fn the_minimum_recommendation_holds() {
        let mut histogram = DecayingHistogram::new(0.01);
        histogram.add(0.001, 1.0, 0.0);
        assert_eq!(estimate(&histogram, LEAST_CPU, 7.0).unwrap().target, LEAST_CPU);
    }

    #[test]
    fn memory_counts_by_its_peak() {
        let mut vpa = Vpa::new(VpaControls::CpuAndMemory, 2);
        for bytes in [3e8, 5e8, 4e8] {
            vpa.observe_memory(1, Some(bytes), 0.0);
        }
        let total: f64 = vpa.memory.weights.iter().sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert!((5e8..5.5e8).contains(&vpa.memory.percentile(0.5).unwrap()));
    }

    #[test]
    fn at_most_half_is_evicted_and_a_single_pod_never() {
        assert_eq!(evictable(6, 6), 3);
        assert_eq!(evictable(6, 4), 1);
        assert_eq!(evictable(6, 3), 0);
        assert_eq!(evictable(3, 3), 1);
        assert_eq!(evictable(1, 1), 0);
    }
}
