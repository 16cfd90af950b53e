use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sample;

/// Status line with headers, and the body.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: page\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

async fn json(address: SocketAddr, path: &str) -> Value {
    let (head, body) = get(address, path).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test]
async fn the_overview_names_what_there_is() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    let (_, page) = get(address, "/").await;
    for text in [
        "slo-webapps",
        "p99 within 100 ms at 500/min",
        "p95 within 100 ms at every throughput",
        "overspent",
        "is not a duration",
        "matches no Deployment",
        "This replica recommends",
        "2026-03-01 12:00:00 UTC",
    ] {
        assert!(page.contains(text), "{text} is missing in {page}");
    }
}

#[tokio::test]
async fn every_view_has_a_twin_that_says_the_same() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    let all = json(address, "/json").await;
    assert_eq!(all["workloads"].as_array().unwrap().len(), 4);
    assert_eq!(all["leader"], true);
    let one = json(address, "/json/workloads/shop/todo").await;
    assert_eq!(one, all["workloads"][0]);
    assert_eq!(one["replicas"]["recommended"], 3);
    assert_eq!(one["containers"][0]["recommended"]["cpu_request_cores"], 0.25);
    assert_eq!(one["containers"][1]["name"], "envoy");
    assert_eq!(one["curves"][0]["points"].as_array().unwrap().len(), 60);
    let objective = json(address, "/json/objectives/shop/slo-webapps").await;
    assert_eq!(objective, all["objectives"][0]);
    assert_eq!(objective["deployments"][0]["objectives"][0]["verdict"], "Met");
}

#[tokio::test]
async fn the_cost_counts_replicas_and_memory() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    let cost = &json(address, "/json/workloads/shop/todo").await["cost"];
    // Five pods of 500m and 50m now, three of 250m and 50m with the recommendation.
    assert!((cost["current"]["cpu_cores"].as_f64().unwrap() - 2.75).abs() < 1e-9);
    assert!((cost["recommended"]["cpu_cores"].as_f64().unwrap() - 0.9).abs() < 1e-9);
    assert!(cost["change"].as_f64().unwrap() < -0.6);
    // 0.9 cores at 0.03 and 0.516 GiB at 0.004, for 730 hours.
    assert_eq!(cost["currency"], "EUR");
    assert!(
        (cost["recommended"]["per_month"].as_f64().unwrap() - 21.216).abs() < 0.01,
        "{cost}"
    );
    let (_, page) = get(address, "/workloads/shop/todo").await;
    assert!(page.contains("EUR 21.22 a month"), "{page}");
    // What has no recommendation costs what it costs.
    assert_eq!(
        json(address, "/json/workloads/shop/fortune").await["cost"]["change"],
        Value::Null
    );
}

#[tokio::test]
async fn the_chart_marks_what_the_recommendation_would_carry() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    // Six pods instead of five of the same size.
    let path = format!("/workloads/shop/{}", sample::LONG_NAME);
    let curve = json(address, &format!("/json{path}")).await["curves"][0].clone();
    let (now, then) = (
        &curve["safe_load_per_second"],
        &curve["recommended_safe_load_per_second"],
    );
    assert!(
        (then.as_f64().unwrap() / now.as_f64().unwrap() - 1.2).abs() < 1e-9,
        "{then}"
    );
    assert!(
        get(address, &path)
            .await
            .1
            .contains("safe with 6 replicas up to 742/min")
    );
    // Pods of another size: not known.
    let other = json(address, "/json/workloads/shop/todo").await;
    assert!(other["curves"][0]["recommended_safe_load_per_second"].is_null());
}

#[tokio::test]
async fn names_are_text_and_never_markup() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    let (head, page) = get(address, "/workloads/shop/%3Cb%3Eshop%3C%2Fb%3E").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(page.contains("&lt;b&gt;shop&lt;/b&gt;") && !page.contains("<b>shop"));
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"));
}

#[tokio::test]
async fn nothing_is_loaded_from_elsewhere() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    for path in [
        "/",
        "/workloads/shop/todo",
        "/objectives/shop/slo-webapps",
        "/style.css",
        "/icon.svg",
        "/none",
    ] {
        let (head, body) = get(address, path).await;
        let head = head.to_lowercase();
        assert!(
            head.contains("content-security-policy: default-src 'none'"),
            "{path}: {head}"
        );
        assert!(head.contains("cache-control: no-store"), "{path}: {head}");
        let addresses = body.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !addresses.contains("http://") && !addresses.contains("https://"),
            "{path} names another host"
        );
    }
}

#[tokio::test]
async fn the_page_is_read_only_and_says_what_is_not_there() {
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    for path in [
        "/workloads/shop/other",
        "/objectives/shop/other",
        "/json/workloads/a/b",
        "/json/objectives/a/b",
    ] {
        assert!(get(address, path).await.0.starts_with("HTTP/1.1 404"), "{path}");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: page\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn before_the_first_cycle_the_page_says_so() {
    let (address, _stop) = sample::serve(valence::report::status::Snapshot::default()).await;
    let (_, page) = get(address, "/").await;
    assert!(page.contains("No cycle has ended yet"));
    assert!(page.contains("There is no ServiceLevelObjective yet"));
}

#[tokio::test]
async fn a_replica_that_does_not_recommend_says_what_it_cannot_show() {
    const NOTICE: &str = "This replica does not measure";
    let mut follower = sample::snapshot();
    follower.leader = false;
    for workload in &mut follower.workloads {
        workload.current.clear();
        workload.curves.clear();
    }
    let (address, _stop) = sample::serve(follower).await;
    for path in ["/", "/workloads/shop/todo"] {
        let (_, page) = get(address, path).await;
        assert!(
            page.contains(NOTICE) && page.contains("valence-recommender"),
            "{path}: {page}"
        );
    }
    let (_, page) = get(address, "/workloads/shop/todo").await;
    assert!(
        !page.contains("0 cores") && page.contains("EUR 21.22 a month"),
        "{page}"
    );
    let (address, _stop) = sample::serve(sample::snapshot()).await;
    assert!(!get(address, "/").await.1.contains(NOTICE));
}
