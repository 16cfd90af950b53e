//! A day in a minute or two: models that learn, Deployments that come and go, pods that are replaced by thousands, each
//! admitted by the webhook, every sidecar's exposition read in every window. Memory must stay flat.
//!
//! Runs the operator's own caches, admission, scrape reading and models in one process on a clock that is made up; only
//! the network is left out. Writes target/soak.csv and, as a plot, target/soak.svg.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../admission/cluster.rs"]
mod cluster;
#[path = "../cycle/observations.rs"]
mod observations;
mod plot;
#[path = "../cycle/process.rs"]
#[expect(dead_code, reason = "made for another benchmark")]
mod process;
#[path = "../admission/reviews.rs"]
#[expect(dead_code, reason = "made for another benchmark")]
mod reviews;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use observations::Application;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use valence::cache::Cluster;
use valence::core::decision::Bounds;
use valence::core::{Advisor, Settings};
use valence::scrape::envoy;
use valence::scrape::window::{Beginning, Stamped, Tracks};
use valence_webhook::{Admission, Endpoint, Metrics, Settings as AdmissionSettings, notices};

const EXPOSITION: &[u8] = include_bytes!("../../webhook/tests/data/envoy.prometheus");
const DEPLOYMENTS: usize = 200;
const PODS: usize = 5;
const WINDOW_SECONDS: f64 = 15.0;
const DAY_SECONDS: f64 = 86_400.0;
/// Windows between two rollouts or replacements of some Deployment.
const CHURN_WINDOWS: usize = 4;

/// Windows between two looks at the memory: a quarter of an hour.
const SAMPLE_WINDOWS: usize = 60;

/// What was seen at one look.
struct Sample {
    hour: f64,
    resident_megabytes: f64,
    rollouts: u64,
    admissions: u64,
    scrapes: u64,
}

struct Day {
    random: StdRng,
    cluster: Arc<Cluster>,
    admission: Admission,
    review: Vec<u8>,
    managed: Vec<(Application, Advisor)>,
    tracks: Tracks,
    generation: Vec<u64>,
    rollouts: u64,
    admissions: u64,
    scrapes: u64,
}

fn main() {
    let mut day = Day::new();
    let begun = Instant::now();
    let mut samples = Vec::new();
    let windows = (DAY_SECONDS / WINDOW_SECONDS) as usize;
    for window in 0..windows {
        day.window(1_800_000_000.0 + WINDOW_SECONDS * window as f64, window);
        if (window + 1).is_multiple_of(SAMPLE_WINDOWS) {
            samples.push(Sample {
                hour: (window + 1) as f64 * WINDOW_SECONDS / 3600.0,
                resident_megabytes: process::resident_megabytes(),
                rollouts: day.rollouts,
                admissions: day.admissions,
                scrapes: day.scrapes,
            });
        }
    }
    std::fs::create_dir_all("target")
        .and_then(|()| std::fs::write("target/soak.csv", csv(&samples)))
        .and_then(|()| std::fs::write("target/soak.svg", plot::svg(&samples)))
        .expect("files are written");
    let mean = |from: f64, to: f64| {
        let chosen: Vec<f64> = samples
            .iter()
            .filter(|sample| from < sample.hour && sample.hour <= to)
            .map(|sample| sample.resident_megabytes)
            .collect();
        chosen.iter().sum::<f64>() / chosen.len() as f64
    };
    println!(
        "{DEPLOYMENTS} Deployments with {PODS} pods each, 24 h in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    println!(
        "{} rollouts, {} pods admitted, {} expositions read",
        day.rollouts, day.admissions, day.scrapes
    );
    let (early, late) = (mean(2.0, 4.0), mean(22.0, 24.0));
    println!(
        "resident: {early:.1} MB in hours 2 to 4, {late:.1} MB in hours 22 to 24 ({:+.1} %)",
        (late / early - 1.0) * 100.0
    );
    println!("target/soak.csv and target/soak.svg have the curve");
    assert!(late < early * 1.1, "memory grows");
}

fn csv(samples: &[Sample]) -> String {
    let mut csv = "hour,resident_mb,rollouts,admissions,scrapes\n".to_owned();
    for sample in samples {
        let _ = writeln!(
            csv,
            "{:.2},{:.2},{},{},{}",
            sample.hour, sample.resident_megabytes, sample.rollouts, sample.admissions, sample.scrapes
        );
    }
    csv
}

impl Day {
    fn new() -> Self {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
        let cluster = cluster::filled(DEPLOYMENTS);
        let settings = AdmissionSettings {
            owner_wait_milliseconds: 0,
            ..AdmissionSettings::default()
        };
        Self {
            random: StdRng::seed_from_u64(1),
            admission: Admission::new(cluster.clone(), settings, metrics, Arc::new(notices::Silent)),
            cluster,
            review: reviews::all().swap_remove(1).body,
            managed: (0..DEPLOYMENTS).map(managed).collect(),
            tracks: Tracks::default(),
            generation: vec![0; DEPLOYMENTS],
            rollouts: 0,
            admissions: 0,
            scrapes: 0,
        }
    }

    fn window(&mut self, now: f64, window: usize) {
        self.tracks.begin();
        for index in 0..DEPLOYMENTS {
            self.scrape(index, now);
            let (application, advisor) = &mut self.managed[index];
            advisor.observe(&application.observe(now, WINDOW_SECONDS));
            application.follow(&advisor.decide(now));
        }
        self.tracks.forget_absent();
        if window.is_multiple_of(CHURN_WINDOWS) {
            let index = self.random.random_range(0..DEPLOYMENTS);
            self.roll_out(index);
        }
        cluster::update(&self.cluster, window % DEPLOYMENTS, window as u64);
    }

    fn scrape(&mut self, index: usize, now: f64) {
        let generation = self.generation[index];
        for pod in 0..PODS {
            let reading = envoy::read(EXPOSITION).expect("the exposition is well-formed");
            let unique = format!("service-{index}-{generation}-{pod}");
            let stamped = Stamped {
                at_seconds: now,
                reading,
            };
            let beginning = Beginning {
                created_at_seconds: now - 3600.0,
                ready_at_seconds: None,
            };
            let _ = self.tracks.window(&unique, stamped, WINDOW_SECONDS, beginning);
            self.scrapes += 1;
        }
    }

    /// New pods for a Deployment; one time in ten the Deployment itself is replaced by another.
    fn roll_out(&mut self, index: usize) {
        self.rollouts += 1;
        self.generation[index] += 1;
        if self.random.random_range(0..10) == 0 {
            let checkpoint = self.managed[index].1.checkpoint();
            let (application, mut advisor) = managed(index);
            // Half of them are the same application after a restart of the operator.
            if self.random.random_range(0..2) == 0 {
                let settings = Settings::default();
                advisor = Advisor::restore(&checkpoint, vec![application.objective()], Bounds::default(), settings)
                    .expect("what was written is read");
            }
            self.managed[index] = (application, advisor);
        }
        for _ in 0..PODS {
            let answer = self.admission.answer(Endpoint::Pods, &self.review).expect("an answer");
            std::hint::black_box(self.admission.record(Endpoint::Pods, answer, Instant::now()));
            self.admissions += 1;
        }
    }
}

fn managed(index: usize) -> (Application, Advisor) {
    let application = Application::new(index, PODS);
    let advisor = Advisor::new(vec![application.objective()], Bounds::default(), Settings::default());
    (application, advisor)
}
