//! What names, labels and annotations may look like.

use serde_json::Value;

use crate::apiserver::status::FieldError;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn is_label(text: &str) -> bool {
    let edge =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

/// Name of most objects: parts between dots are labels.
pub(super) fn subdomain(field: &str, name: &str) -> Option<FieldError> {
    let value = Value::from(name);
    if name.len() > 253 {
        return Some(FieldError::invalid(
            field,
            &value,
            "must be no more than 253 characters",
        ));
    }
    (!name.split('.').all(is_label)).then(|| FieldError::invalid(field, &value, SUBDOMAIN))
}

/// Name of namespaces, services and containers.
pub(super) fn label(field: &str, name: &str) -> Option<FieldError> {
    let value = Value::from(name);
    if name.len() > 63 {
        return Some(FieldError::invalid(field, &value, "must be no more than 63 characters"));
    }
    (!is_label(name)).then(|| FieldError::invalid(field, &value, LABEL))
}

fn is_loose(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner)
}

/// Key of a label or an annotation: an optional prefix, a slash, a name.
pub(super) fn qualified(field: &str, key: &str) -> Option<FieldError> {
    let value = Value::from(key);
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if let Some(prefix) = prefix.filter(|prefix| !prefix.split('.').all(is_label)) {
        let detail = format!("prefix part {SUBDOMAIN}");
        return Some(FieldError::invalid(field, &Value::from(prefix), &detail));
    }
    let fits = name.len() <= 63 && is_loose(name);
    (!fits).then(|| FieldError::invalid(field, &value, QUALIFIED))
}

/// Value of a label.
pub(super) fn label_value(field: &str, text: &str) -> Option<FieldError> {
    let value = Value::from(text);
    if text.len() > 63 {
        return Some(FieldError::invalid(field, &value, "must be no more than 63 characters"));
    }
    (!text.is_empty() && !is_loose(text)).then(|| FieldError::invalid(field, &value, LABEL_VALUE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(subdomain("n", "web-1.example").is_none());
        assert!(subdomain("n", "Web").is_some());
        assert!(subdomain("n", "-a").is_some());
        assert!(label("n", "a.b").is_some());
        assert!(qualified("n", "valence.io/optimizer.min-replicas").is_none());
        assert!(qualified("n", "a b").is_some());
        assert!(label_value("n", "").is_none());
        assert!(label_value("n", "a b").is_some());
    }
}
