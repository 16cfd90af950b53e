//! What a request asks for: the parts of its path and its query.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, Method};
use parking_lot::Mutex;

use super::Accepted;
use crate::apiserver::identity::User;
use crate::apiserver::status::{ApiError, ApiResult};

/// The resource that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    /// Reads `/api/VERSION/...` and `/apis/GROUP/VERSION/...`; `None` for paths that name no resource.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/').map(decoded);
        let mut target = Self::default();
        match parts.next()?.as_str() {
            "api" => {}
            "apis" => target.group = parts.next()?,
            _ => return None,
        }
        target.version = parts.next()?;
        let rest: Vec<String> = parts.collect();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let text = |part: &&str| Some((*part).to_owned());
        match rest.as_slice() {
            [] => return None,
            // A namespace itself, and its own subresources.
            ["namespaces"] => target.plural = "namespaces".into(),
            ["namespaces", name] => {
                target.plural = "namespaces".into();
                target.name = text(name);
            }
            ["namespaces", name, subresource @ ("status" | "finalize")] => {
                target.plural = "namespaces".into();
                target.name = text(name);
                target.subresource = text(subresource);
            }
            ["namespaces", namespace, plural, rest @ ..] => {
                target.namespace = text(namespace);
                target.plural = (*plural).into();
                target.name = rest.first().and_then(text);
                target.subresource = (rest.len() > 1).then(|| rest[1..].join("/"));
            }
            [plural, rest @ ..] => {
                target.plural = (*plural).into();
                target.name = rest.first().and_then(text);
                target.subresource = (rest.len() > 1).then(|| rest[1..].join("/"));
            }
        }
        Some(target)
    }
}

/// One request, read completely.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) user: User,
    pub(crate) accepted: Accepted,
    warnings: Mutex<Vec<String>>,
}

impl Request {
    pub(crate) fn new(parts: http::request::Parts, body: Bytes, user: User) -> Self {
        let query = parse_query(parts.uri.query().unwrap_or_default());
        let accepted = Accepted::from_headers(&parts.headers);
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query,
            headers: parts.headers,
            body,
            user,
            accepted,
            warnings: Mutex::default(),
        }
    }

    /// A query parameter; empty counts as absent.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.query
            .get(name)
            .is_some_and(|value| matches!(value.as_str(), "" | "true" | "1"))
    }

    pub(crate) fn dry_run(&self) -> ApiResult<bool> {
        match self.query("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(ApiError::bad_request(format!(
                "Invalid value: \"{other}\": dryRun: Unsupported value: \"{other}\": supported values: \"All\""
            ))),
        }
    }

    /// Who writes, for managed fields: the parameter, else the first word of the user agent.
    pub(crate) fn field_manager(&self) -> String {
        if let Some(manager) = self.query("fieldManager") {
            return manager.to_owned();
        }
        let agent = self
            .headers
            .get(http::header::USER_AGENT)
            .and_then(|value| value.to_str().ok());
        agent
            .and_then(|agent| agent.split('/').next())
            .filter(|name| !name.is_empty())
            .unwrap_or("unknown")
            .to_owned()
    }

    /// The media type of the body, without parameters.
    pub(crate) fn content_type(&self) -> &str {
        let value = self
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        value
            .unwrap_or("application/json")
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
    }

    /// Adds a `Warning` header to the answer.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }
}

fn parse_query(query: &str) -> HashMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
        })
        .collect()
}

/// Resolves `%xx`.
fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parts(path: &str) -> (String, Option<String>, String, Option<String>, Option<String>) {
        let target = Target::parse(path).unwrap();
        (
            target.group,
            target.namespace,
            target.plural,
            target.name,
            target.subresource,
        )
    }

    #[test]
    fn paths_name_resources() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            parts("/api/v1/namespaces/a"),
            (String::new(), None, "namespaces".into(), some("a"), None)
        );
        assert_eq!(
            parts("/apis/apps/v1/namespaces/a/deployments/b/scale"),
            ("apps".into(), some("a"), "deployments".into(), some("b"), some("scale"))
        );
        assert_eq!(
            parts("/apis/apps/v1/deployments"),
            ("apps".into(), None, "deployments".into(), None, None)
        );
        assert_eq!(
            parts("/api/v1/namespaces/a/status"),
            (String::new(), None, "namespaces".into(), some("a"), some("status"))
        );
        assert_eq!(Target::parse("/api/v1"), None);
        assert_eq!(Target::parse("/version"), None);
    }

    #[test]
    fn queries_are_decoded() {
        let query = parse_query("labelSelector=a%3Db%2Cc&watch=true&x=1+2");
        assert_eq!(query["labelSelector"], "a=b,c");
        assert_eq!(query["x"], "1 2");
    }
}
