//! The AdmissionReview (`admission.k8s.io/v1`), read in one pass with the object in it.

use std::ops::Range;
use std::sync::Arc;

use serde::de::{Deserialize, IgnoredAny};
use thiserror::Error;

use crate::patch::{Patch, Prepared, write};
use crate::reader::{MOST_ELEMENTS, Quick, Reader, has_too_much, quick};
use crate::view::{Pod, Text};

/// Longest warning that the API server passes on whole.
const WARNING_CHARACTERS: usize = 250;

/// A review that cannot be answered, because there is no telling what to answer.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// Not an AdmissionReview at all.
    #[error("not an AdmissionReview of admission.k8s.io/v1: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A version that we do not speak.
    #[error("apiVersion {0:?} is not admission.k8s.io/v1")]
    Version(String),
    /// No request in it.
    #[error("request: missing")]
    NoRequest,
    /// A request that has no uid cannot be answered.
    #[error("request.uid: missing")]
    NoUid,
}

/// A review with an object of the kind that the endpoint expects.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a, T: Deserialize<'de>"))]
struct Review<'a, T> {
    #[serde(default)]
    api_version: Option<Text<'a>>,
    #[serde(default = "none")]
    request: Option<Request<'a, T>>,
}

fn none<T>() -> Option<T> {
    None
}

/// What the API server asks.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a, T: Deserialize<'de>"))]
pub struct Request<'a, T> {
    /// Identifies the question; the answer repeats it.
    #[serde(default)]
    pub uid: Option<Text<'a>>,
    /// `CREATE` or `UPDATE`.
    #[serde(default)]
    pub operation: Option<Text<'a>>,
    /// Namespace of the object.
    #[serde(default)]
    pub namespace: Option<Text<'a>>,
    /// Name of the object; absent on a pod that is about to be named.
    #[serde(default)]
    pub name: Option<Text<'a>>,
    /// Whether nothing will be kept.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// Who asks.
    #[serde(default)]
    pub user_info: Option<UserInfo<'a>>,
    /// Options of the request.
    #[serde(default)]
    pub options: Option<Options<'a>>,
    /// The object as it is about to become.
    #[serde(default = "none")]
    pub object: Option<T>,
    /// The object as it is, on UPDATE.
    #[serde(default = "none")]
    pub old_object: Option<T>,
}

/// Who asks.
#[derive(Debug, serde::Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub struct UserInfo<'a> {
    /// Name of the user.
    #[serde(default)]
    pub username: Option<Text<'a>>,
}

/// Options of a request.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub struct Options<'a> {
    /// Name under which the client writes its fields.
    #[serde(default)]
    pub field_manager: Option<Text<'a>>,
}

quick!(Review<T> { api_version, request });
quick!(Request<T> { uid, operation, namespace, name, dry_run, user_info, options, object, old_object });
quick!(UserInfo { username });
quick!(Options { field_manager });

impl<T> Request<'_, T> {
    /// Namespace of the object, empty when it has none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// Name of the object, empty when it has none yet.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Whether nothing will be kept.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run.unwrap_or_default()
    }

    /// Whether the object changes.
    #[must_use]
    pub fn is_update(&self) -> bool {
        self.operation.as_deref() == Some("UPDATE")
    }
}

/// How a review was read.
pub enum Read<'a, T> {
    /// Understood.
    Whole(Request<'a, T>),
    /// The question is clear but not the object: which field, and what is wrong with it.
    Odd(Request<'a, IgnoredAny>, String),
}

/// A member of objects that says who wrote which field when: another matter with every pod, and none of admission's.
const MANAGED_FIELDS: &str = "managedFields";

/// Reads a review.
///
/// # Errors
/// When there is nothing in it to answer.
pub fn read<'a, T: Deserialize<'a> + Quick<'a>>(body: &'a [u8]) -> Result<Read<'a, T>, ReviewError> {
    read_by(Reader::new(body), body)
}

/// Reads a review of a new pod, whose managed fields need not be read.
///
/// # Errors
/// When there is nothing in it to answer.
pub fn read_pod(body: &[u8]) -> Result<Read<'_, Pod<'_>>, ReviewError> {
    read_by(Reader::new(body).without(MANAGED_FIELDS), body)
}

/// What is not looked at in a review of a new pod; `None` where it is read with more care.
pub fn passed_over(body: &[u8]) -> Option<Vec<Range<usize>>> {
    let reader = Reader::new(body).without(MANAGED_FIELDS);
    reader.passed_over::<Review<'_, Pod<'_>>>()
}

fn read_by<'a, T: Deserialize<'a> + Quick<'a>>(reader: Reader<'a>, body: &'a [u8]) -> Result<Read<'a, T>, ReviewError> {
    if let Some(review) = reader.whole::<Review<'a, T>>() {
        return Ok(Read::Whole(request(review)?));
    }
    // Whoever has the last word keeps all that it reads.
    if has_too_much(body) {
        let complaint = format!("more than {MOST_ELEMENTS} elements of lists and maps are not looked through");
        return Ok(Read::Odd(request(serde_json::from_slice(body)?)?, complaint));
    }
    match serde_json::from_slice::<Review<'a, T>>(body) {
        Ok(review) => Ok(Read::Whole(request(review)?)),
        Err(_) => odd::<T>(body),
    }
}

/// The second, slower look at what could not be read: finds the field that is in the way.
fn odd<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Read<'a, T>, ReviewError> {
    let request = request(serde_json::from_slice::<Review<'a, IgnoredAny>>(body)?)?;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let complaint = match serde_path_to_error::deserialize::<_, Review<'a, T>>(&mut deserializer) {
        Ok(_) => "object: not understood".to_owned(),
        Err(error) => {
            let path = error.path().to_string();
            let field = path.strip_prefix("request.object.").unwrap_or(&path);
            let inner = error.inner().to_string();
            let reason = inner.split(" at line ").next().unwrap_or_default();
            format!("{field}: {reason}")
        }
    };
    Ok(Read::Odd(request, complaint))
}

