//! The selector of a ServiceLevelObjective: a plain label map, or `matchLabels` and `matchExpressions`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A selector over the labels of Deployments, kept as it was written.
///
/// Two forms are accepted: `{slo: slo-webapps}`, and the one of Deployments,
/// `{matchLabels: {...}, matchExpressions: [...]}`. Ask [`Selector::compile`] for one that matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Selector(pub BTreeMap<String, Value>);

/// A selector that matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompiledSelector {
    equal: BTreeMap<String, String>,
    expressions: Vec<Expression>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

/// How an expression compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Why a selector cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SelectorError {
    /// The field below `selector`, empty for the selector itself.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Selector {
    /// Reads the selector in either form.
    ///
    /// # Errors
    /// When it selects nothing by being empty, or a value has the wrong type.
    pub fn compile(&self) -> Result<CompiledSelector, SelectorError> {
        if self.0.is_empty() {
            return Err(error("", "must name at least one label"));
        }
        let compiled = if self.is_structured() {
            self.structured()?
        } else {
            CompiledSelector {
                equal: labels("", &self.0)?,
                expressions: Vec::new(),
            }
        };
        if compiled.equal.is_empty() && compiled.expressions.is_empty() {
            return Err(error("", "must name at least one label"));
        }
        Ok(compiled)
    }

    /// Whether this is the form with `matchLabels` and `matchExpressions`; a label may bear these names too, but its
    /// value would be a string.
    fn is_structured(&self) -> bool {
        self.0
            .iter()
            .any(|(key, value)| (key == "matchLabels" || key == "matchExpressions") && !value.is_string())
    }

    fn structured(&self) -> Result<CompiledSelector, SelectorError> {
        let mut compiled = CompiledSelector::default();
        for (key, value) in &self.0 {
            match (key.as_str(), value) {
                ("matchLabels", Value::Object(map)) => {
                    compiled.equal = labels("matchLabels.", map)?;
                }
                ("matchExpressions", Value::Array(list)) => {
                    compiled.expressions = list.iter().enumerate().map(expression).collect::<Result<_, _>>()?;
                }
                ("matchLabels", _) => return Err(error(key, "must be a map of labels")),
                ("matchExpressions", _) => return Err(error(key, "must be a list of expressions")),
                _ => {
                    return Err(error(
                        key,
                        "a plain label cannot stand beside matchLabels or matchExpressions",
                    ));
                }
            }
        }
        Ok(compiled)
    }
}

fn labels<'a>(
    prefix: &str,
    map: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> Result<BTreeMap<String, String>, SelectorError> {
    map.into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => Ok((key.clone(), text.clone())),
            _ => Err(error(
                &format!("{prefix}{key}"),
                &format!("the value of a label must be a string, not {value}"),
            )),
        })
        .collect()
}

fn expression((index, value): (usize, &Value)) -> Result<Expression, SelectorError> {
    let field = format!("matchExpressions[{index}]");
    let expression = Expression::deserialize(value).map_err(|problem| error(&field, &problem.to_string()))?;
    let wants_values = matches!(expression.operator, Operator::In | Operator::NotIn);
    if wants_values == expression.values.is_empty() {
        let problem = if wants_values {
            "must list a value for In and NotIn"
        } else {
            "must be empty for Exists and DoesNotExist"
        };
        return Err(error(&format!("{field}.values"), problem));
    }
    Ok(expression)
}

fn error(field: &str, problem: &str) -> SelectorError {
    SelectorError {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}

impl CompiledSelector {
    /// Whether labels satisfy every part of the selector.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.equal.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| expression.matches(labels))
    }
}

impl Expression {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            // As in Kubernetes, a label that is absent is not in any list.
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl JsonSchema for Selector {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Selector".into()
    }

    /// The labels of the plain form are unknown fields to the schema, which is what a structural schema offers for a
    /// union of a map and an object.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [{
                "rule": "!(has(self.matchLabels) || has(self.matchExpressions)) \
                    || (has(self.matchLabels) && size(self.matchLabels) > 0) \
                    || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
                "message": "must name at least one label"
            }],
            "properties": {
                "matchLabels": {
                    "description": "Labels that a Deployment must carry with exactly these values.",
                    "type": "object",
                    "additionalProperties": { "type": "string" }
                },
                "matchExpressions": {
                    "description": "Requirements on labels; all of them must hold.",
                    "type": "array",
                    "maxItems": 32,
                    "items": {
                        "type": "object",
                        "required": ["key", "operator"],
                        "x-kubernetes-validations": [{
                            "rule": "(self.operator == 'In' || self.operator == 'NotIn') \
                                == (has(self.values) && size(self.values) > 0)",
                            "message": "values are for In and NotIn, and for these at least one"
                        }],
                        "properties": {
                            "key": { "description": "The label.", "type": "string", "minLength": 1 },
                            "operator": {
                                "description": "How the label is compared: In, NotIn, Exists or DoesNotExist.",
                                "type": "string",
                                "enum": ["In", "NotIn", "Exists", "DoesNotExist"]
                            },
                            "values": {
                                "description": "Values for In and NotIn; left out for Exists and DoesNotExist.",
                                "type": "array",
                                "items": { "type": "string" }
                            }
                        }
                    }
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn selector(value: Value) -> Selector {
        serde_json::from_value(value).unwrap()
    }

    fn labels_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn both_forms_select_the_same() {
        let carries = labels_of(&[("app", "web"), ("slo", "slo-webapps")]);
        for value in [
            json!({"slo": "slo-webapps"}),
            json!({"matchLabels": {"slo": "slo-webapps"}}),
        ] {
            let compiled = selector(value).compile().unwrap();
            assert!(compiled.matches(&carries));
            assert!(!compiled.matches(&labels_of(&[("slo", "other")])));
            assert!(!compiled.matches(&BTreeMap::new()));
        }
    }

    #[test]
    fn expressions_follow_kubernetes() {
        let compiled = selector(json!({"matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["web", "api"]},
            {"key": "canary", "operator": "DoesNotExist"},
            {"key": "zone", "operator": "NotIn", "values": ["a"]},
            {"key": "app", "operator": "Exists"},
        ]}))
        .compile()
        .unwrap();
        assert!(compiled.matches(&labels_of(&[("tier", "api"), ("app", "x")])));
        assert!(!compiled.matches(&labels_of(&[("tier", "api"), ("app", "x"), ("canary", "")])));
        assert!(!compiled.matches(&labels_of(&[("tier", "api"), ("app", "x"), ("zone", "a")])));
        assert!(!compiled.matches(&labels_of(&[("tier", "batch"), ("app", "x")])));
        assert!(!compiled.matches(&labels_of(&[("tier", "api")])));
    }

    #[test]
    fn errors_name_the_field() {
        for (value, field) in [
            (json!({}), ""),
            (json!({"matchLabels": {}}), ""),
            (json!({"slo": 5}), "slo"),
            (json!({"matchLabels": {"slo": true}}), "matchLabels.slo"),
            (json!({"matchLabels": {"a": "b"}, "slo": "x"}), "slo"),
            (json!({"matchLabels": ["a"]}), "matchLabels"),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
                "matchExpressions[0].values",
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Like"}]}),
                "matchExpressions[0]",
            ),
        ] {
            assert_eq!(selector(value.clone()).compile().unwrap_err().field, field, "{value}");
        }
    }

    #[test]
    fn a_label_called_match_labels_is_a_label() {
        let compiled = selector(json!({"matchLabels": "yes"})).compile().unwrap();
        assert!(compiled.matches(&labels_of(&[("matchLabels", "yes")])));
    }
}
