//! The gauges of Valence as StatsD datagrams with DogStatsD tags.
//!
//! Sending never waits and nothing is queued: the latest values are read from the registry at every interval, and what
//! the socket does not take at once is dropped and counted. A receiver that is away costs nothing but its own data.

use std::io;
use std::time::Duration;

use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Largest datagram that fits an Ethernet frame with IPv6 and UDP headers.
const DATAGRAM_BYTES: usize = 1432;
/// Most datagrams of one round, so that a cluster of any size costs a bounded burst.
const DATAGRAMS: usize = 4096;
/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// What a round of sending came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that the socket took.
    pub datagrams: usize,
    /// Datagrams that it did not take.
    pub dropped: usize,
}

/// Sends the gauges of a registry to `target` (host:port) at every interval until told to stop.
///
/// The name is looked up anew for every round, since the receiver may move.
pub async fn run(target: String, registry: Registry, every: Duration, stop: CancellationToken) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut reachable = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => reachable = report(&target, round(&target, &registry).await, reachable),
        }
    }
}

/// Logs what changed: a receiver that is gone is told once, not at every round.
fn report(target: &str, outcome: io::Result<Sent>, was_reachable: bool) -> bool {
    match outcome {
        Ok(sent) => {
            debug!(target, sent.datagrams, sent.dropped, "gauges sent by StatsD");
            true
        }
        Err(error) => {
            if was_reachable {
                warn!(target, %error, "gauges cannot be sent by StatsD");
            }
            false
        }
    }
}

async fn round(target: &str, registry: &Registry) -> io::Result<Sent> {
    let socket = timeout(LOOKUP, connect(target))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the name took too long to look up"))??;
    send(&socket, &datagrams(&registry.gather()))
}

async fn connect(target: &str) -> io::Result<UdpSocket> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(target).await? {
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local).await?;
        match socket.connect(address).await {
            // A fresh socket is writable; the runtime only learns it here.
            Ok(()) => return socket.writable().await.map(|()| socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Hands datagrams to the socket without waiting.
fn send(socket: &UdpSocket, datagrams: &[String]) -> io::Result<Sent> {
    let mut sent = Sent::default();
    for datagram in datagrams.iter().take(DATAGRAMS) {
        match socket.try_send(datagram.as_bytes()) {
            Ok(_) => sent.datagrams += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent.dropped += 1,
            Err(error) => return Err(error),
        }
    }
    sent.dropped += datagrams.len().saturating_sub(DATAGRAMS);
    Ok(sent)
}

/// The gauges among the families, one a line, as many lines in a datagram as it holds.
#[must_use]
pub fn datagrams(families: &[MetricFamily]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in families.iter().filter(|family| is_ours(family)).flat_map(lines) {
        match all.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= DATAGRAM_BYTES => {
                last.push('\n');
                last.push_str(&line);
            }
            _ => all.push(line),
        }
    }
    all
}

fn is_ours(family: &MetricFamily) -> bool {
    family.get_field_type() == MetricType::GAUGE && family.name().starts_with("valence_")
}

fn lines(family: &MetricFamily) -> impl Iterator<Item = String> {
    family
        .get_metric()
        .iter()
        .filter(|metric| metric.get_gauge().get_value().is_finite())
        .map(|metric| line(family.name(), metric))
        .filter(|line| line.len() <= DATAGRAM_BYTES)
}

/// `valence.recommendations.replicas:3|g|#namespace:shop,name:todo`
fn line(name: &str, metric: &Metric) -> String {
    let name = name.replacen("valence_", "valence.", 1);
    let name = ["recommendations", "original", "slo"]
        .iter()
        .find_map(|group| {
            Some(format!(
                "valence.{group}.{}",
                name.strip_prefix(&format!("valence.{group}_"))?
            ))
        })
        .unwrap_or(name);
    let tags: Vec<_> = metric
        .get_label()
        .iter()
        .map(|label| format!("{}:{}", label.name(), tag(label.value())))
        .collect();
    let tags = if tags.is_empty() {
        String::new()
    } else {
        format!("|#{}", tags.join(","))
    };
    format!("{name}:{}|g{tags}", plain(metric.get_gauge().get_value()))
}

/// A value that cannot end its tag, its line or the datagram.
fn tag(value: &str) -> String {
    value.replace([',', '|', '#', ':', '\n', '\r'], "_")
}

/// A number without an exponent. A negative gauge would be read as a change of the last one; none of ours is negative
/// but budgets, which are sent as they are since DogStatsD reads them as values.
fn plain(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus::{GaugeVec, IntCounter, Opts};

    use super::*;

    fn registry(workloads: usize) -> Registry {
        let registry = Registry::new();
        let replicas = GaugeVec::new(
            Opts::new("valence_recommendations_replicas", "r"),
            &["name", "namespace"],
        )
        .unwrap();
        for index in 0..workloads {
            replicas
                .with_label_values(&[format!("app-{index}").as_str(), "shop"])
                .set(index as f64 + 0.5);
        }
        registry.register(Box::new(replicas)).unwrap();
        registry
            .register(Box::new(IntCounter::new("valence_cycles_total", "c").unwrap()))
            .unwrap();
        registry
            .register(Box::new(prometheus::Gauge::new("process_open_fds", "f").unwrap()))
            .unwrap();
        registry
    }

    #[test]
    fn only_our_gauges_are_sent() {
        assert_eq!(
            datagrams(&registry(2).gather()),
            [
                "valence.recommendations.replicas:0.5|g|#name:app-0,namespace:shop\nvalence.recommendations.replicas:1.5|g|#name:app-1,namespace:shop"
            ]
        );
    }

    #[test]
    fn datagrams_fit_a_frame_and_lose_nothing() {
        let all = datagrams(&registry(1000).gather());
        assert!(all.len() > 1 && all.iter().all(|datagram| datagram.len() <= DATAGRAM_BYTES));
        assert_eq!(all.iter().flat_map(|datagram| datagram.lines()).count(), 1000);
    }

    #[test]
    fn a_label_cannot_forge_a_line() {
        let registry = Registry::new();
        let gauge = GaugeVec::new(Opts::new("valence_slo_http_latency", "l"), &["name"]).unwrap();
        gauge.with_label_values(&["a\nb:1|g|#x,y"]).set(0.1);
        registry.register(Box::new(gauge)).unwrap();
        assert_eq!(
            datagrams(&registry.gather()),
            ["valence.slo.http_latency:0.1|g|#name:a_b_1_g__x_y"]
        );
    }

    #[tokio::test]
    async fn a_receiver_gets_them_and_its_absence_does_no_harm() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let target = receiver.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(target, registry(1), Duration::from_millis(20), stop.clone()));
        let mut buffer = [0; 2000];
        for _ in 0..2 {
            let length = receiver.recv(&mut buffer).await.unwrap();
            assert_eq!(
                &buffer[..length],
                b"valence.recommendations.replicas:0.5|g|#name:app-0,namespace:shop"
            );
        }
        drop(receiver);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!task.is_finished());
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn more_than_a_round_carries_is_dropped_and_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = connect(&receiver.local_addr().unwrap().to_string()).await.unwrap();
        let sent = send(&socket, &vec!["x".to_owned(); DATAGRAMS + 10]).unwrap();
        assert_eq!(sent.datagrams + sent.dropped, DATAGRAMS + 10);
        assert!(sent.dropped >= 10);
    }
}
