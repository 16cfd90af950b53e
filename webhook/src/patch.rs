//! JSON Patch (RFC 6902), built by hand so that it holds only what changes.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::blocks::special;

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

    /// It in base64.
    #[must_use]
    pub fn base64(&self) -> &str {
        &self.base64
    }
}

/// Bytes that base64 takes together.
const GROUP: usize = 3;

/// Operations in the order in which they apply, written down as they come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    /// All but the last bracket, and without what is prepared.
    json: String,
    /// What is prepared and where it belongs, each a multiple of [`GROUP`] after the one before.
    prepared: Vec<(usize, Arc<Prepared>)>,
}

/// What an operation puts somewhere.
pub trait Content {
    /// Writes it down.
    fn write(self, patch: &mut Patch);
}

/// A list of one element.
pub struct ListOf<C>(pub C);

impl Content for Arc<Prepared> {
    fn write(self, patch: &mut Patch) {
        let start = patch.prepared.last().map_or(0, |(position, _)| *position);
        while !(patch.json.len() - start).is_multiple_of(GROUP) {
            patch.json.push(' ');
        }
        patch.prepared.push((patch.json.len(), self));
    }
}

impl<C: Content> Content for ListOf<C> {
    fn write(self, patch: &mut Patch) {
        patch.json.push('[');
        self.0.write(patch);
        patch.json.push(']');
    }
}

impl Content for &str {
    fn write(self, patch: &mut Patch) {
        write_text(&mut patch.json, self);
    }
}

impl Content for String {
    fn write(self, patch: &mut Patch) {
        self.as_str().write(patch);
    }
}

macro_rules! content {
    ($($type:ty),*) => {
        $(impl Content for $type {
            fn write(self, patch: &mut Patch) {
                Value::from(self).write(patch);
            }
        })*
    };
}

content!(i64, u16, i32, serde_json::Map<String, Value>);

impl Content for Value {
    fn write(self, patch: &mut Patch) {
        patch.json.push_str(&self.to_string());
    }
}

impl Patch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// The patch as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        if self.is_empty() {
            return b"[]".to_vec();
        }
        let mut json = String::with_capacity(self.size());
        let mut written = 0;
        for (position, prepared) in &self.prepared {
            json.push_str(&self.json[written..*position]);
            json.push_str(&prepared.json);
            written = *position;
        }
        json.push_str(&self.json[written..]);
        json.push(']');
        json.into_bytes()
    }

    /// Appends the patch as JSON in base64, but for what is prepared: that is told with where it belongs.
    pub fn to_base64(&self, base64: &mut Vec<u8>) -> Vec<(usize, Arc<Prepared>)> {
        if self.is_empty() {
            encode(b"[]", base64);
            return Vec::new();
        }
        let (mut written, mut left_out) = (0, Vec::with_capacity(self.prepared.len()));
        for (position, prepared) in &self.prepared {
            encode(&self.json.as_bytes()[written..*position], base64);
            left_out.push((base64.len(), Arc::clone(prepared)));
            written = *position;
        }
        let (groups, rest) = self.json.as_bytes()[written..].as_chunks::<GROUP>();
        encode(groups.as_flattened(), base64);
        encode(&[rest, b"]"].concat(), base64);
        left_out
    }

    /// How long the patch is as JSON.
    #[must_use]
    pub fn size(&self) -> usize {
        let prepared = self.prepared.iter().map(|(_, prepared)| prepared.json.len());
        prepared.sum::<usize>() + self.own_size()
    }

    /// The same without what is prepared.
    #[must_use]
    pub fn own_size(&self) -> usize {
        self.json.len() + 2
    }

    /// Adds a member or an element, or replaces a member that is there.
    pub fn add(&mut self, path: impl AsRef<str>, content: impl Content) {
        self.put("add", path.as_ref(), content);
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: impl AsRef<str>, content: impl Content) {
        self.put("replace", path.as_ref(), content);
    }

    /// Removes what is there.
    pub fn remove(&mut self, path: impl AsRef<str>) {
        self.begin("remove", path.as_ref());
        self.json.push('}');
    }

    /// Adds or replaces, according to whether the member is there.
    pub fn set(&mut self, present: bool, path: impl AsRef<str>, content: impl Content) {
        self.put(if present { "replace" } else { "add" }, path.as_ref(), content);
    }

    /// Where content is written to.
    pub(crate) fn json(&mut self) -> &mut String {
        &mut self.json
    }

    fn put(&mut self, operation: &str, path: &str, content: impl Content) {
        self.begin(operation, path);
        self.json.push_str(",\"value\":");
        content.write(self);
        self.json.push('}');
    }

    fn begin(&mut self, operation: &str, path: &str) {
        if self.is_empty() {
            self.json.reserve(USUAL);
        }
        self.json.push(if self.is_empty() { '[' } else { ',' });
        self.json.push_str("{\"op\":\"");
        self.json.push_str(operation);
        self.json.push_str("\",\"path\":");
        write_text(&mut self.json, path);
    }
}

/// What operations take beside a sidecar, in bytes.
const USUAL: usize = 2048;

/// Appends bytes in base64.
fn encode(bytes: &[u8], base64: &mut Vec<u8>) {
    let start = base64.len();
    base64.resize(start + bytes.len().div_ceil(GROUP) * 4, 0);
    // The slice has the length of the encoded text, so that nothing is left out.
    let written = BASE64_STANDARD.encode_slice(bytes, &mut base64[start..]);
    base64.truncate(start + written.unwrap_or_default());
}

/// Appends a text as JSON.
pub(crate) fn write_text(json: &mut String, text: &str) {
    json.push('"');
    let mut rest = text;
    while let Some(position) = special(rest.as_bytes()) {
        json.push_str(&rest[..position]);
        escape(json, rest.as_bytes()[position]);
        rest = &rest[position + 1..];
    }
    json.push_str(rest);
    json.push('"');
}

/// Appends a character that JSON escapes.
fn escape(json: &mut String, byte: u8) {
    match byte {
        b'\n' => json.push_str("\\n"),
        0..0x20 => json.push_str(&format!("\\u{byte:04x}")),
        byte => {
            json.push('\\');
            json.push(char::from(byte));
        }
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
    let mut token = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        match character {
            '~' => token.push_str("~0"),
            '/' => token.push_str("~1"),
            plain => token.push(plain),
        }
    }
    token
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn writes_the_operations_of_the_standard() {
        let mut patch = Patch::default();
        patch.add("/a", 1_i64);
        patch.replace("/b", "x");
        patch.remove("/c");
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
                patch.add("/a", Arc::clone(&prepared));
                patch.add("/b", ListOf(prepared));
                let (mut base64, mut encoded, mut written) = (Vec::new(), Vec::new(), 0);
                for (position, prepared) in patch.to_base64(&mut base64) {
                    encoded.extend_from_slice(&base64[written..position]);
                    encoded.extend_from_slice(prepared.base64().as_bytes());
                    written = position;
                }
                encoded.extend_from_slice(&base64[written..]);
                let decoded: Value = serde_json::from_slice(&BASE64_STANDARD.decode(encoded).unwrap()).unwrap();
                assert_eq!(decoded, serde_json::from_slice::<Value>(&patch.to_json()).unwrap());
                assert_eq!(decoded[2]["value"][0], "x".repeat(length));
            }
        }
    }

    proptest! {
        /// Any text is written as serde_json writes it, or so that it reads the same.
        #[test]
        fn any_text_is_written(text in "[\"\\\\a-zé\u{0}-\u{1f}]{0,60}") {
            let mut json = String::new();
            write_text(&mut json, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

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
