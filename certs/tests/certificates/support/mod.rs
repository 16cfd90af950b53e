//! The few verbs of a Kubernetes API that certificates need, in memory, behind a `kube::Client`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use valence_certs::Clock;

pub mod handshake;

pub const NAMESPACE: &str = "valence-system";
pub const SECRET: &str = "valence-webhook-certificates";
pub const CONFIGURATION: &str = "valence";
const SECRETS: &str = "/api/v1/namespaces/valence-system/secrets";
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// An API server with Secrets and webhook configurations. Clones share their state.
#[derive(Clone)]
pub struct Api {
    state: Arc<Mutex<State>>,
    version: Arc<watch::Sender<u64>>,
    away: Arc<AtomicBool>,
    pub writes: Arc<AtomicU64>,
    pub conflicts: Arc<AtomicU64>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<String, Value>,
    events: Vec<(u64, String, Value)>,
}

impl Api {
    /// An API with a webhook configuration that has two webhooks and no bundle yet.
    pub fn new() -> Self {
        let api = Self::empty();
        api.put_configuration();
        api
    }

    pub fn empty() -> Self {
        Self {
            state: Arc::default(),
            version: Arc::new(watch::channel(0).0),
            away: Arc::default(),
            writes: Arc::default(),
            conflicts: Arc::default(),
        }
    }

