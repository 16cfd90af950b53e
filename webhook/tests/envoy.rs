//! The real Envoy, run with the bootstrap that admission injects.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::envoy::{Running, binary};
use support::upstream;
use valence_webhook::envoy;

/// Requests of every kind go through Envoy, and the exposition says so under the names that the scraper reads.
#[tokio::test]
async fn exposition_has_the_names_of_the_contract() {
    let Some(binary) = binary("exposition_has_the_names_of_the_contract") else {
        return;
    };
    let address = &*Box::leak(support::address(1).into_boxed_str());
    let port = upstream::serve(address).await;
    let running = Running::start(&binary, address, port, &[0.1, 0.25]).await;
    for path in ["/", "/a//b%2Fc", "/missing", "/broken"] {
        for _ in 0..25 {
            upstream::get(address, path).await;
        }
    }
    for status in [0, 0, 0, 5, 13, 14] {
        upstream::grpc(address, status).await;
    }
    let counted = format!("{}_count", envoy::REQUEST_TIME);
    let exposition = support::until("all requests in the exposition", async || {
        let exposition = upstream::scrape(address).await;
        (support::value(&exposition, &counted, "") == Some(106.0)).then_some(exposition)
    })
    .await;
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

/// Rewrites the sample that other tests parse, when asked to.
fn keep_sample(exposition: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/envoy.prometheus");
        std::fs::write(path, exposition).unwrap();
    }
}

/// What the application sees, and what the client gets back, is what they would without Envoy.
#[tokio::test]
async fn requests_pass_as_they_came() {
    let Some(binary) = binary("requests_pass_as_they_came") else {
        return;
    };
    let address = &*Box::leak(support::address(2).into_boxed_str());
    let port = upstream::serve(address).await;
    let _running = Running::start(&binary, address, port, &[0.1, 0.25]).await;
    let request = "GET //a/../b%2Fc?q=%20 HTTP/1.1\r\nHost: shop.example\r\nX-MiXed: 1\r\nx_under: 2\r\nX-Request-Id: mine\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n";
    let answer = upstream::raw(address, 8081, request).await;
    assert!(answer.contains("HTTP/1.1 //a/../b%2Fc?q=%20"), "{answer}");
    assert!(answer.contains("\"x-request-id\": \"mine\""), "{answer}");
    assert!(answer.contains("\"x-forwarded-for\": \"203.0.113.9\""), "{answer}");
    assert!(answer.contains("\"x_under\": \"2\""), "{answer}");
    assert!(!answer.contains("x-envoy"), "{answer}");
    assert!(!answer.contains("server: envoy"), "{answer}");
    assert!(
        answer.contains("X-From-Application: yes"),
        "the case of header names is kept: {answer}"
    );
    let old = upstream::raw(address, 8081, "GET /old HTTP/1.0\r\n\r\n").await;
    assert!(old.contains("200 OK"), "{old}");
    let upgrade = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let switched = upstream::raw_until(address, 8081, upgrade, "\r\n\r\n").await;
    assert!(switched.starts_with("HTTP/1.1 101"), "{switched}");
}

/// 8181 serves the statistics and nothing else of the administration interface, which has no address of its own.
#[tokio::test]
async fn nothing_of_the_administration_is_reachable() {
    let Some(binary) = binary("nothing_of_the_administration_is_reachable") else {
        return;
    };
    let address = &*Box::leak(support::address(3).into_boxed_str());
    let port = upstream::serve(address).await;
    let _running = Running::start(&binary, address, port, &[0.1, 0.25]).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/stats"),
        ("GET", "/config_dump"),
        ("GET", "/stats/prometheus/../../config_dump"),
        ("GET", "//stats/prometheus"),
        ("POST", "/stats/prometheus"),
        ("POST", "/quitquitquit"),
        ("POST", "/drain_listeners"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let answer = upstream::raw(address, 8181, &request).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{method} {path}: {answer}");
    }
}

/// Runs the hook with arguments of its own.
fn stop_hook(address: &str, port: u16, arguments: [&str; 3]) -> tokio::process::Child {
    let sidecar = support::sidecar(port, &[]);
    let hook = &sidecar["lifecycle"]["preStop"]["exec"]["command"];
    let hook: Vec<String> = serde_json::from_value(hook.clone()).unwrap();
    assert_eq!(hook.last(), Some(&port.to_string()));
    let socket = format!("{}{address}", envoy::ADMIN_SOCKET_PREFIX);
    let mut command = tokio::process::Command::new(&hook[0]);
    command
        .args(&hook[1..3])
        .args(arguments)
        .env("ADMIN_SOCKET", socket)
        .env("POD_IP", address);
    command.spawn().unwrap()
}

/// An application that no longer listens takes Envoy along, once what is in progress is answered: connections that are
/// idle are closed then, instead of taking requests that nobody can answer.
#[tokio::test]
async fn envoy_ends_with_the_application() {
    let Some(binary) = binary("envoy_ends_with_the_application") else {
        return;
    };
    let address = &*Box::leak(support::address(5).into_boxed_str());
    let (port, listening) = upstream::serve_until_aborted(address).await;
    let mut running = Running::start(&binary, address, port, &[0.1]).await;
    let mut idle = tokio::net::TcpStream::connect((address, 8081)).await.unwrap();
    let long = tokio::spawn(upstream::get(address, "/slow"));
    upstream::GATES[1].arrived.notified().await;
    let mut draining = stop_hook(address, port, ["0", "600", &port.to_string()]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(draining.try_wait().unwrap(), None, "the application listens");
    listening.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(draining.try_wait().unwrap(), None, "a request is in progress");
    assert!(!running.has_ended());
    upstream::GATES[1].open.notify_one();
    assert!(long.await.unwrap().contains("/slow"));
    assert!(draining.wait().await.unwrap().success());
    running.ended().await;
    let read = tokio::io::AsyncReadExt::read(&mut idle, &mut [0; 1]).await.unwrap();
    assert_eq!(read, 0, "the idle connection is closed, not answered");
}

/// The hook that stops the sidecar: clients are told to leave with each answer, nobody is turned away, and a sidecar
/// among the containers stays for requests in progress.
#[tokio::test]
async fn draining_loses_nothing() {
    let Some(binary) = binary("draining_loses_nothing") else {
        return;
    };
    let address = &*Box::leak(support::address(4).into_boxed_str());
    let port = upstream::serve(address).await;
    let _running = Running::start(&binary, address, port, &[0.1, 0.25]).await;
    let before = upstream::raw_until(address, 8081, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n").await;
    assert!(!before.to_lowercase().contains("connection: close"), "{before}");
    let long = tokio::spawn(upstream::get(address, "/gate"));
    upstream::GATES[0].arrived.notified().await;
    // Nothing listens on that port: that is how it looks when the application was told to stop before.
    let mut draining = stop_hook(address, port, ["1", "600", "1"]);
    support::until("an answer that tells the client to leave", async || {
        let during = upstream::raw_until(address, 8081, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n").await;
        assert!(during.starts_with("HTTP/1.1 200"), "{during}");
        during.to_lowercase().contains("connection: close").then_some(())
    })
    .await;
    // Long enough for the hook to look a few times whether anything is in progress.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(draining.try_wait().unwrap(), None, "a request is in progress");
    upstream::GATES[0].open.notify_one();
    assert!(draining.wait().await.unwrap().success());
    assert!(long.await.unwrap().contains("/gate"));
}
