//! Values of a namespace by what they have in common: to find some of many without a look at each.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::index::{PARTS, part_of};

/// What a value is found by; `None` for one that nobody looks for.
pub type Mark<V> = fn(&V) -> Option<String>;

type Part<V> = HashMap<Arc<str>, Vec<Arc<V>>, RandomState>;

/// Values by their marks. One task writes, any number read.
#[derive(Debug)]
pub struct Groups<V> {
    mark: Mark<V>,
    parts: [ArcSwap<Part<V>>; PARTS],
}

impl<V> Groups<V> {
    /// Groups of values that are there.
    pub fn of<'v>(mark: Mark<V>, values: impl Iterator<Item = &'v Arc<V>>) -> Self
    where
        V: 'v,
    {
        let mut parts: [Part<V>; PARTS] = std::array::from_fn(|_| Part::default());
        for value in values {
            if let Some(mark) = mark(value) {
                parts[part_of(&mark)]
                    .entry(mark.into())
                    .or_default()
                    .push(Arc::clone(value));
            }
        }
        Self {
            mark,
            parts: parts.map(ArcSwap::from_pointee),
        }
    }

    /// Appends the values with a mark.
    pub fn find(&self, mark: &str, into: &mut Vec<Arc<V>>) {
        let part = self.parts[part_of(mark)].load();
        into.extend(part.get(mark).into_iter().flatten().cloned());
    }

    /// Puts a value in place of another. Who reads meanwhile may find both.
    pub fn replace(&self, old: Option<&Arc<V>>, new: Option<&Arc<V>>) {
        if let Some(new) = new {
            self.change(new, |group| group.push(Arc::clone(new)));
        }
        if let Some(old) = old {
            self.change(old, |group| group.retain(|held| !Arc::ptr_eq(held, old)));
        }
    }

    fn change(&self, value: &Arc<V>, change: impl FnOnce(&mut Vec<Arc<V>>)) {
        let Some(mark) = (self.mark)(value) else { return };
        let part = &self.parts[part_of(&mark)];
        let mut copy = Part::clone(&part.load());
        let group = copy.entry(mark.as_str().into()).or_default();
        change(group);
        if group.is_empty() {
            copy.remove(mark.as_str());
        }
        part.store(Arc::new(copy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(groups: &Groups<(u8, u8)>, mark: &str) -> Vec<(u8, u8)> {
        let mut found = Vec::new();
        groups.find(mark, &mut found);
        found.iter().map(|value| **value).collect()
    }

    #[test]
    fn values_are_found_by_their_marks() {
        let mark: Mark<(u8, u8)> = |value| (value.0 > 0).then(|| value.0.to_string());
        let values = [(0, 1), (1, 1), (1, 2), (2, 1)].map(Arc::new);
        let groups = Groups::of(mark, values.iter());
        assert_eq!(found(&groups, "1"), [(1, 1), (1, 2)]);
        assert!(found(&groups, "0").is_empty());
        let (moved, unmarked) = (Arc::new((2, 2)), Arc::new((0, 0)));
        groups.replace(Some(&values[1]), Some(&moved));
        assert_eq!(
            (found(&groups, "1"), found(&groups, "2")),
            (vec![(1, 2)], vec![(2, 1), (2, 2)])
        );
        groups.replace(Some(&moved), Some(&unmarked));
        groups.replace(Some(&values[3]), None);
        assert!(found(&groups, "2").is_empty());
        // Twice the same object, as after a relist.
        groups.replace(Some(&values[2]), Some(&Arc::new((1, 2))));
        assert_eq!(found(&groups, "1"), [(1, 2)]);
    }
}
