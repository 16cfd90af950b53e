//! Runs the load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use http::Uri;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::arrivals::Arrivals;
use super::client::Client;
use super::report::{Report, Tally, Window};
use super::shape::Shape;

/// How requests are spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS.
    Http2,
    /// gRPC unary calls.
    Grpc,
}

/// What load to make.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rate over time.
    pub shape: Shape,
    /// Seconds after which it ends by itself.
    pub duration: Option<Duration>,
    /// How requests are spoken.
    pub protocol: Protocol,
    /// Host and path of requests.
    pub uri: Uri,
    /// When a request counts as failed.
    pub timeout: Duration,
    /// Seed of the arrivals.
    pub seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shape: Shape::Constant { rate: 10.0 },
            duration: None,
            protocol: Protocol::Http1,
            uri: Uri::from_static("http://service/"),
            timeout: Duration::from_secs(10),
            seed: None,
        }
    }
}

/// A running load. It stops when this is dropped.
pub struct Generator {
    tally: Arc<Mutex<Tally>>,
    start: Instant,
    stop: CancellationToken,
    done: TaskTracker,
}

impl Generator {
    /// Starts the load against endpoints that may change.
    pub fn start(settings: Settings, endpoints: watch::Receiver<Vec<SocketAddr>>) -> Self {
        let (tally, start) = (Arc::<Mutex<Tally>>::default(), Instant::now());
        let (stop, done) = (CancellationToken::new(), TaskTracker::new());
        let client = Client::new(endpoints, settings.protocol, settings.uri.clone());
        let work = run(settings, client, Arc::clone(&tally), start, done.clone());
        let stopped = stop.clone();
        done.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopped.cancelled() => {}
            }
        });
        done.close();
        Self {
            tally,
            start,
            stop,
            done,
        }
    }

    /// Waits until it has ended by itself and every request is answered.
    pub async fn finished(&self) -> Report {
        self.done.wait().await;
        self.report()
    }

    /// Sends nothing more and waits for what is under way.
    pub async fn stop(&self) -> Report {
        self.stop.cancel();
        self.finished().await
    }

    /// The account so far.
    pub fn report(&self) -> Report {
        self.tally.lock().report()
    }

    /// One line about the last seconds.
    pub fn progress(&self, seconds: f64) -> String {
        let window = self.last(seconds);
        let p99 = window
            .latencies
            .quantile(0.99)
            .map_or("-".into(), |p99| format!("{:.0} ms", p99 * 1000.0));
        format!(
            "offered {:.1}/s, served {}, failed {}, p99 {p99}",
            window.rate(),
            window.served,
            window.failed
        )
    }

    /// Seconds since the start.
    pub fn elapsed(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// The figures of the last seconds.
    pub fn last(&self, seconds: f64) -> Window {
        let now = self.elapsed();
        self.between((now - seconds).max(0.0), now)
    }

    /// The figures between two times, in seconds since the start.
    pub fn between(&self, from: f64, to: f64) -> Window {
        self.tally.lock().between(from, to)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run(
    settings: Settings,
    client: Arc<Client>,
    tally: Arc<Mutex<Tally>>,
    start: Instant,
    under_way: TaskTracker,
) {
    let end = settings
        .duration
        .map_or(f64::INFINITY, |duration| duration.as_secs_f64());
    let rng = settings.seed.map_or_else(rand::make_rng, StdRng::seed_from_u64);
    let mut arrivals = Arrivals::new(&settings.shape, rng);
    loop {
        // Looked ahead only so far, so that a load of nothing still ends when it is stopped.
        let Some(at) = arrivals.next_before(end.min(start.elapsed().as_secs_f64() + 1.0)) else {
            if start.elapsed().as_secs_f64() >= end {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        tokio::time::sleep_until(start + Duration::from_secs_f64(at)).await;
        tally.lock().offered(at);
        let (client, tally, timeout) = (Arc::clone(&client), Arc::clone(&tally), settings.timeout);
        under_way.spawn(async move {
            let sent = Instant::now();
            let answer = client.request(timeout).await;
            let mut tally = tally.lock();
            if answer.retried {
                tally.retried();
            }
            tally.finished(at, sent.elapsed().as_secs_f64(), answer.outcome);
        });
    }
}
