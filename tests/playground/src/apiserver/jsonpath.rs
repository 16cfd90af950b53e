//! Kubernetes' JSON paths (`.status.conditions[?(@.type=="Ready")].status`).

use serde_json::Value;

/// The first value at a path.
pub(crate) fn first(object: &Value, path: &str) -> Option<Value> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}');
    // Most paths are plain fields.
    let plain = path.trim_start_matches('.');
    if plain
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-'))
    {
        let mut found = object;
        for part in plain.split('.') {
            found = found.get(part)?;
        }
        return Some(found.clone());
    }
    let path = if path.starts_with('.') || path.starts_with('[') {
        format!("${path}")
    } else {
        format!("$.{path}")
    };
    // Kubernetes escapes dots in names by a backslash.
    let path = escaped_dots(&path);
    jsonpath_rust::query::js_path_vals(&path, object)
        .ok()?
        .first()
        .map(|value| (*value).clone())
}

/// `.a\.b/c` becomes `['a.b/c']`.
fn escaped_dots(path: &str) -> String {
    if !path.contains("\\.") {
        return path.to_owned();
    }
    let guarded = path.replace("\\.", "\u{0}");
    let parts = guarded.split('.').map(|part| {
        if part.contains('\u{0}') {
            format!("['{}']", part.replace('\u{0}', "."))
        } else {
            format!(".{part}")
        }
    });
    let joined: String = parts.collect();
    joined.trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn paths() {
        let object = json!({
            "spec": { "replicas": 3 },
            "metadata": { "annotations": { "a.b/c": "x" } },
            "status": { "conditions": [{ "type": "Other", "status": "False" }, { "type": "Ready", "status": "True" }] },
            "list": [{ "name": "first" }, { "name": "second" }],
        });
        assert_eq!(first(&object, ".spec.replicas"), Some(json!(3)));
        assert_eq!(
            first(&object, ".status.conditions[?(@.type==\"Ready\")].status"),
            Some(json!("True"))
        );
        assert_eq!(first(&object, ".list[1].name"), Some(json!("second")));
        assert_eq!(first(&object, ".list[*].name"), Some(json!("first")));
        assert_eq!(first(&object, ".metadata.annotations.a\\.b/c"), Some(json!("x")));
        assert_eq!(first(&object, ".spec.missing"), None);
    }
}
