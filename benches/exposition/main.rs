//! Speed of the exposition parser on Envoy's own output, beside prometheus-parse.

#![allow(clippy::print_stdout, missing_docs)]

mod expfmt;
#[path = "../measure/mod.rs"]
mod measure;
mod promtool;

use std::hint::black_box;

use measure::{Contestant, medians};
use valence::scrape::exposition::{Filter, Limits, parse};

/// Everything that an idle Envoy with one listener and one cluster exposes.
const UNFILTERED: &[u8] = include_bytes!("envoy-unfiltered.prometheus");
/// What a sidecar with our bootstrap exposes.
const SIDECAR: &[u8] = include_bytes!("../../webhook/tests/data/envoy.prometheus");
/// The families that a scrape reads.
const FAMILIES: &[&str] = &[
    "envoy_cluster_upstream_rq_time",
    "envoy_http_downstream_rq_time",
    "envoy_http_downstream_rq_total",
    "envoy_http_downstream_rq_xx",
    "envoy_cluster_upstream_rq_total",
];
const PREFIXES: &[&str] = &["envoy_cluster_grpc_"];

fn main() {
    println!(
        "{:<44} {:<28} {:>10} {:>10} {:>8}",
        "exposition", "parser", "MB/s", "ns/line", "ratio"
    );
    // Many sidecars' expositions one after the other, so that the input does not fit the nearest caches.
    table("unfiltered Envoy, our families", UNFILTERED, 64);
    table("sidecar with our bootstrap, our families", SIDECAR, 512);
    let everything = Filter::families(&[]).and_prefixes(&[""]);
    promtool::compare(&String::from_utf8_lossy(UNFILTERED), |text| read(text, &everything));
}

/// Reads what a filter lets through.
fn read(exposition: &[u8], filter: &Filter<'_>) {
    let limits = Limits {
        samples: usize::MAX,
        ..Limits::default()
    };
    let mut sum = 0.0;
    let summary = parse(exposition, filter, &limits, |sample| {
        sum += sample.value + sample.labels.raw("le").map_or(0.0, |bound| bound.len() as f64);
    });
    black_box((sum, summary.is_ok()));
}

/// The parsers on as many copies of `one` exposition.
fn table(input: &str, one: &[u8], copies: usize) {
    let exposition = &one.repeat(copies)[..];
    let filter = Filter::families(FAMILIES).and_prefixes(PREFIXES);
    let everything = Filter::families(&[]).and_prefixes(&[""]);
    let text = String::from_utf8_lossy(exposition).into_owned();
    let mut contestants = [
        Contestant::new("valence, filtered", || read(exposition, &filter)),
        Contestant::new("valence, every sample", || read(exposition, &everything)),
        Contestant::new("prometheus-parse", || {
            let lines = text.lines().map(|line| Ok(line.to_owned()));
            black_box(prometheus_parse::Scrape::parse(lines).is_ok());
        }),
        Contestant::new("counting line ends", || {
            black_box(memchr::memchr_iter(b'\n', exposition).count());
        }),
    ];
    let times = medians(&mut contestants);
    let lines = memchr::memchr_iter(b'\n', exposition).count();
    let names = contestants.iter().map(|contestant| contestant.name);
    let mut rows: Vec<_> = names.zip(times.iter().map(std::time::Duration::as_secs_f64)).collect();
    // It takes a family only once, as one exposition has it.
    match expfmt::seconds(one) {
        Ok(seconds) => rows.push(("prometheus/common expfmt", seconds * copies as f64)),
        Err(why) => println!("{input:<44} prometheus/common expfmt: skipped: {why}"),
    }
    let first = rows.first().map_or(f64::NAN, |(_, seconds)| *seconds);
    for (name, seconds) in rows {
        let megabytes = exposition.len() as f64 / 1e6 / seconds;
        let per_line = seconds * 1e9 / lines as f64;
        let ratio = seconds / first;
        println!("{input:<44} {name:<28} {megabytes:>10.0} {per_line:>10.1} {ratio:>7.2}x");
    }
}
