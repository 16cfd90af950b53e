//! The real Envoy, run with the bootstrap that admission injects.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::envoy::{Running, binary};
use support::upstream;
use valence_webhook::envoy::{self, Proxy};

/// Requests of every kind go through Envoy, and the exposition says so under the names that the scraper reads.
#[tokio::test]
async fn exposition_has_the_names_of_the_contract() {
    let Some(binary) = binary("exposition_has_the_names_of_the_contract") else {
        return;
    };
    let address = "127.77.1.1";
    let port = upstream::serve(address).await;
    let running = Running::start(&binary, address, &proxy(port)).await;
    for path in ["/", "/a//b%2Fc", "/missing", "/broken"] {
        for _ in 0..25 {
            upstream::get(address, path).await;
        }
    }
    for status in [0, 0, 0, 5, 13, 14] {
        upstream::grpc(address, status).await;
    }
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let exposition = upstream::scrape(address).await;
    keep_sample(&exposition);
    let value = |name: &str, label: &str| support::value(&exposition, name, label);
    assert_eq!(value(envoy::REQUESTS, ""), Some(106.0), "{exposition}");
    assert_eq!(value(envoy::COMPLETED_BY_CLASS, "=\"5\""), Some(25.0));
    assert_eq!(value(envoy::COMPLETED_BY_CLASS, "=\"4\""), Some(25.0));
    assert_eq!(value(&format!("{}_count", envoy::REQUEST_TIME), ""), Some(106.0));
    assert_eq!(
        value(&format!("{}_bucket", envoy::REQUEST_TIME), "le=\"+Inf\""),
        Some(106.0)
    );
    assert!(value(&format!("{}_bucket", envoy::REQUEST_TIME), "le=\"250\"").is_some());
    assert_eq!(value(envoy::GRPC_SUCCESS, ""), Some(3.0));
    assert_eq!(value(envoy::GRPC_FAILURE, ""), Some(3.0));
    assert_eq!(value(&format!("{}13", envoy::GRPC_BY_STATUS_PREFIX), ""), Some(1.0));
    assert!(value(envoy::UPTIME_SECONDS, "").is_some());
    drop(running);
}

fn proxy(application_port: u16) -> Proxy {
    Proxy {
        application_port,
        objectives_seconds: vec![0.1, 0.25],
        all_families: false,
    }
}

/// Rewrites the sample that other tests parse, when asked to.
fn keep_sample(exposition: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/envoy.prometheus");
        std::fs::write(path, exposition).unwrap();
    }
}
