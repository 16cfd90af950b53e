//! JSON Patch (RFC 6902), built by hand so that it holds only what changes.

use serde::Serialize;
use serde_json::Value;

/// One operation of a patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operation {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

/// Operations in the order in which they apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Patch(Vec<Operation>);

impl Patch {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a member or an element, or replaces a member that is there.
    pub fn add(&mut self, path: String, value: impl Into<Value>) {
        self.push("add", path, Some(value.into()));
    }

    /// Replaces what is there.
    pub fn replace(&mut self, path: String, value: impl Into<Value>) {
        self.push("replace", path, Some(value.into()));
    }

    /// Removes what is there.
    pub fn remove(&mut self, path: String) {
        self.push("remove", path, None);
    }

    /// Adds or replaces, according to whether the member is there.
    pub fn set(&mut self, present: bool, path: String, value: impl Into<Value>) {
        if present {
            self.replace(path, value);
        } else {
            self.add(path, value);
        }
    }

    fn push(&mut self, op: &'static str, path: String, value: Option<Value>) {
        self.0.push(Operation { op, path, value });
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
        patch.add("/a".to_owned(), 1);
        patch.replace("/b".to_owned(), "x");
        patch.remove("/c".to_owned());
        let expected = r#"[{"op":"add","path":"/a","value":1},{"op":"replace","path":"/b","value":"x"},{"op":"remove","path":"/c"}]"#;
        assert_eq!(serde_json::to_string(&patch).unwrap(), expected);
    }

    proptest! {
        /// Whatever a key is, the escaped pointer finds it and nothing else.
        #[test]
        fn any_key_is_reached(key in ".{0,12}", other in ".{0,12}") {
            let mut object = serde_json::json!({ other.clone(): "other" });
            let mut patch = Patch::default();
            patch.add(format!("/{}", token(&key)), "here");
            let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(&patch).unwrap()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
            prop_assert_eq!(object.get(&key).and_then(Value::as_str), Some("here"));
            prop_assert_eq!(object.as_object().unwrap().len(), if key == other { 1 } else { 2 });
        }
    }
}
