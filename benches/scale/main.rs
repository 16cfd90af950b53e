//! A simulation of 100,000 pods: their scrapes and models shared by several replicas, by rendezvous hashing.
//!
//! What one replica can carry is measured by `benches/cycle`; this says how evenly the work falls, and what happens when
//! replicas come and go. See docs/scale.md.

#![allow(clippy::print_stdout, missing_docs)]

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const PODS: usize = 100_000;
const INTERVAL_SECONDS: f64 = 15.0;

/// What the work costs, as `benches/cycle` measured it; see docs/performance.md.
struct Cost {
    scrape_cpu_seconds: f64,
    decision_cpu_seconds: f64,
    pod_bytes: f64,
    model_bytes: f64,
}

impl Cost {
    /// From SCRAPE_MICROSECONDS and the like, where they are set.
    fn from_environment() -> Self {
        let number = |name: &str, usual: f64| {
            std::env::var(name)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or(usual)
        };
        Self {
            scrape_cpu_seconds: number("SCRAPE_MICROSECONDS", 150.0) * 1e-6,
            decision_cpu_seconds: number("DECISION_MICROSECONDS", 200.0) * 1e-6,
            pod_bytes: number("POD_BYTES", 2_300.0),
            model_bytes: number("MODEL_BYTES", 50_000.0),
        }
    }
}

/// A Deployment: a unique identifier and how many pods it has.
struct Deployment {
    unique: u64,
    pods: usize,
}

/// What one replica carries.
#[derive(Clone, Copy, Default)]
struct Load {
    deployments: usize,
    pods: usize,
}

impl Load {
    fn cores(self, cost: &Cost) -> f64 {
        (self.pods as f64 * cost.scrape_cpu_seconds + self.deployments as f64 * cost.decision_cpu_seconds)
            / INTERVAL_SECONDS
    }

    fn megabytes(self, cost: &Cost) -> f64 {
        (self.pods as f64 * cost.pod_bytes + self.deployments as f64 * cost.model_bytes) / 1e6
    }
}

fn main() {
    let (cost, deployments) = (Cost::from_environment(), deployments());
    println!(
        "{PODS} pods in {} Deployments, the largest has {}",
        deployments.len(),
        deployments[0].pods
    );
    println!(
        "{:>8} {:>12} {:>12} {:>10} {:>12} {:>14} {:>14} {:>14}",
        "replicas",
        "pods, mean",
        "pods, most",
        "unevenness",
        "cores, most",
        "MB, most",
        "moved by join",
        "moved by loss"
    );
    for replicas in [1, 4, 8, 10, 12, 16, 24] {
        let shared = share(&deployments, &(0..replicas).collect::<Vec<_>>());
        let most = shared.iter().copied().max_by_key(|load| load.pods).unwrap_or_default();
        let mean = PODS as f64 / replicas as f64;
        println!(
            "{replicas:>8} {mean:>12.0} {:>12} {:>9.2}x {:>12.2} {:>14.0} {:>13.1}% {:>13.1}%",
            most.pods,
            most.pods as f64 / mean,
            most.cores(&cost),
            most.megabytes(&cost),
            moved(&deployments, replicas, replicas + 1) * 100.0,
            moved(&deployments, replicas, replicas - 1) * 100.0,
        );
    }
}

/// Deployments of sizes as clusters have them: most are small, a few have hundreds of pods.
fn deployments() -> Vec<Deployment> {
    let mut random = StdRng::seed_from_u64(7);
    let mut left = PODS;
    let mut deployments = Vec::new();
    while left > 0 {
        let uniform: f64 = random.random_range(1e-4..1.0);
        let pods = ((2.0 * uniform.powf(-0.8)) as usize).clamp(1, 500).min(left);
        left -= pods;
        deployments.push(Deployment {
            unique: random.random(),
            pods,
        });
    }
    deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.pods));
    deployments
}

/// The replica whose hash with the Deployment is highest; only what a replica gains or loses ever moves.
fn owner(deployment: &Deployment, replicas: &[usize]) -> usize {
    let weight = |replica: &&usize| {
        let mut hasher = DefaultHasher::new();
        (deployment.unique, **replica).hash(&mut hasher);
        hasher.finish()
    };
    replicas.iter().max_by_key(weight).copied().unwrap_or_default()
}

fn share(deployments: &[Deployment], replicas: &[usize]) -> Vec<Load> {
    let mut loads = vec![Load::default(); replicas.len()];
    for deployment in deployments {
        let load = &mut loads[owner(deployment, replicas)];
        load.deployments += 1;
        load.pods += deployment.pods;
    }
    loads
}

/// Share of the pods that change hands when there are `after` replicas and no longer `before`.
fn moved(deployments: &[Deployment], before: usize, after: usize) -> f64 {
    let (before, after): (Vec<_>, Vec<_>) = ((0..before).collect(), (0..after.max(1)).collect());
    let moving = deployments
        .iter()
        .filter(|deployment| owner(deployment, &before) != owner(deployment, &after));
    moving.map(|deployment| deployment.pods).sum::<usize>() as f64 / PODS as f64
}