    pub fn put_configuration(&self) {
        let webhook = |name: &str| {
            json!({"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {
                "service": {"namespace": NAMESPACE, "name": "valence-webhook", "path": "/"}}})
        };
        let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration", "metadata": {"name": CONFIGURATION},
            "webhooks": [webhook("pods.valence.io"), webhook("deployments.valence.io")]});
        self.store(&format!("{CONFIGURATIONS}/{CONFIGURATION}"), configuration);
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, NAMESPACE)
    }

    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub fn secret(&self) -> Option<Value> {
        self.state
            .lock()
            .unwrap()
            .objects
            .get(&format!("{SECRETS}/{SECRET}"))
            .cloned()
    }

    pub fn secret_text(&self, key: &str) -> Option<String> {
        let encoded = self.secret()?["data"][key].as_str()?.to_owned();
        Some(String::from_utf8(base64(&encoded)).unwrap())
    }

    pub fn delete_secret(&self) {
        self.delete(&format!("{SECRETS}/{SECRET}"));
    }

    pub fn set_secret_data(&self, data: Value) {
        let mut secret = self.secret().unwrap_or_else(
            || json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": NAMESPACE}}),
        );
        secret["data"] = data;
        self.store(&format!("{SECRETS}/{SECRET}"), secret);
    }

    /// The `caBundle` of each webhook, decoded.
    pub fn bundles(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let Some(configuration) = state.objects.get(&format!("{CONFIGURATIONS}/{CONFIGURATION}")) else {
            return Vec::new();
        };
        let webhooks = configuration["webhooks"].as_array().unwrap();
        let encoded = webhooks
            .iter()
            .map(|webhook| webhook["clientConfig"]["caBundle"].as_str().unwrap_or(""));
        encoded
            .map(|encoded| String::from_utf8(base64(encoded)).unwrap())
            .collect()
    }

    fn store(&self, path: &str, mut object: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        object["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000001");
        let kind = if state.objects.contains_key(path) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let version = state.version;
        state
            .events
            .push((version, path.to_owned(), json!({"type": kind, "object": object})));
        state.objects.insert(path.to_owned(), object.clone());
        drop(state);
        self.version.send_replace(version);
        object
    }

    fn delete(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        let Some(mut object) = state.objects.remove(path) else {
            return;
        };
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state
            .events
            .push((version, path.to_owned(), json!({"type": "DELETED", "object": object})));
        drop(state);
        self.version.send_replace(version);
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        if self.away.load(Ordering::SeqCst) {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or("").to_owned();
        match parts.method {
            Method::GET if query.contains("watch=") => self.watch(&path, &query),
            Method::GET if path == SECRETS || path == CONFIGURATIONS => self.list(&path),
            Method::GET => self.get(&path),
            Method::POST => self.create(&path, &body),
            Method::PUT => self.replace(&path, &body),
            Method::PATCH => self.patch(&path, &body),
            _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn get(&self, path: &str) -> Answer {
        match self.state.lock().unwrap().objects.get(path) {
            Some(object) => success(object),
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    fn list(&self, path: &str) -> Answer {
        let state = self.state.lock().unwrap();
        let inside = state.objects.iter().filter(|(key, _)| key.starts_with(path));
        let items: Vec<_> = inside.map(|(_, object)| object.clone()).collect();
        success(&json!({"kind": "List", "apiVersion": "v1", "items": items,
            "metadata": {"resourceVersion": state.version.to_string()}}))
    }

    fn watch(&self, path: &str, query: &str) -> Answer {
        let version = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
            .unwrap_or("0");
        let start: u64 = version.parse().unwrap_or(0);
        let (api, prefix) = (self.clone(), format!("{path}/"));
        let changes = self.version.subscribe();
        let stream = futures::stream::unfold((start, changes), move |(seen, mut changes)| {
            let (api, prefix) = (api.clone(), prefix.clone());
            async move {
                loop {
                    if let Some((version, line)) = api.next_event(seen, &prefix) {
                        return Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), (version, changes)));
                    }
                    changes.changed().await.ok()?;
                }
            }
        });
        Response::new(StreamBody::new(stream.boxed()).boxed_unsync())
    }

    fn next_event(&self, seen: u64, prefix: &str) -> Option<(u64, String)> {
        let state = self.state.lock().unwrap();
        let mut later = state
            .events
            .iter()
            .filter(|(version, path, _)| *version > seen && path.starts_with(prefix));
        later.next().map(|(version, _, event)| (*version, format!("{event}\n")))
    }

    fn create(&self, collection: &str, body: &[u8]) -> Answer {
        let object: Value = serde_json::from_slice(body).unwrap();
        let path = format!("{collection}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.state.lock().unwrap().objects.contains_key(&path) {
            self.conflicts.fetch_add(1, Ordering::SeqCst);
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        success(&self.store(&path, object))
    }

    fn replace(&self, path: &str, body: &[u8]) -> Answer {
        let object: Value = serde_json::from_slice(body).unwrap();
        let held = self.state.lock().unwrap().objects.get(path).cloned();
        let Some(held) = held else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        assert!(
            object["metadata"]["resourceVersion"].is_string(),
            "a Secret is written with a precondition"
        );
        if held["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            self.conflicts.fetch_add(1, Ordering::SeqCst);
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        self.writes.fetch_add(1, Ordering::SeqCst);
        success(&self.store(path, object))
    }

    fn patch(&self, path: &str, body: &[u8]) -> Answer {
        let patch: json_patch::Patch = serde_json::from_slice(body).unwrap();
        let held = self.state.lock().unwrap().objects.get(path).cloned();
        let Some(mut object) = held else {
            return failure(StatusCode::NOT_FOUND, "NotFound");
        };
        match json_patch::patch(&mut object, &patch) {
            Ok(()) => success(&self.store(path, object)),
            Err(_) => failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        }
    }
}

fn success(object: &Value) -> Answer {
    Response::new(Full::from(object.to_string()).boxed_unsync())
}

fn failure(code: StatusCode, reason: &str) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason,
        "reason": reason, "code": code.as_u16()});
    let mut answer = success(&status);
    *answer.status_mut() = code;
    answer
}

pub fn base64(encoded: &str) -> Vec<u8> {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.decode(encoded).unwrap()
}

/// A clock that only moves when told.
#[derive(Clone)]
pub struct Hand(Arc<AtomicI64>);

impl Hand {
    pub fn at(text: &str) -> Self {
        Self(Arc::new(AtomicI64::new(text.parse::<Timestamp>().unwrap().as_second())))
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub fn advance_hours(&self, hours: i64) {
        self.0.fetch_add(hours * 3600, Ordering::SeqCst);
    }

    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let hand = self.clone();
        Arc::new(move || hand.now())
    }
}
