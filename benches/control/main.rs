//! Control quality: Valence against its peers in a simulated cluster.
//!
//! `cargo bench --bench control -- --help` tells the options; docs/benchmark.md what is simulated and what came out.

// The benchmark has no test harness of its own: tests/control_benchmark.rs runs the tests of its modules.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod cluster;
mod contestants;
mod controllers;
mod load;
mod options;
mod report;
mod runner;
mod scenario;
mod search;
mod simulation;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use contestants::Contestant;
use options::Options;
use runner::Runner;
use scenario::Scenario;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let suite = suite(&options)?;
    let contestants = contestants(&options);
    ensure!(
        !suite.is_empty() && !contestants.is_empty(),
        "nothing matches --only and --who"
    );
    let (world, effort) = (options.world(), options.effort());
    if let Some(seed) = options.explain {
        suite
            .iter()
            .for_each(|scenario| contestants::explain(scenario, world, &effort, seed));
        return Ok(ExitCode::SUCCESS);
    }
    let began = Instant::now();
    let runner = Runner {
        suite: &suite,
        contestants: &contestants,
        world,
        effort,
        first_seed: options.first_seed,
        threads: options.threads(),
    };
    let results = runner.run();
    report::print(&results, &suite);
    let verdicts = report::judge(&results, &suite);
    report::write(&options.out, &results, &suite, &verdicts)
        .with_context(|| format!("cannot write to {}", options.out.display()))?;
    let seconds = began.elapsed().as_secs_f64();
    report::say(&format!(
        "\n{:.1} million requests in {seconds:.0} s on {} threads; tables and plots are in {}",
        results.simulated_requests as f64 / 1e6,
        options.threads(),
        options.out.display(),
    ));
    let failed = verdicts.iter().any(|verdict| !verdict.reached());
    Ok(if options.strict && failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn suite(options: &Options) -> Result<Vec<Scenario>> {
    let mut suite = Vec::new();
    for path in &options.trace {
        let trace = load::read(path).with_context(|| format!("--trace {}", path.display()))?;
        let name = path
            .file_stem()
            .map_or_else(|| "trace".into(), |stem| stem.to_string_lossy().into_owned());
        let scenario = Scenario::recorded(&name, &options.application, trace, options.scale, false);
        suite.push(scenario.with_context(|| format!("--application {}: no such preset", options.application))?);
    }
    if suite.is_empty() {
        suite = scenario::suite(&options.traces);
    }
    // A whole name means that scenario alone: "diurnal" is a part of another.
    let named: Vec<String> = suite.iter().map(|scenario| scenario.name.clone()).collect();
    suite.retain(|scenario| {
        options.only.contains(&scenario.name)
            || matches(&options.only, &scenario.name) && !options.only.iter().any(|only| named.contains(only))
    });
    suite
        .iter_mut()
        .for_each(|scenario| scenario.written_with(options.request));
    Ok(suite)
}

fn contestants(options: &Options) -> Vec<Contestant> {
    contestants::ALL
        .into_iter()
        .filter(|contestant| matches(&options.who, &contestant.name()))
        .collect()
}

fn matches(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns
            .iter()
            .any(|pattern| name.to_lowercase().contains(&pattern.to_lowercase()))
}
