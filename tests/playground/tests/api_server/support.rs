//! A server for each test, a webhook to be called by it, and objects to try it with.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use valence_playground::apiserver::{Options, Server, User};
use valence_playground::raw;

/// A server in a folder of its own.
pub struct Cluster {
    pub server: Server,
    pub client: Client,
    pub directory: std::path::PathBuf,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let directory = std::env::temp_dir().join(format!("api-server-{:016x}", rand::random::<u64>()));
        let mut options = Options::in_directory(&directory);
        change(&mut options);
        let server = Server::start(options).await.unwrap();
        // Without retries, so that what the server answers is what a test sees.
        let mut config = server.client_config(&User::administrator()).unwrap();
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        Self {
            server,
            client,
            directory,
        }
    }

    /// Objects of a kind in the namespace `default`.
    pub fn api(&self, api_version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        self.api_in("default", api_version, kind, plural)
    }

    pub fn api_in(&self, namespace: &str, api_version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &resource(api_version, kind, plural))
    }

    pub fn cluster_api(&self, api_version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(api_version, kind, plural))
    }

    pub fn deployments(&self) -> Api<DynamicObject> {
        self.api("apps/v1", "Deployment", "deployments")
    }

    pub fn pods(&self) -> Api<DynamicObject> {
        self.api("v1", "Pod", "pods")
    }

    /// A raw request: status, body and `Warning` headers.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> (u16, Value, Vec<String>) {
        let headers = [("content-type", content_type)];
        let answer = raw::ask(&self.client, method, path, &headers, body).await.unwrap();
        (answer.code, answer.body, answer.warnings)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

pub fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

pub async fn create(api: &Api<DynamicObject>, value: Value) -> DynamicObject {
    api.create(&PostParams::default(), &object(value)).await.unwrap()
}

pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": 2, "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [{
                "name": "app", "image": "app:1", "resources": { "requests": { "cpu": "500m" } },
            }] } },
        },
    })
}

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "containers": [{
            "name": "app", "image": "app:1", "resources": { "requests": { "cpu": "500m", "memory": "64Mi" } },
        }] },
    })
}

/// The status of a refusal.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, kube::Error>) -> kube::core::Status {
    match outcome.unwrap_err() {
        kube::Error::Api(status) => *status,
        other => panic!("not an answer of the API: {other}"),
    }
}

/// Waits for something that the server does in the background.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..400 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("never happened: {what}");
}

type Answer = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

/// An admission webhook over HTTPS.
pub struct Webhook {
    pub address: std::net::SocketAddr,
    /// PEM, base64: what `caBundle` takes.
    pub bundle: String,
    /// The requests of the reviews that it was asked.
    pub asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    /// `answer` makes the fields of the response (`allowed` is true unless it says otherwise) from the request.
    pub async fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        use base64::Engine;
        let authority = {
            let mut params = rcgen::CertificateParams::default();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
        };
        let names = vec!["hook.default.svc".to_owned(), "127.0.0.1".to_owned()];
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &authority)
            .unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = Self {
            address: socket.local_addr().unwrap(),
            bundle: base64::engine::general_purpose::STANDARD.encode(authority.pem()),
            asked: Arc::default(),
        };
        tokio::spawn(serve(socket, config, webhook.asked.clone(), Arc::new(answer)));
        webhook
    }

    /// One entry of `webhooks`, reached by URL.
    pub fn entry(&self, name: &str, resources: &[&str], operations: &[&str]) -> Value {
        json!({
            "name": name,
            "clientConfig": { "url": format!("https://{}/mutate", self.address), "caBundle": self.bundle },
            "rules": [{
                "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources, "operations": operations,
            }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        })
    }

    pub fn count(&self) -> usize {
        self.asked.lock().len()
    }
}

async fn serve(
    socket: tokio::net::TcpListener,
    config: rustls::ServerConfig,
    asked: Arc<Mutex<Vec<Value>>>,
    answer: Answer,
) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    while let Ok((stream, _)) = socket.accept().await {
        let (acceptor, asked, answer) = (acceptor.clone(), asked.clone(), answer.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let (asked, answer) = (asked.clone(), answer.clone());
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let review: Value = serde_json::from_slice(&body).unwrap();
                    asked.lock().push(review["request"].clone());
                    let mut response = answer(&review["request"]);
                    response["uid"] = review["request"]["uid"].clone();
                    if response["allowed"].is_null() {
                        response["allowed"] = true.into();
                    }
                    let review =
                        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
                    Ok::<_, hyper::Error>(http::Response::new(Full::new(Bytes::from(review.to_string()))))
                }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A response that carries a JSON Patch.
pub fn patch(operations: Value) -> Value {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({ "patchType": "JSONPatch", "patch": encoded })
}

pub async fn configure(cluster: &Cluster, webhooks: Vec<Value>) {
    let api = cluster.cluster_api(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    );
    let name = format!("hooks-{}", api.list(&Default::default()).await.unwrap().items.len());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": name }, "webhooks": webhooks,
    });
    assert_eq!(create(&api, configuration).await.name_any(), name);
}
