//! The objects of one resource and the changes that they went through.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch as signal;

use super::watch::Compacted;
use super::{ObjectKey, Signal, Stored};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One write.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    pub(crate) revision: u64,
    /// After the write; for a deletion the last state.
    pub(crate) object: Arc<Stored>,
    /// Before the write.
    pub(crate) previous: Option<Arc<Stored>>,
}

pub(super) struct Collection {
    pub(super) objects: BTreeMap<ObjectKey, Arc<Stored>>,
    log: VecDeque<Arc<Change>>,
    history: usize,
    /// Changes up to this revision are forgotten.
    compacted: u64,
    changed: Signal,
}

impl Collection {
    pub(super) fn new(history: usize, revision: u64) -> Self {
        let (changed, _) = signal::channel(revision);
        // Nothing happened before the collection existed, so a watch from any earlier revision misses nothing.
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            history,
            compacted: 0,
            changed,
        }
    }

    pub(super) fn list(&self, namespace: Option<&str>) -> Vec<Arc<Stored>> {
        let Some(namespace) = namespace else {
            return self.objects.values().cloned().collect();
        };
        let first = ObjectKey::new(namespace, "");
        let rest = self.objects.range((Bound::Included(first), Bound::Unbounded));
        rest.take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, stored)| stored.clone())
            .collect()
    }

    pub(super) fn record(&mut self, change: Arc<Change>) {
        let revision = change.revision;
        self.log.push_back(change);
        while self.log.len() > self.history {
            if let Some(dropped) = self.log.pop_front() {
                self.compacted = dropped.revision;
            }
        }
        self.changed.send_replace(revision);
    }

    pub(super) fn subscribe(&self) -> signal::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn after(&self, revision: u64) -> Result<Vec<Arc<Change>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted { oldest: self.compacted });
        }
        let start = self.log.partition_point(|change| change.revision <= revision);
        Ok(self.log.range(start..).cloned().collect())
    }

    pub(super) fn compact(&mut self, revision: u64) {
        self.log.clear();
        self.compacted = revision;
        self.changed.send_replace(revision);
    }
}
