//! Background tasks that stop together.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of background tasks; stopping it ends each at its next await point.
#[derive(Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Runs a future until it ends or the set is stopped.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Asks all tasks to end, without waiting for them.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// Asks all tasks to end and waits for them, five seconds at the most.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tracker.wait()).await;
    }

    /// The signal that the tasks end on.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }
}
