//! Which replica recommends: whoever holds the Lease.
//!
//! A holder trusts itself only until a moment that lies well before the one at which others may take over, measured on
//! its own monotonic clock from before it asked. A process that was paused therefore finds itself deposed when it wakes,
//! whatever it was about to do. Others time the Lease by their own clocks from when they saw it change, so that clocks
//! need not agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::pulse::Pulse;

/// Name of the Lease.
pub const NAME: &str = "valence-recommender";

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long others wait after the last sign of life.
    pub duration: Duration,
    /// How long a holder trusts itself after it last asked; shorter than `duration`.
    pub trust: Duration,
    /// How often a holder renews and others look.
    pub retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            trust: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Whether this replica holds the Lease, as it can tell without asking anybody.
#[derive(Clone, Debug)]
pub struct Leadership {
    trusted_until: Arc<Mutex<Option<Instant>>>,
    terms: Arc<AtomicU64>,
    changes: watch::Receiver<bool>,
}

impl Leadership {
    /// Whether this replica may act at this moment. To be asked right before every write.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.remaining().is_some()
    }

    /// For how long this replica may act, unless it renews the Lease; `None` where it may not. A write that takes longer is
    /// given up: what is under way then has the rest of the Lease's duration to come to nothing, before another acts.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let until = (*self.trusted_until.lock())?;
        until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// Whether this replica held the Lease last and has not heard of another holder, though it may not act: the API server
    /// does not answer, or this process did not run.
    #[must_use]
    pub fn has_lapsed(&self) -> bool {
        self.trusted_until.lock().is_some_and(|until| Instant::now() >= until)
    }

    /// How often this replica took the Lease from nobody or from another; what it remembers is good for one such term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.terms.load(Ordering::Acquire)
    }

    /// As if trust ended then.
    #[cfg(test)]
    pub(crate) fn until(end: Option<Instant>) -> Self {
        Self {
            trusted_until: Arc::new(Mutex::new(end)),
            terms: Arc::default(),
            changes: watch::channel(false).1,
        }
    }

    /// Waits until this replica holds the Lease.
    pub async fn gained(&mut self) {
        while !self.holds() {
            if self.changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Competes for the Lease.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    pace: Pace,
    trusted_until: Arc<Mutex<Option<Instant>>>,
    terms: Arc<AtomicU64>,
    changes: watch::Sender<bool>,
    seen: Option<Seen>,
    pulses: Vec<Pulse>,
}

/// A sign of life of another holder.
struct Seen {
    holder: String,
    renewed: Option<Timestamp>,
    at: Instant,
}

impl Candidate {
    /// A candidate under an identity of its own, such as the name of the pod.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String, pace: Pace) -> (Self, Leadership) {
        let (changes, receiver) = watch::channel(false);
        let (trusted_until, terms) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
        let leadership = Leadership {
            trusted_until: Arc::clone(&trusted_until),
            terms: Arc::clone(&terms),
            changes: receiver,
        };
        let leases = Api::namespaced(client, namespace);
        (
            Self {
                leases,
                identity,
                pace,
                trusted_until,
                terms,
                changes,
                seen: None,
                pulses: Vec::new(),
            },
            leadership,
        )
    }

    /// Competes only while all of these beat: a replica that does not recommend shall not keep others from it.
    #[must_use]
    pub fn while_alive(self, pulses: Vec<Pulse>) -> Self {
        Self { pulses, ..self }
    }

    /// Competes until told to stop, then gives the Lease back so that others need not wait.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if self.pulses.iter().all(Pulse::is_alive) {
                self.compete().await;
            } else if self.trusted_until.lock().is_some_and(|until| Instant::now() < until) {
                error!("the recommender does not get on; the Lease is left to others");
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(self.pace.retry) => {}
            }
        }
        self.release().await;
    }

    async fn compete(&mut self) {
        let asked = Instant::now();
        match timeout(self.pace.trust / 2, self.attempt()).await {
            Ok(Ok(true)) => self.hold(asked + self.pace.trust),
            Ok(Ok(false)) => self.lose(),
            // Nothing was heard of another holder: trust runs out by itself.
            Ok(Err(error)) => debug!(%error, "the Lease could not be read or written"),
            Err(_) => debug!("the Lease was not answered for in time"),
        }
    }

    fn hold(&self, until: Instant) {
        let before = self.trusted_until.lock().replace(until);
        if before.is_none_or(|before| before < Instant::now()) {
            info!(identity = self.identity, "this replica recommends");
        }
        self.changes.send_replace(true);
    }

    fn lose(&self) {
        if self.trusted_until.lock().take().is_some() {
            warn!(identity = self.identity, "another replica recommends now");
        }
        self.changes.send_replace(false);
    }

    /// Takes or renews the Lease; whether this replica holds it now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(lease) = self.leases.get_opt(NAME).await? else {
            return self.write(None).await;
        };
        if self.is_mine(&lease) || self.has_run_out(&lease) {
            self.write(Some(lease)).await
        } else {
            Ok(false)
        }
    }

    fn is_mine(&self, lease: &Lease) -> bool {
        holder(lease) == Some(self.identity.as_str())
    }

    /// Whether the holder gave no sign of life for as long as it said, counted from when this replica first saw the last one.
    fn has_run_out(&mut self, lease: &Lease) -> bool {
        let Some(holder) = holder(lease) else { return true };
        let renewed = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.renew_time.as_ref())
            .map(|time| time.0);
        let duration = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok());
        match &self.seen {
            Some(seen) if seen.holder == holder && seen.renewed == renewed => {
                seen.at.elapsed() >= duration.map_or(self.pace.duration, Duration::from_secs)
            }
            _ => {
                self.seen = Some(Seen {
                    holder: holder.to_owned(),
                    renewed,
                    at: Instant::now(),
                });
                false
            }
        }
    }

    /// Writes the Lease over exactly what was read. A conflict is an error like any other: whoever was faster need not hold
    /// the Lease, and the next attempt reads who does.
    async fn write(&self, read: Option<Lease>) -> Result<bool, kube::Error> {
        let fresh = read.is_none();
        let mut lease = read.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                ..ObjectMeta::default()
            },
            ..Lease::default()
        });
        let mine = self.is_mine(&lease);
        self.stamp(lease.spec.get_or_insert_default(), mine);
        let parameters = PostParams::default();
        let written = if fresh {
            self.leases.create(&parameters, &lease).await
        } else {
            self.leases.replace(NAME, &parameters, &lease).await
        };
        written?;
        self.terms.fetch_add(u64::from(!mine), Ordering::Release);
        Ok(true)
    }

    fn stamp(&self, spec: &mut LeaseSpec, mine: bool) {
        let now = MicroTime(Timestamp::now());
        if !mine {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.pace.duration.as_secs().max(1)).ok();
        spec.renew_time = Some(now);
    }

    async fn release(&self) {
        if self.trusted_until.lock().take().is_none() {
            return;
        }
        self.changes.send_replace(false);
        let given_back = async {
            let mut lease = self.leases.get(NAME).await?;
            if self.is_mine(&lease) {
                lease.spec.get_or_insert_default().holder_identity = None;
                self.leases.replace(NAME, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match timeout(Duration::from_secs(3), given_back).await {
            Ok(Ok(())) => info!("gave the Lease back"),
            _ => debug!("the Lease could not be given back; it runs out by itself"),
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_deref()
        .filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use http::{Method, Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server with one Lease.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Value>>>,
        refuses: Arc<Mutex<Option<(Method, u16)>>>,
        asked: Arc<AtomicU64>,
    }

    impl Server {
        fn client(&self) -> Client {
            let server = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            Client::new(service, "valence-system")
        }

        async fn answer(&self, request: Request<Body>) -> Response<Body> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let (head, body) = request.into_parts();
            if let Some((method, code)) = &*self.refuses.lock()
                && *method == head.method
            {
                return failure(*code);
            }
            let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
            let mut lease = self.lease.lock();
            if head.method != Method::GET {
                *lease = Some(serde_json::from_slice(&body).unwrap());
            }
            match &*lease {
                Some(lease) => Response::new(lease.to_string().into_bytes().into()),
                None => failure(404),
            }
        }

        fn refuse(&self, method: Method, code: u16) {
            *self.refuses.lock() = Some((method, code));
        }

        fn taken_by(&self, holder: &str) {
            let mut lease = self.lease.lock();
            lease.as_mut().unwrap()["spec"]["holderIdentity"] = json!(holder);
        }
    }

    fn failure(code: u16) -> Response<Body> {
        let reason = if code == 404 { "NotFound" } else { "Other" };
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
        let mut response = Response::new(status.to_string().into_bytes().into());
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }

    fn candidate(server: &Server) -> (Candidate, Leadership) {
        let pace = Pace {
            duration: Duration::from_secs(3600),
            trust: LONG,
            retry: Duration::from_millis(1),
        };
        Candidate::new(server.client(), "valence-system", "one".to_owned(), pace)
    }

    const LONG: Duration = Duration::from_secs(1800);

    #[tokio::test]
    async fn an_api_server_that_is_away_takes_trust_and_not_the_lead() {
        let server = Server::default();
        let (mut candidate, leadership) = candidate(&server);
        candidate.compete().await;
        assert!(leadership.holds());
        let term = leadership.term();
        server.refuse(Method::GET, 503);
        // As if trust had run out since.
        *candidate.trusted_until.lock() = Some(Instant::now());
        candidate.compete().await;
        assert!(!leadership.holds() && leadership.has_lapsed());
        *server.refuses.lock() = None;
        candidate.compete().await;
        assert!(leadership.holds() && leadership.term() == term, "nobody led in between");
    }

    #[tokio::test]
    async fn another_holder_takes_the_lead() {
        let server = Server::default();
        let (mut candidate, leadership) = candidate(&server);
        candidate.compete().await;
        let term = leadership.term();
        server.taken_by("another");
        candidate.compete().await;
        assert!(!leadership.holds() && !leadership.has_lapsed());
        // It gave the Lease back: what this replica remembers is of an earlier term.
        server.taken_by("");
        candidate.compete().await;
        assert!(leadership.holds() && leadership.term() != term);
    }

    #[tokio::test]
    async fn a_conflict_is_no_news_of_another_holder() {
        let server = Server::default();
        let (mut candidate, leadership) = candidate(&server);
        candidate.compete().await;
        server.refuse(Method::PUT, 409);
        candidate.compete().await;
        assert!(leadership.holds(), "it still trusts its last renewal");
    }

    #[tokio::test]
    async fn who_does_not_get_on_leaves_the_lease_to_others() {
        let server = Server::default();
        let (candidate, leadership) = candidate(&server);
        let stop = CancellationToken::new();
        let dead = Pulse::new(Duration::ZERO);
        let competing = tokio::spawn(candidate.while_alive(vec![dead]).run(stop.clone()));
        for _ in 0..10 {
            sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
        competing.await.unwrap();
        assert_eq!(server.asked.load(Ordering::Relaxed), 0);
        assert!(!leadership.holds());
    }
}
