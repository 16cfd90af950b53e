//! Objects by namespace and name, read without a lock.
//!
//! Admission reads these on every request while a watch writes them, so that a reader never waits for a writer: each
//! namespace is a few small immutable maps, and a change replaces one of them.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use arc_swap::ArcSwap;
use foldhash::fast::{FixedState, RandomState};

use super::groups::{Groups, Mark};

/// Maps that a namespace is split into: a change copies one of them.
pub(super) const PARTS: usize = 16;

type Part<V> = HashMap<Arc<str>, Arc<V>, RandomState>;
type Namespaces<V> = HashMap<Arc<str>, Arc<Namespace<V>>, RandomState>;

/// Values by namespace and name. One task writes, any number read.
#[derive(Debug)]
pub struct Index<V> {
    namespaces: ArcSwap<Namespaces<V>>,
    pub(super) filled: AtomicBool,
    mark: Option<Mark<V>>,
}

#[derive(Debug)]
struct Namespace<V> {
    parts: [ArcSwap<Part<V>>; PARTS],
    /// A bit for each map that holds something: most namespaces hold few objects of a kind.
    occupied: AtomicU16,
    groups: Option<Box<Groups<V>>>,
}

/// Which of the maps a name belongs to.
pub(super) fn part_of(name: &str) -> usize {
    FixedState::default().hash_one(name) as usize % PARTS
}

impl<V> Namespace<V> {
    fn of(parts: [Part<V>; PARTS], mark: Option<Mark<V>>) -> Self {
        let bits = parts
            .iter()
            .enumerate()
            .map(|(part, map)| u16::from(!map.is_empty()) << part);
        Self {
            occupied: AtomicU16::new(bits.sum()),
            groups: mark.map(|mark| Box::new(Groups::of(mark, parts.iter().flat_map(HashMap::values)))),
            parts: parts.map(|part| ArcSwap::new(Arc::new(part))),
        }
    }

    fn part(&self, name: &str) -> &ArcSwap<Part<V>> {
        &self.parts[part_of(name)]
    }

    fn get(&self, name: &str) -> Option<Arc<V>> {
        self.part(name).load().get(name).cloned()
    }

    fn put(&self, name: &str, value: Arc<V>) {
        let part = part_of(name);
        let mut copy = Part::clone(&self.parts[part].load());
        let old = copy.insert(name.into(), Arc::clone(&value));
        self.parts[part].store(Arc::new(copy));
        self.occupied.fetch_or(1 << part, Ordering::Release);
        self.regroup(old.as_ref(), Some(&value));
    }

    fn remove(&self, name: &str) {
        let part = part_of(name);
        let mut copy = Part::clone(&self.parts[part].load());
        let old = copy.remove(name);
        if copy.is_empty() {
            self.occupied.fetch_and(!(1 << part), Ordering::Release);
        }
        self.parts[part].store(Arc::new(copy));
        self.regroup(old.as_ref(), None);
    }

    fn regroup(&self, old: Option<&Arc<V>>, new: Option<&Arc<V>>) {
        if let Some(groups) = &self.groups {
            groups.replace(old, new);
        }
    }

    fn values(&self, into: &mut Vec<Arc<V>>, wanted: impl Fn(&V) -> bool) {
        let occupied = self.occupied.load(Ordering::Acquire);
        let parts = self.parts.iter().enumerate();
        for (_, part) in parts.filter(|(part, _)| occupied >> part & 1 == 1) {
            into.extend(part.load().values().filter(|value| wanted(value)).cloned());
        }
    }

    fn is_empty(&self) -> bool {
        self.occupied.load(Ordering::Acquire) == 0
    }
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self {
            namespaces: ArcSwap::default(),
            filled: AtomicBool::new(false),
            mark: None,
        }
    }
}

impl<V> Index<V> {
    /// One whose values can be found by what they are marked with too.
    #[must_use]
    pub fn marked(mark: Mark<V>) -> Self {
        Self {
            mark: Some(mark),
            ..Self::default()
        }
    }

