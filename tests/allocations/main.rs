//! How much the hot paths allocate. A count, unlike a time, is the same on every machine, so that it can be held.
//!
//! The bounds are a little above what is counted today. Whoever exceeds one has made a hot path dearer; whoever falls
//! well below lowers it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../../benches/admission/cluster.rs"]
#[expect(dead_code, reason = "made for a benchmark")]
mod cluster;
#[path = "../../benches/cycle/observations.rs"]
mod observations;
#[path = "../../benches/admission/reviews.rs"]
mod reviews;

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use valence::core::decision::Bounds;
use valence::core::{Advisor, Settings};
use valence::scrape::exposition::{Filter, Limits, parse};
use valence_webhook::{Admission, Endpoint, Metrics, Settings as AdmissionSettings, notices};

const EXPOSITION: &[u8] = include_bytes!("../../webhook/tests/data/envoy.prometheus");

fn at_most(what: &str, counted: &AllocationInfo, allocations: u64, bytes: u64) {
    println!(
        "{what}: {} allocations, {} bytes",
        counted.count_total, counted.bytes_total
    );
    assert!(
        counted.count_total <= allocations,
        "{what}: {} allocations, at most {allocations}",
        counted.count_total
    );
    assert!(
        counted.bytes_total <= bytes,
        "{what}: {} bytes, at most {bytes}",
        counted.bytes_total
    );
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(vec![1_u8; 100]))).count_total, 1);
}

#[test]
fn an_exposition_is_parsed_without_allocating() {
    let filter = Filter::families(&["envoy_cluster_upstream_rq_time"]).and_prefixes(&["envoy_http_"]);
    let mut sum = 0.0;
    let mut samples = 0;
    let counted = measure(|| {
        let summary = parse(EXPOSITION, &filter, &Limits::default(), |sample| {
            sum += sample.value + sample.labels.raw("le").map_or(0.0, |bound| bound.len() as f64);
        });
        samples = summary.unwrap().samples;
    });
    assert!(samples > 50 && sum > 0.0, "{samples} samples were read");
    at_most("exposition", &counted, 0, 0);
}

#[test]
fn a_review_is_answered_with_few_allocations() {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let plans = cluster::filled(100);
    let admission = Admission::new(plans, AdmissionSettings::default(), metrics, Arc::new(notices::Silent));
    for (review, (allocations, bytes)) in reviews::all().iter().zip([(100, 27_000), (106, 28_500), (122, 35_500)]) {
        // What is made once for all pods of a kind is not part of a review's cost.
        drop(admission.answer(Endpoint::Pods, &review.body).unwrap());
        let mut changed = false;
        let counted = measure(|| {
            let answer = admission.answer(Endpoint::Pods, &review.body).unwrap();
            changed = answer.body.windows(9).any(|window| window == b"JSONPatch");
        });
        assert!(changed, "the pod of {} is changed", review.name);
        at_most(&format!("review of {}", review.name), &counted, allocations, bytes);
    }
}

#[test]
fn a_decision_allocates_little() {
    let mut application = observations::Application::new(1, 10);
    let mut advisor = Advisor::new(vec![application.objective()], Bounds::default(), Settings::default());
    let mut now = 1_800_000_000.0;
    for _ in 0..240 {
        now += 15.0;
        advisor.observe(&application.observe(now, 15.0));
        application.follow(&advisor.decide(now));
    }
    now += 15.0;
    let observation = application.observe(now, 15.0);
    let observed = measure(|| advisor.observe(&observation));
    at_most("observe", &observed, 40, 10_000);
    let decided = measure(|| drop(advisor.decide(now)));
    at_most("decide", &decided, 150, 90_000);
}
