//! Objects in memory, by resource, with one revision for everything and a bounded history for watches.

mod collection;
mod selectors;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::watch as signal;

use collection::Collection;
pub(crate) use collection::{Change, ChangeKind};
pub(crate) use selectors::{FieldSelector, LabelSelector};
pub(crate) use watch::{Compacted, Cursor};

/// Names a resource whatever its version: group and plural.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ResourceKey {
    pub(crate) group: Arc<str>,
    pub(crate) plural: Arc<str>,
}

impl ResourceKey {
    pub(crate) fn new(group: &str, plural: &str) -> Self {
        Self {
            group: group.into(),
            plural: plural.into(),
        }
    }
}

/// Namespace (empty when cluster-scoped) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ObjectKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn of(object: &Value) -> Self {
        Self::new(super::object::namespace(object), super::object::name(object))
    }
}

/// An object as of a revision. Never changes.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) value: Value,
    pub(crate) revision: u64,
    json: OnceLock<Bytes>,
}

impl Stored {
    fn new(mut value: Value, revision: u64) -> Arc<Self> {
        super::object::metadata_mut(&mut value).insert("resourceVersion".into(), revision.to_string().into());
        Arc::new(Self {
            value,
            revision,
            json: OnceLock::new(),
        })
    }

    /// An object that only an answer carries; its revision is what its metadata says.
    pub(crate) fn transient(value: Value) -> Self {
        let revision = super::object::revision(&value);
        Self {
            value,
            revision,
            json: OnceLock::new(),
        }
    }

    /// The object as JSON text, made once.
    pub(crate) fn json(&self) -> Bytes {
        self.json.get_or_init(|| Bytes::from(self.value.to_string())).clone()
    }
}

/// Why a write was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Exists,
    Absent,
    /// The revision is not the expected one.
    Conflict,
}

struct Inner {
    revision: u64,
    collections: HashMap<ResourceKey, Collection>,
    /// Who names an object as owner: uid of the owner to the objects that carry the reference.
    dependents: HashMap<String, std::collections::HashSet<(ResourceKey, ObjectKey)>>,
    /// Every object that exists, by uid.
    uids: HashMap<String, (ResourceKey, ObjectKey)>,
    history: usize,
}

/// The whole of what the server remembers.
pub(crate) struct Store {
    inner: RwLock<Inner>,
    /// Every change, for what the server does by itself.
    changes: tokio::sync::mpsc::UnboundedSender<(ResourceKey, Arc<Change>)>,
}

/// Receives every change of every resource, in order.
pub(crate) type Changes = tokio::sync::mpsc::UnboundedReceiver<(ResourceKey, Arc<Change>)>;

impl Store {
    /// `history`: how many changes of each resource a watch may lag behind.
    pub(crate) fn new(history: usize) -> (Self, Changes) {
        let inner = Inner {
            revision: 1,
            collections: HashMap::new(),
            dependents: HashMap::new(),
            uids: HashMap::new(),
            history,
        };
        let (changes, receiver) = tokio::sync::mpsc::unbounded_channel();
        (
            Self {
                inner: RwLock::new(inner),
                changes,
            },
            receiver,
        )
    }

    pub(crate) fn get(&self, resource: &ResourceKey, key: &ObjectKey) -> Option<Arc<Stored>> {
        self.inner.read().collections.get(resource)?.objects.get(key).cloned()
    }

    /// Objects of a namespace (or all), in order of namespace and name, and the revision that this is the state of.
    pub(crate) fn list(&self, resource: &ResourceKey, namespace: Option<&str>) -> (Vec<Arc<Stored>>, u64) {
        let inner = self.inner.read();
        let objects = inner
            .collections
            .get(resource)
            .map(|found| found.list(namespace))
            .unwrap_or_default();
        (objects, inner.revision)
    }

    /// How many objects of a resource there are.
    pub(crate) fn count(&self, resource: &ResourceKey) -> usize {
        self.inner
            .read()
            .collections
            .get(resource)
            .map_or(0, |found| found.objects.len())
    }

    /// The resources that have, or had, an object.
    pub(crate) fn resources(&self) -> Vec<ResourceKey> {
        self.inner.read().collections.keys().cloned().collect()
    }

    /// The object that has a uid.
    pub(crate) fn by_uid(&self, uid: &str) -> Option<(ResourceKey, ObjectKey)> {
        self.inner.read().uids.get(uid).cloned()
    }

    /// The objects that name a uid as one of their owners.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<(ResourceKey, ObjectKey)> {
        self.inner
            .read()
            .dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The latest revision.
    pub(crate) fn revision(&self) -> u64 {
        self.inner.read().revision
    }

    pub(crate) fn create(&self, resource: &ResourceKey, object: Value) -> Result<Arc<Stored>, Refused> {
        let key = ObjectKey::of(&object);
        self.write(resource, |inner| {
            if inner
                .collections
                .get(resource)
                .is_some_and(|found| found.objects.contains_key(&key))
            {
                return Err(Refused::Exists);
            }
            Ok(inner.put(resource, key.clone(), object))
        })
    }

