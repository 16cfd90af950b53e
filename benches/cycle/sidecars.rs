//! Ten thousand sidecars: what they expose over real sockets, from a thread of its own.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::process;

/// What a sidecar with our bootstrap exposes.
const EXPOSITION: &str = include_str!("../../webhook/tests/data/envoy.prometheus");
/// Loopback addresses that stand for the pods'.
const ADDRESSES: u8 = 200;
/// Rounds in which the counters grow.
const GROWING: u64 = 40;

/// The address of a pod.
pub fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 211, 77, (index % usize::from(ADDRESSES)) as u8 + 1)
}

/// Serves expositions on every address; their counters grow once in every `interval`.
pub fn serve(interval: Duration) {
    let expositions: Arc<[Bytes]> = (1..=GROWING).map(grown).collect();
    process::on_its_own_thread(async move |ready| {
        let begun = Instant::now();
        for index in 0..usize::from(ADDRESSES) {
            let listener = TcpListener::bind((address(index), 8181))
                .await
                .expect("a loopback address");
            tokio::spawn(accept(listener, expositions.clone(), begun, interval));
        }
        ready(());
        std::future::pending::<()>().await;
    });
}

async fn accept(listener: TcpListener, expositions: Arc<[Bytes]>, begun: Instant, interval: Duration) {
    while let Ok((stream, _)) = listener.accept().await {
        let expositions = expositions.clone();
        let answer = hyper::service::service_fn(move |_| {
            let turn = (begun.elapsed().as_secs_f64() / interval.as_secs_f64()) as usize;
            let exposition = expositions
                .get(turn)
                .or(expositions.last())
                .cloned()
                .unwrap_or_default();
            async { Ok::<_, Infallible>(Response::new(Full::new(exposition))) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// The exposition with every counter so many times as large.
fn grown(times: u64) -> Bytes {
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((series, value)) if !line.starts_with('#') => match value.parse::<u64>() {
            Ok(value) => format!("{series} {}\n", value * times),
            Err(_) => format!("{line}\n"),
        },
        _ => format!("{line}\n"),
    };
    EXPOSITION.lines().map(line).collect::<String>().into()
}
