//! Match conditions in CEL, over the request and its objects.

use std::collections::HashMap;
use std::sync::Arc;

use kube::core::cel::KubeCelExt;
use kube::core::cel::cel::objects::{Key, Map};
use kube::core::cel::cel::{Context, Program, Value as Cel};
use serde_json::Value;

/// Compiles an expression, or says why it cannot be. Optional fields (`a.?b`), which Kubernetes has, are refused: the
/// interpreter does not evaluate them.
pub(crate) fn compile(expression: &str) -> Result<Program, String> {
    Program::compile(expression).map_err(|errors| errors.to_string())
}

/// Evaluates a condition over `object`, `oldObject` and `request`.
pub(super) fn holds(program: &Program, variables: &Variables) -> Result<bool, String> {
    let mut context = Context::default().with_all();
    for (name, value) in &variables.0 {
        context.add_variable_from_value(*name, value.clone());
    }
    match program.execute(&context) {
        Ok(Cel::Bool(answer)) => Ok(answer),
        Ok(other) => Err(format!("must evaluate to a boolean, not {:?}", other.type_of())),
        Err(error) => Err(error.to_string()),
    }
}

/// What expressions can name, converted once for each request.
pub(super) struct Variables(Vec<(&'static str, Cel)>);

impl Variables {
    /// `request` is the review's request without the objects.
    pub(super) fn new(object: &Value, old: &Value, request: &Value) -> Self {
        Self(vec![
            ("object", to_cel(object)),
            ("oldObject", to_cel(old)),
            ("request", to_cel(request)),
        ])
    }
}

/// JSON as CEL sees objects whose types it does not know: maps with plain keys, signed integers.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Cel::Int(integer),
            (None, float) => Cel::Float(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(name, value)| (Key::String(Arc::new(name.clone())), to_cel(value)));
            Cel::Map(Map {
                map: Arc::new(entries.collect::<HashMap<_, _>>()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn eval(expression: &str) -> Result<bool, String> {
        let object = json!({
            "metadata": { "namespace": "shop", "labels": { "valence.io/injection": "enabled", "slo": "web" } },
            "spec": { "replicas": 3, "containers": [{ "name": "envoy" }] },
        });
        let request = json!({
            "namespace": "shop", "operation": "CREATE", "dryRun": false,
            "userInfo": { "username": "system:serviceaccount:valence-system:valence", "groups": ["system:nodes"] },
        });
        holds(
            &compile(expression).unwrap(),
            &Variables::new(&object, &Value::Null, &request),
        )
    }

    #[test]
    fn expressions_as_webhook_configurations_use_them() {
        for expression in [
            "object.metadata.namespace == 'shop'",
            "request.namespace == 'shop' && request.operation == 'CREATE'",
            "has(object.metadata.labels) && 'slo' in object.metadata.labels",
            "object.metadata.labels['valence.io/injection'] == 'enabled'",
            "!(request.userInfo.username.startsWith('system:serviceaccount:kube-system:'))",
            "request.userInfo.groups.exists(g, g == 'system:nodes')",
            "object.spec.replicas > 2",
            "oldObject == null",
            "!object.spec.containers.exists(c, c.name == 'other')",
            "!has(object.spec.hostNetwork) || !object.spec.hostNetwork",
        ] {
            assert_eq!(eval(expression), Ok(true), "{expression}");
        }
        assert!(eval("object.spec.missing == 1").is_err());
        assert!(compile("object.").is_err());
        assert!(compile("object.?spec.orValue(1) == 1").is_err());
    }
}
