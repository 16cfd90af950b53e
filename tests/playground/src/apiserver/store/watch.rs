//! Following the changes of a resource.

use tokio::sync::watch as signal;

use super::ResourceKey;

/// The history that a cursor needs is gone: HTTP 410.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// The oldest revision that can still be followed.
    pub(crate) oldest: u64,
}

/// A place in the history of a resource.
pub(crate) struct Cursor {
    resource: ResourceKey,
    revision: u64,
    changed: signal::Receiver<u64>,
}

impl Cursor {
    pub(super) fn new(resource: ResourceKey, revision: u64, mut changed: signal::Receiver<u64>) -> Self {
        changed.mark_changed();
        Self {
            resource,
            revision,
            changed,
        }
    }

    pub(super) fn resource(&self) -> &ResourceKey {
        &self.resource
    }

    /// Everything up to this revision has been seen.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Waits until there may be something after the cursor.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
