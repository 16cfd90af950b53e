//! A round of scrapes against real sockets, with the operator's own scraper.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use valence::report::metrics::ScrapeMetrics;
use valence::scrape::{Scraper, Subject, Summaries};

use super::others::Others;
use super::{DEPLOYMENTS, PODS, cluster, process, row};

/// Time from one round to the next.
pub const INTERVAL: Duration = Duration::from_secs(15);
const ROUNDS: usize = 5;

/// Scrapes everything a few times and tells the CPU time and the memory.
pub fn measure() {
    println!(
        "one round of scrapes over HTTP, {} sidecars, one thread",
        DEPLOYMENTS * PODS
    );
    let others = Others::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let before = process::resident_megabytes();
    let subjects: Vec<_> = (0..DEPLOYMENTS).map(subject).collect();
    let metrics = ScrapeMetrics::new(&prometheus::Registry::new()).expect("metrics");
    let mut scraper = runtime.block_on(async { Scraper::new(others.client(), INTERVAL, metrics) });
    let mut cpu = Vec::new();
    let mut wall = Vec::new();
    let mut unanswered = 0;
    for round in 0..ROUNDS {
        let (begun, used) = (Instant::now(), process::thread_cpu_time());
        let found = runtime.block_on(scraper.round(&subjects, || 1_800_000_000.0 + 15.0 * round as f64));
        let failures: usize = found.failures.iter().map(Vec::len).sum();
        unanswered = unanswered.max(failures);
        assert!(
            failures * 100 <= DEPLOYMENTS * PODS,
            "{failures} scrapes failed: {:?}",
            found.failures.iter().flatten().next()
        );
        assert!(found.without_resource_metrics.is_empty());
        wall.push(begun.elapsed());
        cpu.push(process::thread_cpu_time().saturating_sub(used));
    }
    let (cpu, wall) = (process::median(&mut cpu), process::median(&mut wall));
    let targets = DEPLOYMENTS * PODS;
    let seconds = cpu.as_secs_f64();
    row("CPU time", format!("{seconds:.2} s"), "of one core (must be <= 15)");
    row(
        "CPU time of one scrape",
        format!("{:.1} µs", seconds * 1e6 / targets as f64),
        "",
    );
    row(
        "wall time",
        format!("{:.2} s", wall.as_secs_f64()),
        "the sidecars' side on the same machine",
    );
    row(
        "not answered in time, at most",
        unanswered.to_string(),
        "in a round: more than a few where the machine is busy",
    );
    let resident = process::resident_megabytes() - before;
    row("resident", format!("{resident:.1} MB"), &format!("with {targets} pods"));
    row(
        "peak resident",
        format!("{:.1} MB", process::peak_resident_megabytes()),
        "of this process, which scrapes (must be <= 200)",
    );
    row(
        "peak resident of the others",
        format!("{} MB", others.stop()),
        "the sidecars and the API server, a process of their own",
    );
}

fn subject(index: usize) -> Subject {
    let mut summaries = Summaries::default();
    Subject {
        namespace: cluster::namespace(index),
        template: "7c9d8b6f5d".to_owned(),
        software: BTreeMap::new(),
        desired_replicas: PODS as u32,
        pods: (0..PODS)
            .filter_map(|pod| summaries.of(Arc::new(cluster::packed(index, pod))))
            .map(Arc::new)
            .collect(),
        name: cluster::name(index),
    }
}
