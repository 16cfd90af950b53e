//! Annotations in which admission writes down what it found and what it wrote.

use serde_json::{Map, Value};

use crate::patch::{Patch, token, write};
use crate::view::Metadata;

/// Longest annotation that is read as a record of ours, in bytes: a hundred containers take a third of it. In memory a
/// record takes many times its length.
const LONGEST: usize = 64 << 10;

/// The text of a record, where it may be one.
pub fn readable(annotation: &str) -> Option<&str> {
    (annotation.len() <= LONGEST).then_some(annotation)
}

/// What an annotation of ours holds, read once.
#[derive(Clone, Debug, Default)]
pub struct Record(Option<Value>);

impl Record {
    /// Reads an annotation; one that is not understood holds nothing.
    #[must_use]
    pub fn read(annotation: Option<&str>) -> Self {
        let read = |text| serde_json::from_str(text).ok();
        Self(annotation.map(|text| readable(text).and_then(read).unwrap_or_default()))
    }

    /// What an earlier admission wrote down. A client that replaces the whole object sends none of it: then the old
    /// object's counts.
    #[must_use]
    pub fn of(annotation: &str, object: Option<&Metadata<'_>>, old: Option<&Metadata<'_>>) -> Self {
        let text = |metadata: Option<&Metadata<'_>>| Self::read(metadata?.annotation(annotation)).some();
        text(object).or_else(|| text(old)).unwrap_or_default()
    }

    fn some(self) -> Option<Self> {
        self.0.is_some().then_some(self)
    }

    /// Whether there is no such annotation.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.0.as_ref()?.get(key)
    }

    /// A number under a key.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    /// A number under a key of an object in it.
    #[must_use]
    pub fn number_in(&self, object: &str, key: &str) -> Option<i64> {
        self.get(object)?.get(key)?.as_i64()
    }

    /// A text under a key.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Whether it says yes to a key.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or_default()
    }
}

/// A record as the text of an annotation.
#[must_use]
pub fn json_text<T: serde::Serialize>(record: &T) -> String {
    let mut json = Vec::with_capacity(128);
    write(&mut json, record);
    String::from_utf8(json).unwrap_or_default()
}

/// Changes to the annotations of an object, as few operations as they need.
pub struct Annotations<'o, 'a> {
    metadata: Option<&'o Metadata<'a>>,
    changes: Vec<(&'static str, Option<String>)>,
}

impl<'o, 'a> Annotations<'o, 'a> {
    /// Starts from what an object has.
    #[must_use]
    pub fn of(metadata: Option<&'o Metadata<'a>>) -> Self {
        Self {
            metadata,
            changes: Vec::new(),
        }
    }

    fn current(&self, key: &str) -> Option<&str> {
        self.metadata.and_then(|metadata| metadata.annotation(key))
    }

    /// Sets an annotation.
    pub fn set(&mut self, key: &'static str, value: String) {
        if self.current(key) != Some(value.as_str()) {
            self.changes.push((key, Some(value)));
        }
    }

    /// Removes an annotation.
    pub fn remove(&mut self, key: &'static str) {
        if self.current(key).is_some() {
            self.changes.push((key, None));
        }
    }

    /// Writes the changes down.
    pub fn patch(mut self, patch: &mut Patch) {
        let has_annotations = self.metadata.is_some_and(|metadata| metadata.annotations.is_some());
        if !has_annotations {
            let all: Map<_, _> = self
                .changes
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))))
                .collect();
            if !all.is_empty() {
                patch.add("/metadata/annotations", all);
            }
            return;
        }
        for (key, value) in std::mem::take(&mut self.changes) {
            let path = ["/metadata/annotations/", &token(key)].concat();
            match value {
                Some(value) => patch.set(self.current(key).is_some(), path, value),
                None => patch.remove(path),
            }
        }
    }
}
