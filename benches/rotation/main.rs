//! Certificates that rotate under admissions: three replicas, 500 reviews a second, each over a connection of its own that
//! trusts what the webhook configuration says at that moment, and ten new CAs with their leaves meanwhile. None may fail.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[path = "../admission/cluster.rs"]
#[expect(dead_code, reason = "made for another benchmark")]
mod cluster;
#[path = "../admission/reviews.rs"]
#[expect(dead_code, reason = "made for another benchmark")]
mod reviews;
#[path = "../../certs/tests/certificates/support/mod.rs"]
#[allow(dead_code, reason = "made for tests")]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use support::handshake::NAME;
use support::{Api, CONFIGURATION, NAMESPACE, SECRET};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use valence_certs::{Certificates, Managed, Options, Source, keys};
use valence_webhook::{Admission, Endpoint, Metrics, Settings, notices};

const REPLICAS: usize = 3;
const PER_SECOND: u32 = 500;
const ROTATIONS: usize = 10;

/// What became of the reviews: how long each took, and why some failed.
#[derive(Default)]
struct Outcomes {
    times: Mutex<Vec<Duration>>,
    failures: Mutex<Vec<String>>,
}

fn main() {
    valence_certs::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run());
}

async fn run() {
    let (api, stop) = (Api::new(), CancellationToken::new());
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(replica(&api, &stop).await);
    }
    let outcomes = Arc::new(Outcomes::default());
    let traffic = tokio::spawn(traffic(api.clone(), replicas, Arc::clone(&outcomes), stop.clone()));
    let begun = Instant::now();
    for _ in 0..ROTATIONS {
        rotate(&api).await;
    }
    let took = begun.elapsed();
    stop.cancel();
    traffic.await.expect("the callers end");
    report(&outcomes, took);
}

/// A replica as the operator runs it, its pauses in a rotation shortened to seconds.
async fn replica(api: &Api, stop: &CancellationToken) -> SocketAddr {
    let mut managed = Managed::for_service(NAMESPACE, "valence-webhook", SECRET, CONFIGURATION);
    managed.lifetimes.settle = Duration::from_secs(2);
    managed.lifetimes.retire = Duration::from_secs(3);
    let options = Options::new(Source::Managed(managed));
    let certificates = Certificates::start(api.client(), options, stop.clone()).expect("certificates");
    certificates.ready().await;
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
    let plans = cluster::filled(100);
    let admission = Admission::new(plans, Settings::default(), metrics, Arc::new(notices::Silent));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = certificates.server_config();
    // Callers may still be under way when the certificates are no longer looked after.
    tokio::spawn(valence_webhook::serve(
        listener,
        tls,
        Arc::new(admission),
        CancellationToken::new(),
    ));
    address
}

/// Deleting the Secret asks for a new CA; it is through when a leaf of it is served.
async fn rotate(api: &Api) {
    let held = || [keys::AUTHORITY, keys::LEAF].map(|key| api.secret_text(key));
    let before = held();
    api.delete_secret();
    let is_new = || {
        held()
            .iter()
            .zip(&before)
            .all(|(now, then)| now.is_some() && now != then)
    };
    while !is_new() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reviews in a steady rhythm, whatever becomes of them.
async fn traffic(api: Api, replicas: Vec<SocketAddr>, outcomes: Arc<Outcomes>, stop: CancellationToken) {
    let review: Bytes = reviews::all().swap_remove(1).body.into();
    let (mut ticks, tasks) = (
        tokio::time::interval(Duration::from_secs(1) / PER_SECOND),
        TaskTracker::new(),
    );
    for replica in replicas.into_iter().cycle() {
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            break;
        }
        let (api, review, outcomes) = (api.clone(), review.clone(), Arc::clone(&outcomes));
        tasks.spawn(async move {
            let begun = Instant::now();
            match ask(&api, replica, review).await {
                Ok(()) => outcomes.times.lock().push(begun.elapsed()),
                Err(error) => outcomes.failures.lock().push(error.to_string()),
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

/// A new connection, a handshake, a review.
async fn ask(api: &Api, replica: SocketAddr, review: Bytes) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(api.bundles()[0].as_bytes()) {
        roots.add(authority?)?;
    }
    let trusting = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(replica).await?;
    let stream = TlsConnector::from(Arc::new(trusting))
        .connect(ServerName::try_from(NAME)?, stream)
        .await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::post(Endpoint::Pods.path())
        .header("host", NAME)
        .header("content-type", "application/json")
        .body(Full::new(review))?;
    let response = sender.send_request(request).await?;
    let is_ok = response.status() == StatusCode::OK;
    let body = response.into_body().collect().await?.to_bytes();
    let is_patched = body.windows(9).any(|window| window == b"JSONPatch");
    if is_ok && is_patched {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&body).into())
    }
}

fn report(outcomes: &Outcomes, took: Duration) {
    let (mut times, failures) = (outcomes.times.lock(), outcomes.failures.lock());
    times.sort_unstable();
    let percentile = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{REPLICAS} replicas, {ROTATIONS} rotations of CA and leaf in {:.0} s",
        took.as_secs_f64()
    );
    println!(
        "{} reviews answered, {:.0} a second, each with a handshake: p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
        times.len(),
        times.len() as f64 / took.as_secs_f64(),
        percentile(0.5),
        percentile(0.99),
        percentile(1.0)
    );
    println!("{} failed", failures.len());
    failures.first().inspect(|first| println!("the first: {first}"));
    assert!(failures.is_empty(), "reviews failed while certificates rotated");
}
