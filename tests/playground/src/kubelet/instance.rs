//! One running instance of a container, whatever it is made of.

use std::sync::Arc;

use tokio::sync::watch;

use super::quantity::Resources;
use crate::sample::Adjustment;

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + signal where a signal ended it.
    pub code: i32,
    /// Killed because it held more memory than its limit.
    pub out_of_memory: bool,
}

impl Exit {
    /// Ended by itself with this code.
    pub fn code(code: i32) -> Self {
        Self {
            code,
            out_of_memory: false,
        }
    }
}

/// What an instance has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds since its start.
    pub cpu_seconds: f64,
    /// Bytes held now.
    pub memory_bytes: u64,
}

/// What the kubelet can do to a running instance.
pub trait Control: Send + Sync {
    /// Asks it to end, as SIGTERM does.
    fn terminate(&self);
    /// Ends it now, as SIGKILL does.
    fn kill(&self);
    /// What it has used.
    fn usage(&self) -> Usage;
    /// Changes its limits in place.
    fn resize(&self, limits: Resources);
    /// Changes its behaviour, where it is simulated.
    fn adjust(&self, _adjustment: Adjustment) -> bool {
        false
    }
}

/// A running instance.
#[derive(Clone)]
pub struct Instance {
    /// Its controls.
    pub control: Arc<dyn Control>,
    /// How it ended, once it has.
    pub exit: watch::Receiver<Option<Exit>>,
}

impl Instance {
    /// Waits for the end.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        ended.unwrap_or(Exit::code(137))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }
}