fn request<'a, T>(review: Review<'a, T>) -> Result<Request<'a, T>, ReviewError> {
    let version = review.api_version.as_deref().unwrap_or_default();
    if version != "admission.k8s.io/v1" {
        return Err(ReviewError::Version(version.to_owned()));
    }
    let request = review.request.ok_or(ReviewError::NoRequest)?;
    if request.uid.as_deref().unwrap_or_default().is_empty() {
        return Err(ReviewError::NoUid);
    }
    Ok(request)
}

/// What follows the identifier in an answer. What many answers have in them is put there when it is sent.
#[derive(Debug, Default, PartialEq)]
pub struct Rest {
    json: Vec<u8>,
    prepared: Vec<(usize, Arc<Prepared>)>,
}

impl Rest {
    /// How long it is when it is sent.
    fn length(&self) -> usize {
        let prepared = self.prepared.iter().map(|(_, prepared)| prepared.base64().len());
        self.json.len() + prepared.sum::<usize>()
    }

    /// Bytes that it takes, without what it shares with others.
    #[must_use]
    pub fn size(&self) -> usize {
        self.json.capacity() + self.prepared.capacity() * size_of::<(usize, Arc<Prepared>)>()
    }
}

/// The answer: always allowed, sometimes changed, sometimes with warnings.
///
/// It is written piece by piece: a patch in base64 is long, and has nothing in it that JSON would escape.
#[must_use]
pub fn answer(uid: &str, rest: &Rest) -> Vec<u8> {
    const START: &[u8] = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#;
    let mut json = Vec::with_capacity(START.len() + uid.len() + 2 + rest.length());
    json.extend_from_slice(START);
    write(&mut json, uid);
    let mut written = 0;
    for (position, prepared) in &rest.prepared {
        json.extend_from_slice(&rest.json[written..*position]);
        json.extend_from_slice(prepared.base64().as_bytes());
        written = *position;
    }
    json.extend_from_slice(&rest.json[written..]);
    json
}

/// What follows the identifier in an answer.
#[must_use]
pub fn rest(patch: &Patch, warnings: &[String]) -> Rest {
    let warned = warnings.iter().map(String::len).sum::<usize>();
    let mut rest = Rest {
        json: Vec::with_capacity(patch.own_size() * 4 / 3 + 80 + warned),
        ..Rest::default()
    };
    let json = &mut rest.json;
    json.extend_from_slice(br#","allowed":true"#);
    if !patch.is_empty() {
        json.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
        rest.prepared = patch.to_base64(json);
        json.push(b'"');
    }
    if !warnings.is_empty() {
        json.extend_from_slice(br#","warnings":"#);
        let warnings: Vec<_> = warnings.iter().map(|warning| shortened(warning)).collect();
        write(json, &warnings);
    }
    json.extend_from_slice(b"}}");
    rest
}

/// A warning as a header may carry it: one line, not too long.
fn shortened(warning: &str) -> String {
    let line = warning.replace(|c: char| c.is_control(), " ");
    if line.chars().count() <= WARNING_CHARACTERS {
        return line;
    }
    let start: String = line.chars().take(WARNING_CHARACTERS - 1).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn complaint(body: &str) -> String {
        match read::<Pod<'_>>(body.as_bytes()) {
            Ok(Read::Whole(_)) => "fine".to_owned(),
            Ok(Read::Odd(request, complaint)) => format!("{} odd {complaint}", &*request.uid.unwrap()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tells_what_is_wrong() {
        let wrap = |object: &str| {
            format!(
                r#"{{"apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","object":{object},"new":{{"x":[1]}}}}}}"#
            )
        };
        assert_eq!(
            complaint(&wrap(r#"{"spec":{"containers":[{"name":"a","colour":1}]}}"#)),
            "fine"
        );
        assert_eq!(
            complaint(&wrap(r#"{"spec":{"containers":[{"name":"a"},{"name":7}]}}"#)),
            "u odd spec.containers[1].name: invalid type: integer `7`, expected a string"
        );
        assert_eq!(
            complaint(&wrap(
                r#"{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":true}}}]}}"#
            )),
            "u odd spec.containers[0].livenessProbe.httpGet.port: invalid type: boolean `true`, expected a port number or the name of a port"
        );
        assert!(complaint("{").starts_with("not an AdmissionReview"));
        assert_eq!(complaint(r#"{"apiVersion":"admission.k8s.io/v1"}"#), "request: missing");
        assert_eq!(
            complaint(r#"{"apiVersion":"admission.k8s.io/v1","request":{"object":{}}}"#),
            "request.uid: missing"
        );
        assert_eq!(
            complaint(r#"{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"u"}}"#),
            "apiVersion \"admission.k8s.io/v1beta1\" is not admission.k8s.io/v1"
        );
    }

    #[test]
    fn answers_within_what_headers_may_carry() {
        let warning = format!("{}\r\nsecond line", "é".repeat(400));
        let answer: serde_json::Value =
            serde_json::from_slice(&answer("u", &rest(&Patch::default(), &[warning]))).unwrap();
        let warned = answer["response"]["warnings"][0].as_str().unwrap();
        assert_eq!(warned.chars().count(), WARNING_CHARACTERS);
        assert!(answer["response"].get("patch").is_none());
        assert_eq!(answer["response"]["allowed"], true);
    }
}
