//! Waits for things to become true, with a message that says what was seen last when they do not.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

/// Something did not become true in time.
#[derive(Debug, Error)]
#[error("{what} did not come about within {within:?}; last seen: {last}")]
pub struct WaitError {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub within: Duration,
    /// What was there instead.
    pub last: String,
}

/// Looks again and again until `look` gives something, or the time is over.
///
/// # Errors
/// Tells what was seen last.
pub async fn until<T, F, Fut>(what: impl Into<String>, within: Duration, mut look: F) -> Result<T, WaitError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + within;
    loop {
        let last = match look().await {
            Ok(found) => return Ok(found),
            Err(last) => last,
        };
        if Instant::now() >= deadline {
            return Err(WaitError {
                what: what.into(),
                within,
                last,
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The answer of an API as what was seen last.
pub fn seen<T: Debug>(result: kube::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
