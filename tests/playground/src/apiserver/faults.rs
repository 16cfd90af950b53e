//! Misbehaviour on demand, for tests of what Valence does when the API server is unwell.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::http::{Request, Response, response};
use super::status::ApiError;

/// Refuses matching requests with a status.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// 409, 410, 429, 500 or 503.
    pub code: u16,
    /// HTTP methods that are refused; empty means all.
    pub methods: Vec<String>,
    /// Only paths that contain this.
    pub path_contains: String,
    /// How many requests are refused before it stops by itself; `None` goes on until it is cleared.
    pub times: Option<u32>,
}

/// Switches; all off at the start.
#[derive(Default)]
pub struct Faults {
    refuse_connections: AtomicBool,
    delay: Mutex<Duration>,
    refusals: Mutex<Vec<Refusal>>,
    connections: Mutex<CancellationToken>,
}

impl Faults {
    /// While on, new connections are closed at once and existing ones are cut when it is switched on.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.refuse_connections.store(unreachable, Ordering::SeqCst);
        if unreachable {
            self.cut();
        }
    }

    /// Cuts every connection, as a restart of the server would.
    pub fn cut(&self) {
        std::mem::take(&mut *self.connections.lock()).cancel();
    }

    /// Every request waits this long first.
    pub fn set_delay(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    /// Adds a refusal.
    pub fn refuse(&self, refusal: Refusal) {
        self.refusals.lock().push(refusal);
    }

    /// Takes back every refusal and delay, and is reachable again.
    pub fn clear(&self) {
        self.refusals.lock().clear();
        self.set_delay(Duration::ZERO);
        self.set_unreachable(false);
    }

    pub(super) fn refuses_connections(&self) -> bool {
        self.refuse_connections.load(Ordering::SeqCst)
    }

    /// Cancelled when connections are cut.
    pub(super) fn cut_connections(&self) -> CancellationToken {
        self.connections.lock().clone()
    }

    /// Delays a request, and answers it when it is to be refused.
    pub(super) async fn before(&self, request: &Request) -> Option<Response> {
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.take_refusal(request).map(|code| response::failure(&error(code)))
    }

    fn take_refusal(&self, request: &Request) -> Option<u16> {
        let mut refusals = self.refusals.lock();
        let at = refusals.iter().position(|refusal| refusal.matches(request))?;
        let code = refusals[at].code;
        if let Some(times) = &mut refusals[at].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                refusals.remove(at);
            }
        }
        Some(code)
    }
}

impl Refusal {
    fn matches(&self, request: &Request) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|method| method == request.method.as_str());
        method && request.path.contains(&self.path_contains) && self.times != Some(0)
    }
}

fn error(code: u16) -> ApiError {
    match code {
        409 => ApiError::new(
            409,
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        410 => ApiError::expired("too old resource version"),
        429 => ApiError::too_many_requests("too many requests, please try again later", 1),
        503 => ApiError::new(
            503,
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        _ => ApiError::internal("a fault that was asked for"),
    }
}
