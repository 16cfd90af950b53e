//! One decision cycle of a thousand models: what the pure core costs.

use std::time::{Duration, Instant};

use valence::core::decision::{Bounds, ContainerBounds, ModelState};
use valence::core::{Advisor, Settings};

use super::observations::Application;
use super::{CONTAINERS, DEPLOYMENTS, PODS, process, row};

const INTERVAL: f64 = 15.0;
/// Windows that every model has learnt from before anything is measured: an hour.
const LEARNT: usize = 240;
const CYCLES: usize = 15;

/// Prints the table.
pub fn measure() {
    println!("one decision cycle, the models alone");
    let before = process::resident_megabytes();
    let mut applications: Vec<_> = (0..DEPLOYMENTS)
        .map(|index| Application::new(index, PODS).with_helpers(CONTAINERS - 2))
        .collect();
    let mut advisors: Vec<_> = applications
        .iter()
        .map(|application| Advisor::new(vec![application.objective()], bounds(), Settings::default()))
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
    for (part, median) in ["observe", "decide", "checkpoint"].into_iter().zip(medians) {
        row(part, format!("{median:.1} ms"), "");
    }
    let whole = medians.iter().sum::<f64>();
    row("whole cycle", format!("{whole:.1} ms"), "(must be <= 1000)");
    let confident = advisors
        .iter()
        .filter(|advisor| advisor.state() == ModelState::Confident);
    row("models that are Confident", confident.count().to_string(), "");
    let resident = process::resident_megabytes() - before;
    row(
        "resident",
        format!("{resident:.1} MB"),
        &format!("for {DEPLOYMENTS} models and a window of each"),
    );
    let lengths: Vec<usize> = advisors.iter().map(|advisor| advisor.checkpoint().len()).collect();
    let largest = lengths.iter().copied().max().unwrap_or_default();
    assert!(lengths.iter().all(|length| *length > 0), "a checkpoint is empty");
    row("largest checkpoint", format!("{largest} B"), "(must be <= 8192)");
}

/// As the recommender makes them: an entry for each container, though its owner says nothing.
fn bounds() -> Bounds {
    let helpers = (0..CONTAINERS - 2).map(|number| format!("helper-{number}"));
    let names = ["app".to_owned(), "envoy".to_owned()].into_iter().chain(helpers);
    Bounds {
        containers: names.map(|name| (name, ContainerBounds::default())).collect(),
        ..Bounds::default()
    }
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
