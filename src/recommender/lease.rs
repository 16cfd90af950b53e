//! Which replica recommends: whoever holds the Lease.
//!
//! A holder trusts itself only until a moment that lies well before the one at which others may take over, measured on
//! its own monotonic clock from before it asked. A process that was paused therefore finds itself deposed when it wakes,
//! whatever it was about to do. Others time the Lease by their own clocks from when they saw it change, so that clocks
//! need not agree.

use std::sync::Arc;
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
use tracing::{debug, info, warn};

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
    changes: watch::Receiver<bool>,
}

impl Leadership {
    /// Whether this replica may act at this moment. To be asked right before every write.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.trusted_until.lock().is_some_and(|until| Instant::now() < until)
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
    changes: watch::Sender<bool>,
    seen: Option<Seen>,
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
        let trusted_until = Arc::new(Mutex::new(None));
        let leadership = Leadership {
            trusted_until: Arc::clone(&trusted_until),
            changes: receiver,
        };
        let leases = Api::namespaced(client, namespace);
        (
            Self {
                leases,
                identity,
                pace,
                trusted_until,
                changes,
                seen: None,
            },
            leadership,
        )
    }

    /// Competes until told to stop, then gives the Lease back so that others need not wait.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let asked = Instant::now();
            match timeout(self.pace.trust / 2, self.attempt()).await {
                Ok(Ok(true)) => self.hold(asked + self.pace.trust),
                Ok(Ok(false)) => self.lose(),
                Ok(Err(error)) => debug!(%error, "the Lease could not be read or written"),
                Err(_) => debug!("the Lease was not answered for in time"),
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(self.pace.retry) => {}
            }
        }
        self.release().await;
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

    /// Writes the Lease over exactly what was read; `false` when somebody else was faster.
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
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
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
