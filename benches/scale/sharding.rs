//! Who does what: Deployments, and the replica that each belongs to.
//!
//! This is the function that docs/scale.md plans; the operator has none yet, since one replica does everything.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Pods of the cluster.
pub const PODS: usize = 100_000;

/// A Deployment: a hash of its unique identifier and how many pods it has.
pub struct Deployment {
    /// The hash.
    pub unique: u64,
    /// Its pods.
    pub pods: usize,
}

/// Deployments of sizes as clusters have them: most are small, a few have hundreds of pods.
pub fn deployments() -> Vec<Deployment> {
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

/// The replica whose hash with the Deployment is highest; only what a replica gains or loses ever moves. The hash is
/// written down here and not a library's: two releases side by side must agree.
pub fn owner(deployment: &Deployment, replicas: &[u64]) -> Option<u64> {
    let weight = |replica: &&u64| mixed(deployment.unique ^ mixed(**replica));
    replicas.iter().max_by_key(weight).copied()
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), which leaves no bit of its argument without effect on any of the
/// result.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
