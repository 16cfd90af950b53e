//! Admission over real HTTPS beside an empty handler that returns a fixed review, in turns within one run.
//!
//! Each server has a thread of its own; its CPU time per review is what admission costs, whatever the machine does.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod cluster;
mod load;
mod reviews;
mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use load::{Caller, Protocol};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use server::Server;
use valence::cache::Cluster;
use valence_webhook::{Admission, Endpoint, Metrics, Settings, notices};

/// Turns of each contestant, and their length. `BENCH_TURNS` overrides the first.
const TURNS: usize = 12;
const TURN: Duration = Duration::from_millis(250);

/// Pods of a ReplicaSet that are asked about in turn.
const PODS: usize = 64;

/// What came of one contestant's turns.
#[derive(Default)]
struct Outcome {
    times: Vec<Duration>,
    cpu: Duration,
}

impl Outcome {
    fn percentile_microseconds(&mut self, percentile: f64) -> f64 {
        self.times.sort_unstable();
        let index = ((self.times.len() as f64 * percentile) as usize).min(self.times.len().saturating_sub(1));
        self.times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }

    fn per_second(&self, length: Duration) -> f64 {
        self.times.len() as f64 / length.as_secs_f64()
    }

    fn cpu_microseconds(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.times.len() as f64
    }
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    server_tls: Arc<ServerConfig>,
    client_tls: ClientConfig,
}

fn main() {
    valence_certs::install_crypto_provider();
    let (server_tls, client_tls) = tls();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let bench = Bench {
        runtime,
        server_tls,
        client_tls,
    };
    println!(
        "{:<34} {:>8} {:>24} {:>24} {:>24} {:>24} {:>5}",
        "admission / empty handler", "callers", "p50 µs", "p99 µs", "reviews/s", "server CPU µs", "load"
    );
    let small = cluster::filled(100);
    for review in reviews::all() {
        for (protocol, callers) in [(Protocol::Http1, 1), (Protocol::Http1, 8), (Protocol::Http2, 8)] {
            bench.compare(&small, std::slice::from_ref(&review), protocol, callers, "");
        }
    }
    let large = cluster::filled(10_000);
    let (stop, writer) = updates(&large);
    for review in reviews::all() {
        bench.compare(&large, &[review], Protocol::Http2, 8, ", 10,000 plans, 500 updates/s");
    }
    for size in 0..reviews::all().len() {
        let distinct: Vec<_> = (0..1000)
            .map(|deployment| reviews::of(deployment).swap_remove(size))
            .collect();
        for (protocol, callers) in [(Protocol::Http1, 1), (Protocol::Http2, 8)] {
            bench.compare(
                &large,
                &distinct,
                protocol,
                callers,
                ", the same, of 1,000 Deployments in turn",
            );
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
}

impl Bench {
    fn compare(
        &self,
        cluster: &Arc<Cluster>,
        reviews: &[reviews::Review],
        protocol: Protocol,
        callers: usize,
        note: &str,
    ) {
        let plans: Arc<dyn valence_webhook::Plans> = cluster.clone();
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
        let admission = Arc::new(Admission::new(
            plans,
            Settings::default(),
            metrics,
            Arc::new(notices::Silent),
        ));
        let Some(first) = reviews.first() else { return };
        let answer = admission.answer(Endpoint::Pods, &first.body).expect("an answer").body;
        assert!(answer.len() > 10_000, "this bench is of pods that get a sidecar");
        let ours = Server::admission(self.server_tls.clone(), admission);
        let empty = Server::empty(self.server_tls.clone(), answer);
        let bodies: Arc<[Bytes]> = match reviews {
            [one] => (0..PODS).map(|number| one.again(number).into()).collect(),
            several => several.iter().map(|review| review.body.clone().into()).collect(),
        };
        let [mut ours, mut empty] = self
            .runtime
            .block_on(self.turns([&ours, &empty], &bodies, protocol, callers));
        let length = TURN * u32::try_from(turns()).unwrap_or(1);
        let pair = |ours: f64, empty: f64| format!("{ours:>8.0} / {empty:>6.0} {:>5.2}x", ours / empty);
        println!(
            "{:<34} {callers:>8} {:>24} {:>24} {:>24} {:>24} {:>5}{note}",
            format!("{} ({} B) {protocol:?}", first.name, first.body.len()),
            pair(ours.percentile_microseconds(0.5), empty.percentile_microseconds(0.5)),
            pair(ours.percentile_microseconds(0.99), empty.percentile_microseconds(0.99)),
            pair(ours.per_second(length), empty.per_second(length)),
            pair(ours.cpu_microseconds(), empty.cpu_microseconds()),
            load_average(),
        );
    }

    async fn turns(
        &self,
        servers: [&Server; 2],
        bodies: &Arc<[Bytes]>,
        protocol: Protocol,
        callers: usize,
    ) -> [Outcome; 2] {
        let mut connected: Vec<Vec<Caller>> = Vec::new();
        for server in servers {
            let mut fresh = load::connect(protocol, callers, server.address, &self.client_tls).await;
            load::run(&mut fresh, bodies, TURN).await; // warm-up
            connected.push(fresh);
        }
        let mut outcomes = [Outcome::default(), Outcome::default()];
        for _ in 0..turns() {
            for ((server, callers), outcome) in servers.iter().zip(&mut connected).zip(&mut outcomes) {
                let before = server.cpu_time();
                outcome.times.extend(load::run(callers, bodies, TURN).await);
                outcome.cpu += server.cpu_time().saturating_sub(before);
            }
        }
        outcomes
    }
}

/// The load of the machine over the last minute: above the number of its cores, a p99 is the wait for one.
fn load_average() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or_default().to_owned()
}

fn turns() -> usize {
    std::env::var("BENCH_TURNS")
        .ok()
        .and_then(|turns| turns.parse().ok())
        .unwrap_or(TURNS)
}

/// Writes 500 Recommendations a second until told to stop: a decision of 10,000 Deployments in 20 s.
fn updates(cluster: &Arc<Cluster>) -> (Arc<AtomicBool>, std::thread::JoinHandle<()>) {
    let (cluster, stop) = (cluster.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let writer = std::thread::spawn(move || {
        for turn in 0_u64.. {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            (0..5).for_each(|index| cluster::update(&cluster, (turn as usize * 5 + index) % 10_000, turn));
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    (stop, writer)
}

fn tls() -> (Arc<ServerConfig>, ClientConfig) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate: CertificateDer<'static> = issued.cert.der().clone();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).expect("a key");
    let mut server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a server configuration");
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("a root");
    (
        Arc::new(server),
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}
