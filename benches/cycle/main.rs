//! What a recommender costs: one decision cycle, and one round of scrapes of ten thousand sidecars.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod observations;
mod process;
mod sidecars;

use std::time::{Duration, Instant};

use observations::Application;
use valence::core::decision::Bounds;
use valence::core::{Advisor, Settings};

const DEPLOYMENTS: usize = 1000;
const PODS: usize = 10;
const INTERVAL: f64 = 15.0;
/// Windows that every model has learnt from before anything is measured: an hour.
const LEARNT: usize = 240;
const CYCLES: usize = 15;

fn main() {
    println!("one decision cycle: {DEPLOYMENTS} Deployments, {PODS} pods each, 2 containers in each pod");
    decisions();
    println!();
    println!(
        "one round of scrapes over HTTP: {} sidecars, one thread",
        DEPLOYMENTS * PODS
    );
    sidecars::scrapes(DEPLOYMENTS, PODS);
}

fn decisions() {
    let before = process::resident_megabytes();
    let mut applications: Vec<_> = (0..DEPLOYMENTS).map(|index| Application::new(index, PODS)).collect();
    let mut advisors: Vec<_> = applications
        .iter()
        .map(|application| Advisor::new(vec![application.objective()], Bounds::default(), Settings::default()))
        .collect();
    let mut now = 1_800_000_000.0;
    for _ in 0..LEARNT {
        now += INTERVAL;
        cycle(&mut applications, &mut advisors, now);
    }
    let mut parts: [Vec<Duration>; 3] = Default::default();
    for _ in 0..CYCLES {
        now += INTERVAL;
        let took = cycle(&mut applications, &mut advisors, now);
        parts.iter_mut().zip(took).for_each(|(times, time)| times.push(time));
    }
    let medians = parts.each_mut().map(|times| process::median(times).as_secs_f64() * 1e3);
    let states = advisors
        .iter()
        .filter(|advisor| advisor.state() == valence::core::decision::ModelState::Confident);
    println!("{:<34} {:>10.1} ms", "observe", medians[0]);
    println!("{:<34} {:>10.1} ms", "decide", medians[1]);
    println!("{:<34} {:>10.1} ms", "checkpoint", medians[2]);
    println!(
        "{:<34} {:>10.1} ms (must be <= 1000)",
        "whole cycle",
        medians.iter().sum::<f64>()
    );
    println!("{:<34} {:>10}", "models that are Confident", states.count());
    println!(
        "{:<34} {:>10.1} MB for {DEPLOYMENTS} models",
        "resident",
        process::resident_megabytes() - before
    );
}

/// Observes, decides and writes checkpoints, and tells how long each took. Making up the observations is not counted.
fn cycle(applications: &mut [Application], advisors: &mut [Advisor], now: f64) -> [Duration; 3] {
    let observations: Vec<_> = applications
        .iter_mut()
        .map(|application| application.observe(now, INTERVAL))
        .collect();
    let begun = Instant::now();
    for (advisor, observation) in advisors.iter_mut().zip(&observations) {
        advisor.observe(observation);
    }
    let observed = begun.elapsed();
    for (application, advisor) in applications.iter_mut().zip(advisors.iter_mut()) {
        application.follow(&advisor.decide(now));
    }
    let decided = begun.elapsed();
    let written: usize = advisors.iter().map(|advisor| advisor.checkpoint().len()).sum();
    std::hint::black_box(written);
    [observed, decided - observed, begun.elapsed() - decided]
}
