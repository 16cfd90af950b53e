//! A simulation of 100,000 pods: their scrapes and models shared by several replicas, by rendezvous hashing.
//!
//! What one replica can carry is measured by `benches/cycle`; this says how evenly the work falls, what it costs, and what
//! happens in an hour in which replicas come and go. See docs/scale.md.

#![allow(clippy::print_stdout, missing_docs)]

mod cost;
mod hour;
mod sharding;

use cost::{Cost, Load};
use sharding::{Deployment, PODS, deployments, owner};

fn main() {
    let (cost, deployments) = (Cost::from_environment(), deployments());
    println!(
        "{PODS} pods in {} Deployments, the largest has {}; every replica caches all of them: {:.0} MB with the program",
        deployments.len(),
        deployments[0].pods,
        cost.common_megabytes(deployments.len())
    );
    shares(&cost, &deployments);
    println!();
    an_hour(&cost, &deployments);
}

fn shares(cost: &Cost, deployments: &[Deployment]) {
    println!(
        "{:>8} {:>11} {:>11} {:>11} {:>12} {:>8} {:>9} {:>10} {:>14} {:>14} {:>13}",
        "replicas",
        "pods, mean",
        "pods, most",
        "unevenness",
        "cores, most",
        "own MB",
        "all MB",
        "read MB/s",
        "moved by join",
        "moved by loss",
        "EUR a month"
    );
    for replicas in [1, 4, 8, 10, 12, 16, 24] {
        let loads = share(deployments, &(0..replicas).collect::<Vec<_>>());
        let most = loads.into_iter().max_by_key(|load| load.pods).unwrap_or_default();
        let mean = PODS as f64 / replicas as f64;
        let (cores, own) = (cost.cores(most), cost.own_megabytes(most));
        let megabytes = own + cost.common_megabytes(deployments.len());
        println!(
            "{replicas:>8} {mean:>11.0} {:>11} {:>10.2}x {cores:>12.2} {own:>8.0} {megabytes:>9.0} {:>10.1} {:>14} {:>14} {:>13.0}",
            most.pods,
            most.pods as f64 / mean,
            cost.bytes_per_second(most) / 1e6,
            percent(moved(deployments, replicas, replicas + 1)),
            // Of one nobody is left to whom anything could move.
            (replicas > 1)
                .then(|| moved(deployments, replicas, replicas - 1))
                .map_or("all wait".to_owned(), percent),
            cost.monthly(replicas as usize, cores, megabytes),
        );
    }
}

fn an_hour(cost: &Cost, deployments: &[Deployment]) {
    println!("an hour of replicas that come and go, a window of each Deployment every 15 s:");
    println!(
        "{:<40} {:>8} {:>7} {:>9} {:>10} {:>7} {:>11} {:>10} {:>9} {:>12}",
        "", "replicas", "moved", "a second", "unscraped", "twice", "unmeasured", "forgotten", "silence", "cores, most"
    );
    let parts = hour::run(deployments);
    for ((_, what), part) in hour::EVENTS.iter().zip(&parts) {
        println!(
            "{what:<40} {:>8} {:>7} {:>9} {:>10} {:>7} {:>11} {:>10} {:>7} s {:>12.2}",
            part.replicas,
            part.moved,
            part.moved_at_once,
            part.unscraped,
            part.twice,
            part.unmeasured,
            part.forgotten,
            part.silence,
            cost.cores(part.most),
        );
    }
    let windows: usize = parts.iter().map(|part| part.windows).sum();
    let unmeasured: usize = parts.iter().map(|part| part.unmeasured).sum();
    println!(
        "{unmeasured} of {windows} windows were measured by nobody: {}",
        percent(unmeasured as f64 / windows as f64)
    );
}

fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

fn share(deployments: &[Deployment], replicas: &[u64]) -> Vec<Load> {
    let mut loads = vec![Load::default(); replicas.len()];
    for deployment in deployments {
        let place = owner(deployment, replicas).and_then(|owner| replicas.iter().position(|one| *one == owner));
        loads[place.unwrap_or_default()].add(deployment);
    }
    loads
}

/// Share of the pods that change hands when there are `after` replicas and no longer `before`.
fn moved(deployments: &[Deployment], before: u64, after: u64) -> f64 {
    let (before, after): (Vec<_>, Vec<_>) = ((0..before).collect(), (0..after).collect());
    let moving = deployments
        .iter()
        .filter(|deployment| owner(deployment, &before) != owner(deployment, &after));
    moving.map(|deployment| deployment.pods).sum::<usize>() as f64 / PODS as f64
}
