//! JSON Patch (RFC 6902), built by hand so that it holds only what changes.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

/// What an operation puts somewhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A value.
    Value(Value),
    /// JSON that was written before.
    Prepared(Arc<Prepared>),
    /// A list of JSON that was written before.
    ListOf(Arc<Prepared>),
}

/// JSON that goes into many patches, and what base64 makes of it.
///
/// Base64 makes four characters of three bytes: where white space brings JSON to a multiple of three, it is the same in
/// every patch that has it at a multiple of three.
#[derive(Debug, PartialEq)]
pub struct Prepared {
    json: String,
    base64: String,
}

impl Prepared {
    /// Prepares JSON.
    #[must_use]
    pub fn new(mut json: String) -> Self {
        let length = json.len().next_multiple_of(GROUP);
        json.extend(std::iter::repeat_n(' ', length - json.len()));
        let base64 = BASE64_STANDARD.encode(&json);
        Self { json, base64 }
    }
}

/// Bytes that base64 takes together.
const GROUP: usize = 3;

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

impl From<Arc<Prepared>> for Content {
    fn from(prepared: Arc<Prepared>) -> Self {
        Self::Prepared(prepared)
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
        let mut json = Plain(Vec::with_capacity(self.size()));
        self.write(&mut json);
        json.0
    }

    /// Appends the patch as JSON in base64.
    pub fn to_base64(&self, base64: &mut Vec<u8>) {
        let mut output = Encoded {
            json: Vec::with_capacity(1024),
            base64,
        };
        self.write(&mut output);
        output.flush();
    }

    /// About how long the patch will be as JSON.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(Operation::size).sum()
    }

    fn write(&self, output: &mut impl Output) {
        output.json().push(b'[');
        for (position, operation) in self.0.iter().enumerate() {
            if position > 0 {
                output.json().push(b',');
            }
            operation.write(output);
        }
        output.json().push(b']');
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

/// Where a patch is written to.
trait Output {
    /// Takes JSON.
    fn json(&mut self) -> &mut Vec<u8>;
    /// Takes JSON that is prepared.
    fn prepared(&mut self, prepared: &Prepared);
}

struct Plain(Vec<u8>);

impl Output for Plain {
    fn json(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn prepared(&mut self, prepared: &Prepared) {
        self.0.extend_from_slice(prepared.json.as_bytes());
    }
}

struct Encoded<'b> {
    json: Vec<u8>,
    base64: &'b mut Vec<u8>,
}

impl Output for Encoded<'_> {
    fn json(&mut self) -> &mut Vec<u8> {
        &mut self.json
    }

    fn prepared(&mut self, prepared: &Prepared) {
        self.json.resize(self.json.len().next_multiple_of(GROUP), b' ');
        self.flush();
        self.base64.extend_from_slice(prepared.base64.as_bytes());
    }
}

impl Encoded<'_> {
    /// Encodes what has been written so far.
    fn flush(&mut self) {
        let start = self.base64.len();
        self.base64.resize(start + self.json.len().div_ceil(GROUP) * 4, 0);
        // The slice has the length of the encoded text, so that nothing is left out.
        let written = BASE64_STANDARD.encode_slice(&self.json, &mut self.base64[start..]);
        self.base64.truncate(start + written.unwrap_or_default());
        self.json.clear();
    }
}

impl Operation {
    fn size(&self) -> usize {
        let content = match &self.content {
            Some(Content::Prepared(prepared) | Content::ListOf(prepared)) => prepared.json.len(),
            Some(Content::Value(Value::String(text))) => text.len() + text.len() / 4,
            _ => 64,
        };
        self.path.len() + content + 48
    }

    fn write(&self, output: &mut impl Output) {
        let json = output.json();
        json.extend_from_slice(b"{\"op\":\"");
        json.extend_from_slice(self.op.as_bytes());
        json.extend_from_slice(b"\",\"path\":");
        write(json, &self.path);
        if let Some(content) = &self.content {
            json.extend_from_slice(b",\"value\":");
            match content {
                Content::Value(value) => write(json, value),
                Content::Prepared(prepared) => output.prepared(prepared),
                Content::ListOf(prepared) => {
                    json.push(b'[');
                    output.prepared(prepared);
                    output.json().push(b']');
                }
            }
        }
        output.json().push(b'}');
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
        patch.add("/a".to_owned(), 1_i64);
        patch.replace("/b".to_owned(), "x");
        patch.remove("/c".to_owned());
        let expected = r#"[{"op":"add","path":"/a","value":1},{"op":"replace","path":"/b","value":"x"},{"op":"remove","path":"/c"}]"#;
        assert_eq!(String::from_utf8(patch.to_json()).unwrap(), expected);
    }

    /// Whatever stands before and in what is prepared, base64 holds the patch.
    #[test]
    fn base64_of_what_is_prepared_is_that_of_the_patch() {
        for lead in 0..4 {
            for length in 0..7 {
                let prepared = Arc::new(Prepared::new(format!("\"{}\"", "x".repeat(length))));
                let mut patch = Patch::default();
                patch.remove("/".repeat(lead));
                patch.add("/a".to_owned(), Arc::clone(&prepared));
                patch.add("/b".to_owned(), Content::ListOf(prepared));
                let mut base64 = Vec::new();
                patch.to_base64(&mut base64);
                let decoded: Value = serde_json::from_slice(&BASE64_STANDARD.decode(base64).unwrap()).unwrap();
                assert_eq!(decoded, serde_json::from_slice::<Value>(&patch.to_json()).unwrap());
                assert_eq!(decoded[2]["value"][0], "x".repeat(length));
            }
        }
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