    /// Replaces an object that still has the revision `expected`.
    pub(crate) fn update(&self, resource: &ResourceKey, object: Value, expected: u64) -> Result<Arc<Stored>, Refused> {
        let key = ObjectKey::of(&object);
        self.write(resource, |inner| {
            inner.expect(resource, &key, expected)?;
            Ok(inner.put(resource, key.clone(), object))
        })
    }

    /// Removes an object that still has the revision `expected`; answers its last state.
    pub(crate) fn delete(
        &self,
        resource: &ResourceKey,
        key: &ObjectKey,
        expected: u64,
    ) -> Result<Arc<Stored>, Refused> {
        self.write(resource, |inner| {
            inner.expect(resource, key, expected)?;
            inner.remove(resource, key).ok_or(Refused::Absent)
        })
    }

    fn write(
        &self,
        resource: &ResourceKey,
        action: impl FnOnce(&mut Inner) -> Result<Arc<Change>, Refused>,
    ) -> Result<Arc<Stored>, Refused> {
        let mut inner = self.inner.write();
        let change = action(&mut inner)?;
        let stored = change.object.clone();
        // Sent while the lock is held, so that the receiver sees revisions in order.
        let _ = self.changes.send((resource.clone(), change));
        Ok(stored)
    }

    /// Starts following a resource from after `revision`.
    pub(crate) fn follow(&self, resource: &ResourceKey, revision: u64) -> Cursor {
        let mut inner = self.inner.write();
        let history = inner.history;
        let current = inner.revision;
        let found = inner
            .collections
            .entry(resource.clone())
            .or_insert_with(|| Collection::new(history, current));
        Cursor::new(resource.clone(), revision, found.subscribe())
    }

    /// The changes after the cursor, which moves past them.
    pub(crate) fn changes_after(&self, cursor: &mut Cursor) -> Result<Vec<Arc<Change>>, Compacted> {
        let inner = self.inner.read();
        let Some(found) = inner.collections.get(cursor.resource()) else {
            return Ok(Vec::new());
        };
        let changes = found.after(cursor.revision())?;
        // What other resources did meanwhile is seen too: a bookmark may name the latest revision.
        cursor.advance(inner.revision);
        Ok(changes)
    }

    /// Forgets the history of every resource: watches that lag behind get 410.
    pub(crate) fn compact(&self) {
        let mut inner = self.inner.write();
        inner.revision += 1;
        let revision = inner.revision;
        for collection in inner.collections.values_mut() {
            collection.compact(revision);
        }
    }
}

impl Inner {
    fn expect(&self, resource: &ResourceKey, key: &ObjectKey, expected: u64) -> Result<(), Refused> {
        let found = self
            .collections
            .get(resource)
            .and_then(|found| found.objects.get(key))
            .ok_or(Refused::Absent)?;
        if found.revision == expected {
            Ok(())
        } else {
            Err(Refused::Conflict)
        }
    }

    fn put(&mut self, resource: &ResourceKey, key: ObjectKey, object: Value) -> Arc<Change> {
        self.revision += 1;
        let stored = Stored::new(object, self.revision);
        let (history, before) = (self.history, self.revision - 1);
        let found = self
            .collections
            .entry(resource.clone())
            .or_insert_with(|| Collection::new(history, before));
        let previous = found.objects.insert(key.clone(), stored.clone());
        let kind = if previous.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        let change = Arc::new(Change {
            kind,
            revision: self.revision,
            object: stored,
            previous,
        });
        found.record(change.clone());
        self.index(resource, &key, &change);
        change
    }

    fn remove(&mut self, resource: &ResourceKey, key: &ObjectKey) -> Option<Arc<Change>> {
        let found = self.collections.get_mut(resource)?;
        let previous = found.objects.remove(key)?;
        self.revision += 1;
        let last = Stored::new(previous.value.clone(), self.revision);
        let change = Arc::new(Change {
            kind: ChangeKind::Deleted,
            revision: self.revision,
            object: last,
            previous: Some(previous),
        });
        found.record(change.clone());
        self.index(resource, key, &change);
        Some(change)
    }

    /// Keeps the indices of uids and owners in step.
    fn index(&mut self, resource: &ResourceKey, key: &ObjectKey, change: &Change) {
        let here = (resource.clone(), key.clone());
        if let Some(previous) = &change.previous {
            for owner in owner_uids(&previous.value) {
                if let Some(entry) = self.dependents.get_mut(&owner) {
                    entry.remove(&here);
                    if entry.is_empty() {
                        self.dependents.remove(&owner);
                    }
                }
            }
        }
        let uid = super::object::uid(&change.object.value).to_owned();
        if change.kind == ChangeKind::Deleted {
            self.uids.remove(&uid);
            return;
        }
        self.uids.insert(uid, here.clone());
        for owner in owner_uids(&change.object.value) {
            self.dependents.entry(owner).or_default().insert(here.clone());
        }
    }
}

/// The uids of `metadata.ownerReferences`.
pub(crate) fn owner_uids(object: &Value) -> Vec<String> {
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    references
        .filter_map(|reference| reference["uid"].as_str())
        .map(str::to_owned)
        .collect()
}

/// Tells followers of a collection that it has changed.
type Signal = signal::Sender<u64>;
