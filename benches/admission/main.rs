//! Admission over real HTTPS beside an empty handler that returns a fixed review, in turns within one run.
//!
//! Each server has threads of its own; its CPU time per review is what admission costs, whatever the machine does. The
//! contestant is what anybody would write: an axum router over tokio-rustls and hyper-util. A second one is the same
//! router behind the bounds that admission is served with, which tells what of the difference those are.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod cluster;
mod load;
mod outcome;
mod reviews;
mod server;
mod updates;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use load::{Callers, Protocol};
use outcome::Outcome;
use reviews::Review;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use server::{Server, Threads};
use updates::Writer;
use valence::cache::Cluster;
use valence_webhook::{Admission, Endpoint, Metrics, Settings, notices};

/// Turns of each contestant, and their length. `BENCH_TURNS` overrides the first.
const TURNS: usize = 15;
const TURN: Duration = Duration::from_millis(150);

/// Pods of a ReplicaSet that are asked about in turn.
const PODS: usize = 64;

/// The Deployment that rolls out is the one whose pods are reviewed.
const REVIEWED: usize = 42;

/// Notices that wait, as in the operator.
const NOTICES: usize = 1024;

/// A row of the table.
struct Row<'r> {
    cluster: &'r Arc<Cluster>,
    name: &'static str,
    bodies: Vec<Vec<u8>>,
    protocol: Protocol,
    callers: usize,
    threads: Threads,
    /// Whether the second contestant takes part.
    bounded: bool,
    note: &'r str,
}

impl<'r> Row<'r> {
    /// Pods of one ReplicaSet.
    fn alike(cluster: &'r Arc<Cluster>, review: &Review, protocol: Protocol, callers: usize, note: &'r str) -> Self {
        Self {
            cluster,
            name: review.name,
            bodies: (0..PODS).map(|number| review.again(number)).collect(),
            protocol,
            callers,
            threads: Threads::One,
            bounded: false,
            note,
        }
    }
}

struct Bench {
    server_tls: Arc<ServerConfig>,
    client_tls: ClientConfig,
}

fn main() {
    valence_certs::install_crypto_provider();
    let (server_tls, client_tls) = tls();
    let bench = Bench { server_tls, client_tls };
    println!(
        "{:<24} {:>2} {:>22} {:>22} {:>24} {:>20} {:>20} {:>5}",
        "admission / plain axum", "", "p50 µs", "p99 µs", "reviews/s", "server CPU µs", "/ bounded axum", "load"
    );
    let small = cluster::filled(100);
    let callers = [(Protocol::Http1, 1), (Protocol::Http1, 8), (Protocol::Http2, 8)];
    for review in reviews::all() {
        for (protocol, callers) in callers {
            let row = Row::alike(&small, &review, protocol, callers, "");
            bench.compare(&Row { bounded: true, ..row });
        }
    }
    for review in reviews::all() {
        let note = ", threads and notices as in the operator";
        let row = Row::alike(&small, &review, Protocol::Http2, 8, note);
        bench.compare(&Row {
            threads: Threads::AsTheOperator,
            ..row
        });
    }
    bench.busy();
}

impl Bench {
    /// Ten thousand plans, and writers at work.
    fn busy(&self) {
        let large = cluster::filled(10_000);
        for review in reviews::all() {
            let writers = [Writer::of_plans(&large), Writer::of_rollout(&large, REVIEWED)];
            let note = ", 10,000 plans, 500 updates/s, and the Deployment rolls out";
            self.compare(&Row::alike(&large, &review, Protocol::Http2, 8, note));
            drop(writers);
        }
        let _writer = Writer::of_plans(&large);
        for size in 0..reviews::all().len() {
            let mut distinct: Vec<_> = (0..1000).map(|index| reviews::of(index).swap_remove(size)).collect();
            let bodies = || distinct.iter().map(|review| review.body.clone()).collect();
            let rows =
                [(Protocol::Http1, 1), (Protocol::Http2, 8)].map(|(protocol, callers)| (protocol, callers, bodies()));
            let name = distinct.swap_remove(0).name;
            for (protocol, callers, bodies) in rows {
                self.compare(&Row {
                    cluster: &large,
                    name,
                    bodies,
                    protocol,
                    callers,
                    threads: Threads::One,
                    bounded: false,
                    note: ", 10,000 plans, 500 updates/s, 1,000 Deployments in turn",
                });
            }
        }
    }

