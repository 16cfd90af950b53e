//! Annotations in which admission writes down what it found and what it wrote.

use serde_json::{Map, Value};

use crate::patch::{Patch, token, write};
use crate::view::Metadata;

/// A number under a key of a record.
#[must_use]
pub fn number(record: &str, key: &str) -> Option<i64> {
    serde_json::from_str::<Value>(record).ok()?.get(key)?.as_i64()
}

/// A number under a key of an object in a record.
#[must_use]
pub fn number_in(record: &str, object: &str, key: &str) -> Option<i64> {
    serde_json::from_str::<Value>(record)
        .ok()?
        .get(object)?
        .get(key)?
        .as_i64()
}

/// A text under a key of a record.
#[must_use]
pub fn text(record: &str, key: &str) -> Option<String> {
    Some(
        serde_json::from_str::<Value>(record)
            .ok()?
            .get(key)?
            .as_str()?
            .to_owned(),
    )
}

/// Whether a record says yes to a key.
#[must_use]
pub fn is_true(record: &str, key: &str) -> bool {
    let record = serde_json::from_str::<Value>(record).ok();
    record.and_then(|record| record.get(key)?.as_bool()).unwrap_or_default()
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
                patch.add("/metadata/annotations".to_owned(), all);
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
