//! An exposition: read like the slow reference reads it, and by the scrape without a panic.

use valence::scrape::envoy;
use valence::scrape::exposition::{Filter, Limits, parse};

#[path = "../../exposition/reference.rs"]
mod reference;

const FAMILIES: &[&str] = &["requests", "envoy_cluster_upstream_rq_time"];
const PREFIXES: &[&str] = &["grpc_", "envoy_cluster_grpc_"];

/// Reads it three times.
pub fn run(bytes: &[u8]) {
    let _ = envoy::read(bytes);
    let filter = Filter::families(FAMILIES).and_prefixes(PREFIXES);
    let mut ours = Vec::new();
    let limits = Limits {
        line_bytes: usize::MAX,
        samples: usize::MAX,
    };
    let read = parse(bytes, &filter, &limits, |sample| {
        let labels = sample
            .labels
            .iter()
            .map(|label| (label.name.to_owned(), label.value().into_owned()))
            .collect();
        let name = sample.name.to_owned();
        ours.push(reference::OwnedSample {
            name,
            labels,
            value: sample.value,
            timestamp: sample.timestamp,
        });
    });
    let ours = read.map(|_| ours).map_err(|error| error.line);
    assert_eq!(
        format!("{ours:?}"),
        format!("{:?}", reference::parse(bytes, FAMILIES, PREFIXES))
    );
}