    fn compare(&self, row: &Row<'_>) {
        let Some(first) = row.bodies.first() else { return };
        let admission = Arc::new(admission(row));
        let answer = admission.answer(Endpoint::Pods, first).expect("an answer").body;
        assert!(answer.len() > 10_000, "this bench is of pods that get a sidecar");
        let tls = || Arc::clone(&self.server_tls);
        let mut servers = vec![
            Server::admission(row.threads, tls(), admission),
            Server::plain(row.threads, tls(), answer.clone()),
        ];
        if row.bounded {
            servers.push(Server::bounded(row.threads, tls(), answer));
        }
        let bodies: Arc<[Bytes]> = row.bodies.iter().map(|body| body.clone().into()).collect();
        print(row, first.len(), &self.turns(&servers, &bodies, row));
    }

    fn turns(&self, servers: &[Server], bodies: &Arc<[Bytes]>, row: &Row<'_>) -> Vec<Outcome> {
        let connect =
            |server: &Server| Callers::connect(row.protocol, row.callers, server.address, &self.client_tls, bodies);
        let mut callers: Vec<_> = servers.iter().map(connect).collect();
        callers.iter_mut().for_each(|callers| drop(callers.run(TURN * 2))); // warm-up
        let mut outcomes: Vec<Outcome> = servers.iter().map(|_| Outcome::default()).collect();
        for turn in 0..turns() {
            // Nobody is always the first.
            for place in 0..servers.len() {
                let one = (place + turn) % servers.len();
                let before = servers[one].cpu_time();
                let times = callers[one].run(TURN);
                outcomes[one].turn(&times, TURN, servers[one].cpu_time().saturating_sub(before));
            }
        }
        outcomes
    }
}

/// Admission as the operator has it, its notices taken by somebody where its threads are.
fn admission(row: &Row<'_>) -> Admission {
    let plans: Arc<dyn valence_webhook::Plans> = row.cluster.clone();
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
    match row.threads {
        Threads::One => Admission::new(plans, Settings::default(), metrics, Arc::new(notices::Silent)),
        Threads::AsTheOperator => {
            let (notices, mut told) = notices::channel(NOTICES);
            std::thread::spawn(move || while told.blocking_recv().is_some() {});
            Admission::new(plans, Settings::default(), metrics, Arc::new(notices))
        }
    }
}

fn print(row: &Row<'_>, bytes: usize, outcomes: &[Outcome]) {
    let [ours, plain, others @ ..] = outcomes else { return };
    let pair = |of: fn(&Outcome) -> f64| {
        let (ours, plain) = (of(ours), of(plain));
        format!("{ours:>7.0} / {plain:>5.0} {:>5.2}x", ours / plain)
    };
    let bounded = others.first().map(|bounded| {
        let ratio = |of: fn(&Outcome) -> f64| of(ours) / of(bounded);
        format!(
            "{:.2}x {:.2}x {:.2}x",
            ratio(Outcome::p99),
            ratio(Outcome::per_second),
            ratio(Outcome::cpu)
        )
    });
    println!(
        "{:<24} {:>2} {:>22} {:>22} {:>24} {:>20} {:>20} {:>5}{}",
        format!("{} ({bytes} B) {:?}", row.name, row.protocol),
        row.callers,
        pair(Outcome::p50),
        pair(Outcome::p99),
        pair(Outcome::per_second),
        pair(Outcome::cpu),
        bounded.unwrap_or_default(),
        load_average(),
        row.note,
    );
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
