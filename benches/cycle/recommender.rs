//! The recommender as the operator runs it, whole: it reads who is selected from the caches, scrapes, learns, decides,
//! writes statuses and shows them, with an API server and sidecars at the other end of real sockets.
//!
//! Its one thread has nothing else to do, so that its CPU time is what an interval costs. Nothing is live, so that no pod
//! is resized: that is work of the API server.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use valence::core::Settings;
use valence::recommender::lease::{Candidate, Pace};
use valence::recommender::{Options, Recommender};
use valence::report::events::Events;
use valence::report::metrics::Metrics;
use valence::report::status::Board;

use super::{DEPLOYMENTS, PODS, api, cluster, models, process, row, sidecars};

/// A third of the usual one, so that this takes half a minute; what is told is of one interval, however long it is.
const INTERVAL: Duration = Duration::from_secs(5);
const WARM_UP: u32 = 3;
const INTERVALS: u32 = 4;

/// Runs it for a while and prints the table.
pub fn measure() {
    println!("the recommender whole, {} sidecars, one thread", DEPLOYMENTS * PODS);
    let cluster = cluster::filled();
    let server = api::Server::start(objects(), Some(Arc::clone(&cluster)));
    sidecars::serve(INTERVAL);
    let caches = process::resident_megabytes();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let board = Arc::new(Board::default());
        let metrics = Metrics::new(Arc::clone(&board)).expect("metrics");
        let (stop, client) = (CancellationToken::new(), server.client());
        let (candidate, leadership) =
            Candidate::new(client.clone(), "valence-system", "this".to_owned(), Pace::default());
        let (events, publisher) = Events::new(client.clone(), "this".to_owned(), metrics.events.clone());
        let recommender = Recommender::new(&client, cluster, leadership, board, metrics.clone(), events, options());
        tokio::spawn(publisher.run());
        tokio::spawn(candidate.run(stop.clone()));
        tokio::spawn(recommender.run(stop.clone()));
        tokio::time::sleep(INTERVAL * WARM_UP).await;
        let before = Counts::of(&metrics);
        tokio::time::sleep(INTERVAL * INTERVALS).await;
        let after = Counts::of(&metrics);
        print(&before, &after, caches);
    });
}

fn print(before: &Counts, after: &Counts, caches: f64) {
    let per_interval = |difference: f64| difference / f64::from(INTERVALS);
    let scrapes = per_interval(after.scrapes - before.scrapes);
    let asked = (DEPLOYMENTS * PODS) as f64;
    assert!(
        (scrapes - asked).abs() < asked * 0.3,
        "{scrapes} scrapes in an interval"
    );
    let cpu = per_interval((after.cpu - before.cpu).as_secs_f64());
    row(
        "CPU time of an interval",
        format!("{cpu:.2} s"),
        "of one core, all of it (must be <= 15)",
    );
    let cycle = (after.cycle_seconds - before.cycle_seconds) / (after.cycles - before.cycles);
    row(
        "decisions, conditions, statuses and writes",
        format!("{:.0} ms", cycle * 1e3),
        "of a cycle, wall, the API server on the same machine (must be <= 1000)",
    );
    row("scrapes in an interval", format!("{scrapes:.0}"), "");
    row(
        "statuses written in an interval",
        format!("{:.0}", per_interval(after.writes - before.writes)),
        "",
    );
    row(
        "resident",
        format!("{:.1} MB", process::resident_megabytes() - caches),
        "models, tracks and what a round knows of the pods",
    );
    row(
        "peak resident",
        format!("{:.1} MB", process::peak_resident_megabytes()),
        "with caches, sidecars and the API server in this process (must be <= 200)",
    );
}

/// What an API server has before the recommender begins: what the models knew, and the objectives.
fn objects() -> Vec<(String, serde_json::Value)> {
    let path = |namespace: &str, plural: &str, name: &str| {
        format!("/apis/optimizer.valence.io/v1alpha1/namespaces/{namespace}/{plural}/{name}")
    };
    let recommendations = models::checkpoints()
        .into_iter()
        .enumerate()
        .map(|(index, checkpoint)| {
            let place = path(&cluster::namespace(index), "recommendations", &cluster::name(index));
            (place, cluster::recommendation(index, &checkpoint))
        });
    let objectives = cluster::objectives().map(|object| {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        (path(namespace, "servicelevelobjectives", "web"), object)
    });
    recommendations.chain(objectives).collect()
}

fn options() -> Options {
    Options {
        scrape_interval: INTERVAL,
        decision_interval: INTERVAL,
        settings: Settings::default(),
        evict: false,
        readmit_services: false,
    }
}

/// What was counted up to a moment.
struct Counts {
    cpu: Duration,
    scrapes: f64,
    writes: f64,
    cycles: f64,
    cycle_seconds: f64,
}

impl Counts {
    fn of(metrics: &Metrics) -> Self {
        let cpu = process::thread_cpu_time();
        let text = metrics.exposition().expect("metrics");
        let text = String::from_utf8_lossy(&text);
        let sum = |series: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(series));
            lines
                .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .sum()
        };
        Self {
            cpu,
            scrapes: sum("valence_scrapes_total{outcome=\"success\"}"),
            writes: sum("valence_status_writes_total{kind=\"Recommendation\",outcome=\"success\"}"),
            cycles: sum("valence_cycle_duration_seconds_count"),
            cycle_seconds: sum("valence_cycle_duration_seconds_sum"),
        }
    }
}
