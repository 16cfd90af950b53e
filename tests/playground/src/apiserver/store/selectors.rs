//! Label and field selectors as query parameters and as objects write them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::apiserver::object;
use crate::apiserver::status::{ApiError, ApiResult};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector: every requirement must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// From the query form: `a=b,c!=d,e in (f,g),h,!i`.
    pub(crate) fn parse(text: &str) -> ApiResult<Self> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if !part.is_empty() {
                requirements.push(
                    requirement(part)
                        .ok_or_else(|| ApiError::bad_request(format!("unable to parse requirement: {part}")))?,
                );
            }
        }
        Ok(Self(requirements))
    }

    /// From a `LabelSelector` object (`matchLabels`, `matchExpressions`); an empty one selects everything.
    pub(crate) fn from_object(selector: &Value) -> Self {
        let mut requirements: Vec<Requirement> = object::string_map(&selector["matchLabels"])
            .into_iter()
            .map(|(key, value)| Requirement::In(key, vec![value]))
            .collect();
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = object::strings(&expression["values"]);
            requirements.push(match expression["operator"].as_str().unwrap_or_default() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "DoesNotExist" => Requirement::Absent(key),
                _ => Requirement::Exists(key),
            });
        }
        Self(requirements)
    }

    /// Selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a set of labels (a JSON map or null) is selected.
    pub(crate) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl std::fmt::Display for LabelSelector {
    /// The query form.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, requirement) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => write!(formatter, "{comma}{key}={}", values[0])?,
                Requirement::In(key, values) => write!(formatter, "{comma}{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) => write!(formatter, "{comma}{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => write!(formatter, "{comma}{key}")?,
                Requirement::Absent(key) => write!(formatter, "{comma}!{key}")?,
                Requirement::Greater(key, bound) => write!(formatter, "{comma}{key}>{bound}")?,
                Requirement::Less(key, bound) => write!(formatter, "{comma}{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

impl Requirement {
    fn matches(&self, labels: &Value) -> bool {
        let label = |key: &String| labels.get(key).and_then(Value::as_str);
        let number = |key: &String| label(key).and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(key, values) => label(key).is_some_and(|value| values.iter().any(|known| known == value)),
            Self::NotIn(key, values) => !label(key).is_some_and(|value| values.iter().any(|known| known == value)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
            Self::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
            Self::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(text: &str) -> Option<Requirement> {
    if let Some(key) = text.strip_prefix('!') {
        return valid_key(key.trim()).map(Requirement::Absent);
    }
    if let Some((head, values)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, operator) = head.trim().rsplit_once(char::is_whitespace)?;
        let key = valid_key(key.trim())?;
        return match operator {
            "in" => Some(Requirement::In(key, values)),
            "notin" => Some(Requirement::NotIn(key, values)),
            _ => None,
        };
    }
    if let Some((key, value)) = text.split_once("!=") {
        return Some(Requirement::NotIn(
            valid_key(key.trim())?,
            vec![value.trim().to_owned()],
        ));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Some(Requirement::In(valid_key(key.trim())?, vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = text.split_once('>') {
        return Some(Requirement::Greater(valid_key(key.trim())?, value.trim().parse().ok()?));
    }
    if let Some((key, value)) = text.split_once('<') {
        return Some(Requirement::Less(valid_key(key.trim())?, value.trim().parse().ok()?));
    }
    valid_key(text).map(Requirement::Exists)
}

fn valid_key(key: &str) -> Option<String> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/');
    (!key.is_empty() && key.chars().all(fits)).then(|| key.to_owned())
}

/// A field selector: equality of fields that a resource offers for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<(String, String, bool)>);

impl FieldSelector {
    /// From the query form: `metadata.name=a,status.phase!=Running`.
    pub(crate) fn parse(text: &str) -> ApiResult<Self> {
        let mut requirements = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (field, value, equal) = match part.split_once("!=") {
                Some((field, value)) => (field, value, false),
                None => {
                    let pair = part.split_once("==").or_else(|| part.split_once('='));
                    let (field, value) = pair.ok_or_else(|| {
                        ApiError::bad_request(format!("invalid field selector: {part:?}; can't understand '{part}'"))
                    })?;
                    (field, value, true)
                }
            };
            requirements.push((field.trim().to_owned(), value.trim().to_owned(), equal));
        }
        Ok(Self(requirements))
    }

    /// Refuses fields that the resource does not offer.
    pub(crate) fn check(&self, offered: &BTreeMap<String, String>) -> ApiResult<()> {
        for (field, _, _) in &self.0 {
            if !offered.contains_key(field) {
                let message = format!("field label not supported: {field}");
                return Err(ApiError::bad_request(message));
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that `metadata.name` must have, when that is asked for.
    pub(crate) fn exact_name(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|(field, _, equal)| *equal && field == "metadata.name")
            .map(|(_, value, _)| value.as_str())
    }

    /// `offered` maps a selectable field to its JSON pointer.
    pub(crate) fn matches(&self, object: &Value, offered: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(field, value, equal)| {
            let pointer = offered.get(field).map(String::as_str).unwrap_or_default();
            let found = match object.pointer(pointer) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            (found == *value) == *equal
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_of_every_form() {
        let labels = json!({ "app": "web", "tier": "front", "rank": "7" });
        for (text, selected) in [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, api)", true),
            ("app notin (web,api)", false),
            ("tier", true),
            ("!tier", false),
            ("missing!=x", true),
            ("rank>5,rank<8", true),
            ("", true),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), selected, "{text}");
        }
        assert!(LabelSelector::parse("a b").is_err());
    }

    #[test]
    fn selector_objects() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [{ "key": "tier", "operator": "NotIn", "values": ["back"] }],
        }));
        assert!(selector.matches(&json!({ "app": "web" })));
        assert!(!selector.matches(&json!({ "app": "web", "tier": "back" })));
        assert!(!selector.matches(&Value::Null));
    }

    #[test]
    fn field_selectors_name_unknown_fields() {
        let offered = BTreeMap::from([("metadata.name".to_owned(), "/metadata/name".to_owned())]);
        let selector = FieldSelector::parse("metadata.name=a").unwrap();
        selector.check(&offered).unwrap();
        assert!(selector.matches(&json!({ "metadata": { "name": "a" } }), &offered));
        assert!(
            FieldSelector::parse("spec.x=a")
                .unwrap()
                .check(&offered)
                .unwrap_err()
                .message
                .contains("spec.x")
        );
    }
}