    /// The values of a namespace with any of these marks.
    #[must_use]
    pub fn with_marks<'m>(&self, namespace: &str, marks: impl Iterator<Item = &'m str>) -> Vec<Arc<V>> {
        let mut values = Vec::new();
        if let Some(groups) = self
            .namespaces
            .load()
            .get(namespace)
            .and_then(|held| held.groups.as_ref())
        {
            marks.for_each(|mark| groups.find(mark, &mut values));
        }
        values
    }

    /// Whether it has been filled once.
    #[must_use]
    pub fn filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Says that what is not there does not exist.
    pub fn set_filled(&self) {
        self.filled.store(true, Ordering::Release);
    }

    /// One value. Objects without a namespace are kept under the empty one.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<V>> {
        self.namespaces.load().get(namespace)?.get(name)
    }

    /// Every value of a namespace, in no order.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Vec<Arc<V>> {
        self.of_where(namespace, |_| true)
    }

    /// The wanted values of a namespace, in no order.
    #[must_use]
    pub fn of_where(&self, namespace: &str, wanted: impl Fn(&V) -> bool) -> Vec<Arc<V>> {
        let mut values = Vec::new();
        if let Some(found) = self.namespaces.load().get(namespace) {
            found.values(&mut values, wanted);
        }
        values
    }

    /// Every value, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<V>> {
        let mut values = Vec::new();
        for namespace in self.namespaces.load().values() {
            namespace.values(&mut values, |_| true);
        }
        values
    }

    /// The namespaces that hold a value.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Arc<str>> {
        let namespaces = self.namespaces.load();
        let mut names: Vec<_> = namespaces
            .iter()
            .filter(|(_, held)| !held.is_empty())
            .map(|(name, _)| Arc::clone(name))
            .collect();
        names.sort();
        names
    }

    /// Puts a value in place of what is there.
    pub fn put(&self, namespace: &str, name: &str, value: V) {
        self.put_shared(namespace, name, Arc::new(value));
    }

    /// Puts a value that others may hold too in place of what is there.
    pub fn put_shared(&self, namespace: &str, name: &str, value: Arc<V>) {
        let existing = self.namespaces.load().get(namespace).cloned();
        existing.unwrap_or_else(|| self.open(namespace)).put(name, value);
    }

    /// Takes a value away.
    pub fn remove(&self, namespace: &str, name: &str) {
        let Some(held) = self.namespaces.load().get(namespace).cloned() else {
            return;
        };
        held.remove(name);
        if held.is_empty() {
            let mut copy = Namespaces::clone(&self.namespaces.load());
            copy.remove(namespace);
            self.namespaces.store(Arc::new(copy));
        }
    }

    /// Replaces everything at once: what a watch does after it has listed anew.
    pub fn replace(&self, values: Vec<(String, String, V)>) {
        let values = values.into_iter();
        self.replace_shared(
            values
                .map(|(namespace, name, value)| (namespace, name, Arc::new(value)))
                .collect(),
        );
    }

    /// The same with values that others may hold too.
    pub fn replace_shared(&self, values: Vec<(String, String, Arc<V>)>) {
        let mut fresh: HashMap<Arc<str>, [Part<V>; PARTS], RandomState> = HashMap::default();
        for (namespace, name, value) in values {
            let parts = fresh.entry(namespace.into()).or_default();
            parts[part_of(&name)].insert(name.into(), value);
        }
        let sealed = fresh
            .into_iter()
            .map(|(name, parts)| (name, Arc::new(Namespace::of(parts, self.mark))));
        self.namespaces.store(Arc::new(sealed.collect()));
        self.set_filled();
    }

    fn open(&self, namespace: &str) -> Arc<Namespace<V>> {
        let empty = std::array::from_fn(|_| Part::default());
        let opened = Arc::new(Namespace::of(empty, self.mark));
        let mut copy = Namespaces::clone(&self.namespaces.load());
        copy.insert(namespace.into(), Arc::clone(&opened));
        self.namespaces.store(Arc::new(copy));
        opened
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn puts_finds_and_removes() {
        let index = Index::default();
        for number in 0..200 {
            index.put("shop", &format!("pod-{number}"), number);
        }
        index.put("bank", "pod-0", 1000);
        assert_eq!(*index.get("shop", "pod-7").unwrap(), 7);
        assert_eq!(*index.get("bank", "pod-0").unwrap(), 1000);
        assert_eq!(index.of("shop").len(), 200);
        assert_eq!(index.of_where("shop", |number| number % 50 == 0).len(), 4);
        assert_eq!(index.all().len(), 201);
        index.put("shop", "pod-7", 70);
        assert_eq!(*index.get("shop", "pod-7").unwrap(), 70);
        index.remove("bank", "pod-0");
        assert!(index.get("bank", "pod-0").is_none());
        assert_eq!(index.namespaces(), vec![Arc::from("shop")]);
        index.remove("nowhere", "pod");
    }

    #[test]
    fn replacing_forgets_what_is_not_listed() {
        let index = Index::default();
        index.put("shop", "gone", 1);
        assert!(!index.filled());
        index.replace(vec![
            ("shop".to_owned(), "here".to_owned(), 2),
            (String::new(), "node".to_owned(), 3),
        ]);
        assert!(index.filled());
        assert!(index.get("shop", "gone").is_none());
        assert_eq!(*index.get("shop", "here").unwrap(), 2);
        assert_eq!(*index.get("", "node").unwrap(), 3);
        index.put("shop", "later", 4);
        assert_eq!(index.of("shop").len(), 2);
    }

    #[test]
    fn values_are_found_by_their_marks() {
        let index = Index::marked(|number: &u64| Some((number % 10).to_string()));
        let marked = |namespace: &str, marks: &[&str]| {
            let mut found: Vec<_> = index
                .with_marks(namespace, marks.iter().copied())
                .iter()
                .map(|held| **held)
                .collect();
            found.sort_unstable();
            found
        };
        index.replace(vec![
            ("shop".to_owned(), "a".to_owned(), 11),
            ("shop".to_owned(), "b".to_owned(), 22),
        ]);
        index.put("shop", "c", 31);
        index.put("bank", "a", 41);
        assert_eq!(marked("shop", &["1", "2", "3"]), [11, 22, 31]);
        assert_eq!(marked("bank", &["1"]), [41]);
        index.put("shop", "a", 12);
        index.remove("shop", "c");
        assert_eq!((marked("shop", &["1"]), marked("shop", &["2"])), (vec![], vec![12, 22]));
        assert!(marked("nowhere", &["1"]).is_empty());
    }

    #[test]
    fn readers_see_whole_states_while_a_writer_writes() {
        let index = Arc::new(Index::default());
        index.put("shop", "pod", 0_u64);
        let reader = {
            let index = Arc::clone(&index);
            std::thread::spawn(move || {
                let mut last = 0;
                while last < 2000 {
                    let now = *index.get("shop", "pod").unwrap();
                    assert!(now >= last);
                    last = now;
                }
            })
        };
        for value in 1..=2000 {
            index.put("shop", "pod", value);
        }
        reader.join().unwrap();
    }
}
