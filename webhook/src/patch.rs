//! JSON Patch (RFC 6902), built by hand so that it holds only what changes.

use std::sync::Arc;

use serde_json::Value;

/// What an operation puts somewhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A value.
    Value(Value),
    /// JSON that was written before.
    Text(Arc<str>),
    /// A list of JSON that was written before.
    ListOf(Arc<str>),
}

/// One operation of a patch.
#[derive(Clone, Debug, PartialEq)]
struct Operation {
    op: &'static str,
    path: String,
    content: Option<Content>,
}

/// Operations in the order in which they apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch(Vec<Operation>);

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Arc<str>> for Content {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}

macro_rules! content_of {
    ($($type:ty),*) => {
        $(impl From<$type> for Content {
            fn from(value: $type) -> Self {
                Self::Value(Value::from(value))
            }
        })*
    };
}

content_of!(&str, String, i64, u16, i32, serde_json::Map<String, Value>);

impl Patch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The patch as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(256 + self.0.iter().map(Operation::size).sum::<usize>());
        json.push(b'[');
        for (position, operation) in self.0.iter().enumerate() {
            if position > 0 {
                json.push(b',');
            }
            operation.write(&mut json);
        }
        json.push(b']');
        json
    }

    /// Adds a member or an element, or replaces a member that is there.
    pub fn add(&mut self, path: String, content: impl Into<Content>) {
        self.push("add", path, Some(content.into()));
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: String, content: impl Into<Content>) {
        self.push("replace", path, Some(content.into()));
    }

    /// Removes what is there.
    pub fn remove(&mut self, path: String) {
        self.push("remove", path, None);
    }

    /// Adds or replaces, according to whether the member is there.
    pub fn set(&mut self, present: bool, path: String, content: impl Into<Content>) {
        if present {
            self.replace(path, content);
        } else {
            self.add(path, content);
        }
    }

    fn push(&mut self, op: &'static str, path: String, content: Option<Content>) {
        self.0.push(Operation { op, path, content });
    }
}

impl Operation {
    fn size(&self) -> usize {
        let content = match &self.content {
            Some(Content::Text(text) | Content::ListOf(text)) => text.len(),
            _ => 64,
        };
        self.path.len() + content
    }

    fn write(&self, json: &mut Vec<u8>) {
        json.extend_from_slice(b"{\"op\":\"");
        json.extend_from_slice(self.op.as_bytes());
        json.extend_from_slice(b"\",\"path\":");
        write(json, &self.path);
        if let Some(content) = &self.content {
            json.extend_from_slice(b",\"value\":");
            match content {
                Content::Value(value) => write(json, value),
                Content::Text(text) => json.extend_from_slice(text.as_bytes()),
                Content::ListOf(text) => {
                    json.push(b'[');
                    json.extend_from_slice(text.as_bytes());
                    json.push(b']');
                }
            }
        }
        json.push(b'}');
    }
}

/// Appends a value as JSON. Writing to memory does not fail.
pub(crate) fn write<T: serde::Serialize + ?Sized>(json: &mut Vec<u8>, value: &T) {
    let length = json.len();
    if serde_json::to_writer(&mut *json, value).is_err() {
        json.truncate(length);
        json.extend_from_slice(b"null");
    }
}

/// A key as a token of a JSON Pointer (RFC 6901): `/` and `~` escaped.
#[must_use]
pub fn token(key: &str) -> String {
    if key.contains(['~', '/']) {
        key.replace('~', "~0").replace('/', "~1")
    } else {
        key.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_the_operations_of_the_standard() {
        let mut patch = Patch::default();
        patch.add("/a".to_owned(), Arc::<str>::from("1"));
        patch.replace("/b".to_owned(), "x");
        patch.remove("/c".to_owned());
        let expected = r#"[{"op":"add","path":"/a","value":1},{"op":"replace","path":"/b","value":"x"},{"op":"remove","path":"/c"}]"#;
        assert_eq!(String::from_utf8(patch.to_json()).unwrap(), expected);
    }

    proptest! {
        /// Whatever a key is, the escaped pointer finds it and nothing else.
        #[test]
        fn any_key_is_reached(key in ".{0,12}", other in ".{0,12}") {
            let mut object = serde_json::json!({ other.clone(): "other" });
            let mut patch = Patch::default();
            patch.add(format!("/{}", token(&key)), "here");
            let patch: json_patch::Patch = serde_json::from_slice(&patch.to_json()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
            prop_assert_eq!(object.get(&key).and_then(Value::as_str), Some("here"));
            prop_assert_eq!(object.as_object().unwrap().len(), if key == other { 1 } else { 2 });
        }
    }
}
