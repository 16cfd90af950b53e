//! How many instructions the hot paths take, as valgrind's callgrind counts them: the same number in every run, whatever
//! else the machine does.
//!
//! This program runs itself under callgrind, which counts while [`piece_of_work`] runs and writes a file after each. Bounds
//! are of the profile that tests are built in, some third above what is counted, since processors differ in the variants of
//! library functions that run on them: whoever exceeds one has made a hot path dearer; whoever falls well below lowers it.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use valence::core::decision::Bounds;
use valence::core::{Advisor, Settings};
use valence::scrape::exposition::{Filter, Limits, parse};
use valence_playground::tools;
use valence_webhook::{Admission, Endpoint, Metrics, Settings as AdmissionSettings, notices};

use super::{EXPOSITION, cluster, observations, reviews};

const NAME: &str = "instructions::hot_paths_take_few_instructions";

/// Set where this program runs itself.
const COUNTED: &str = "VALENCE_COUNTED";

/// Each piece of work in its order, and most instructions that it may take.
const BOUNDS: [(&str, u64); 8] = [
    ("exposition of a sidecar, parsed", 1_450_000),
    ("review of 3 KB like one before", 105_000),
    ("the first of a ReplicaSet, 3 KB", 340_000),
    ("review of 10 KB like one before", 145_000),
    ("the first of a ReplicaSet, 10 KB", 420_000),
    ("review of 40 KB like one before", 310_000),
    ("the first of a ReplicaSet, 40 KB", 740_000),
    ("one decision", 10_300_000),
];

#[test]
fn hot_paths_take_few_instructions() {
    if std::env::var_os(COUNTED).is_some() {
        return hot_paths();
    }
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return tools::skipped(NAME, "x86_64", "other processors take other instructions");
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        return tools::skipped(NAME, "valgrind", "there is no valgrind on PATH");
    }
    let counted = counts();
    assert_eq!(counted.len(), BOUNDS.len(), "callgrind counted {counted:?}");
    for ((what, most), counted) in BOUNDS.into_iter().zip(&counted) {
        println!("{what}: {counted} instructions");
        assert!(
            *counted > most / 10,
            "{what}: {counted} instructions are too few to be all"
        );
    }
    for ((what, most), counted) in BOUNDS.into_iter().zip(counted) {
        assert!(counted <= most, "{what}: {counted} instructions, at most {most}");
    }
}

fn counted<T>(work: impl FnOnce() -> T) {
    // Where a large piece is freed, the allocator tidies up what was left to it before; or else some work that is counted
    // has to.
    drop(black_box(vec![0_u8; 100_000]));
    drop(piece_of_work(work));
    piece_is_done();
}

/// What callgrind counts.
#[inline(never)]
fn piece_of_work<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

/// Where it writes down what it has counted.
#[inline(never)]
fn piece_is_done() {
    black_box(());
}

fn hot_paths() {
    let filter = Filter::families(&["envoy_cluster_upstream_rq_time"]).and_prefixes(&["envoy_http_"]);
    let exposition = || {
        let mut sum = 0.0;
        parse(EXPOSITION, &filter, &Limits::default(), |sample| sum += sample.value).unwrap();
        sum
    };
    // What is found out once about the processor is no part of it.
    exposition();
    counted(exposition);
    reviewed();
    let mut application = observations::Application::new(1, 10);
    let mut advisor = Advisor::new(vec![application.objective()], Bounds::default(), Settings::default());
    let mut now = 1_800_000_000.0;
    for _ in 0..100 {
        now += 15.0;
        advisor.observe(&application.observe(now, 15.0));
        application.follow(&advisor.decide(now));
    }
    now += 15.0;
    advisor.observe(&application.observe(now, 15.0));
    counted(|| advisor.decide(now));
}

fn reviewed() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let plans = cluster::filled(100);
    let admission = Admission::new(plans, AdmissionSettings::default(), metrics, Arc::new(notices::Silent));
    for (number, review) in reviews::all().iter().enumerate() {
        for _ in 0..3 {
            admission.answer(Endpoint::Pods, &review.body).unwrap();
        }
        let like = review.again(1);
        counted(|| admission.answer(Endpoint::Pods, &like).unwrap());
        let other = &reviews::of(7 + number)[number];
        counted(|| admission.answer(Endpoint::Pods, &other.body).unwrap());
    }
}

/// The number of instructions of each piece of work.
fn counts() -> Vec<u64> {
    let folder = std::env::temp_dir().join(format!("valence-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let run = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--toggle-collect=*piece_of_work*",
            "--dump-before=*piece_is_done*",
        ])
        .arg(format!("--callgrind-out-file={}", folder.join("counted").display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", NAME])
        .env(COUNTED, "1")
        // Of a long copy by one instruction callgrind counts each byte, and whether it is one differs by processor.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1000000000")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let counts = (1..=BOUNDS.len()).filter_map(|number| total(&folder.join(format!("counted.{number}"))));
    let counts = counts.collect();
    std::fs::remove_dir_all(&folder).unwrap();
    let told = [run.stdout, run.stderr].map(|told| String::from_utf8_lossy(&told).into_owned());
    assert!(run.status.success(), "{}", told.concat());
    counts
}

/// What a file of callgrind says was counted.
fn total(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}
