//! The server as the API server meets it: over TLS, by HTTP/1.1 and HTTP/2.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use support::cluster::{Cluster, Objective};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use valence_webhook::notices::{Notice, channel};
use valence_webhook::{Admission, BOUNDS, Bounds, Metrics, Plans, Settings, serve, serve_with, serve_within};

/// A running server, and how to reach it.
struct Server {
    address: SocketAddr,
    client: Arc<ClientConfig>,
    stop: CancellationToken,
    registry: prometheus::Registry,
    notices: tokio::sync::mpsc::Receiver<Notice>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn certificates() -> (Arc<ServerConfig>, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let server = server
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    (
        Arc::new(server),
        client.with_root_certificates(roots).with_no_client_auth(),
    )
}

async fn start(plans: Arc<dyn Plans>) -> Server {
    start_waiting(plans, 20).await
}

/// With a time in milliseconds for which pods wait for their owners.
async fn start_waiting(plans: Arc<dyn Plans>, owner_wait_milliseconds: u64) -> Server {
    let settings = Settings {
        owner_wait_milliseconds,
        ..Settings::default()
    };
    start_with(plans, settings, |listener, tls, admission, stop| {
        tokio::spawn(serve(listener, tls, admission, stop))
    })
    .await
}

async fn start_with(
    plans: Arc<dyn Plans>,
    settings: Settings,
    run: impl FnOnce(
        TcpListener,
        Arc<ServerConfig>,
        Arc<Admission>,
        CancellationToken,
    ) -> tokio::task::JoinHandle<std::io::Result<()>>,
) -> Server {
    let (tls, client) = certificates();
    let registry = prometheus::Registry::new();
    let (sender, notices) = channel(8);
    let metrics = Metrics::register(&registry).unwrap();
    let admission = Arc::new(Admission::new(plans, settings, metrics, Arc::new(sender)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = run(listener, tls, admission, stop.clone());
    Server {
        address,
        client: Arc::new(client),
        stop,
        registry,
        notices,
        task,
    }
}

/// A server within other bounds than usual.
async fn start_within(bounds: Bounds) -> Server {
    start_with(
        Arc::new(cluster()),
        Settings::default(),
        move |listener, tls, admission, stop| tokio::spawn(serve_within(listener, tls, admission, bounds, stop)),
    )
    .await
}

impl Server {
    async fn connect(&self, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        self.connect_from("127.0.0.1", protocol).await
    }

    async fn connect_from(&self, own: &str, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut config = ClientConfig::clone(&self.client);
        config.alpn_protocols = vec![protocol.to_vec()];
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
            .unwrap()
    }

    async fn http1(&self, request: Request<Body>) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect(b"http/1.1").await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    async fn http2(&self, request: Request<Body>) -> Response<Incoming> {
        let stream = TokioIo::new(self.connect(b"h2").await);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    async fn ask(&self, path: &str, review: &Value) -> Value {
        let response = self.http1(question(path, review.to_string())).await;
        assert_eq!(response.status(), StatusCode::OK);
        serde_json::from_slice(&body(response).await).unwrap()
    }

    fn metrics(&self) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap()
    }
}

fn question(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

async fn body(response: Response<Incoming>) -> Bytes {
    axum::body::to_bytes(Body::new(response.into_body()), usize::MAX)
        .await
        .unwrap()
}

fn cluster() -> Cluster {
    Cluster {
        namespace_labels: [("valence.io/injection".to_owned(), "enabled".to_owned())].into(),
        objectives: vec![Objective {
            slo: "slo-webapps".to_owned(),
            selector: [("slo".to_owned(), "slo-webapps".to_owned())].into(),
            percentile: 99,
            response_time_seconds: 0.1,
        }],
        deployments: vec![json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"slo": "slo-webapps"}, "annotations": {"valence.io/optimizer.configure": "true"}},
            "spec": {"selector": {}, "template": {}},
        })],
        plans: serde_json::from_value(json!({"web": {"replicas": 4}})).unwrap(),
        ..Cluster::default()
    }
}

fn pod(host_network: bool) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u1", "operation": "CREATE", "namespace": "shop", "dryRun": false,
        "object": {
            "metadata": {
                "generateName": "web-5d4f8c7b9-", "labels": {"pod-template-hash": "5d4f8c7b9"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f8c7b9", "controller": true}],
            },
            "spec": {"hostNetwork": host_network, "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}]},
        },
    }})
}

fn scale(uid: &str) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": uid, "operation": "UPDATE", "namespace": "shop", "name": "web",
        "userInfo": {"username": "ann"}, "options": {"fieldManager": "kubectl-scale"},
        "object": {"metadata": {"name": "web"}, "spec": {"replicas": 9}},
        "oldObject": {"metadata": {"name": "web"}, "spec": {"replicas": 4}},
    }})
}

#[tokio::test]
async fn answers_over_both_versions_of_http() {
    let server = start(Arc::new(cluster())).await;
    let first = server
        .http1(question("/mutate/deployments/scale", scale("u1").to_string()))
        .await;
    let second = server
        .http2(question("/mutate/deployments/scale", scale("u2").to_string()))
        .await;
    for (response, uid) in [(first, "u1"), (second, "u2")] {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/json");
        let review: Value = serde_json::from_slice(&body(response).await).unwrap();
        assert_eq!(review["response"]["uid"], uid);
        assert_eq!(review["response"]["patchType"], "JSONPatch");
        assert!(
            review["response"]["warnings"][0]
                .as_str()
                .unwrap()
                .contains("4 replicas instead of 9")
        );
    }
    let metrics = server.metrics();
    let counted = r#"valence_admission_reviews_total{dry_run="false",kind="deployments/scale",outcome="changed"} 2"#;
    assert!(metrics.contains(counted), "{metrics}");
    let overrides = r#"valence_admission_overrides_total{manager="kubectl-scale",user="ann"} 2"#;
    assert!(metrics.contains(overrides), "{metrics}");
}

#[tokio::test]
async fn refuses_what_it_cannot_answer() {
    let server = start(Arc::new(cluster())).await;
    let malformed = server.http1(question("/mutate/pods", "{\"kind\":")).await;
    assert_eq!(malformed.status(), StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&body(malformed).await).starts_with("not an AdmissionReview"));
    let elsewhere = server.http1(question("/mutate/secrets", "{}")).await;
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    let get = Request::get("/mutate/pods")
        .header("host", "localhost")
        .body(Body::empty())
        .unwrap();
    assert_eq!(server.http1(get).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    let huge = server
        .http2(question(
            "/mutate/pods",
            vec![b' '; valence_webhook::MOST_BODY_BYTES + 1],
        ))
        .await;
    assert_eq!(huge.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn odd_objects_are_admitted_with_a_warning_that_names_the_field() {
    let server = start(Arc::new(cluster())).await;
    let mut review = pod(false);
    review["request"]["object"]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!("eighty");
    let answer = server.ask("/mutate/pods", &review).await;
    assert_eq!(answer["response"]["allowed"], true);
    assert!(answer["response"].get("patch").is_none());
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("spec.containers[0].ports[0].containerPort"),
        "{warning}"
    );
}

#[tokio::test]
async fn tells_the_owner_unless_it_is_a_dry_run() {
    let mut server = start(Arc::new(cluster())).await;
    let mut dry = pod(true);
    dry["request"]["dryRun"] = json!(true);
    let answer = server.ask("/mutate/pods", &dry).await;
    assert!(
        answer["response"]["warnings"][0]
            .as_str()
            .unwrap()
            .contains("hostNetwork")
    );
    server.ask("/mutate/pods", &pod(true)).await;
    let notice = server.notices.try_recv().unwrap();
    assert_eq!(
        (notice.kind, notice.name.as_str(), notice.reason.name()),
        ("Deployment", "web", "InjectionSkipped")
    );
    assert!(server.notices.try_recv().is_err());
}

/// Whoever reaches the port can make up objects; Events are written only of those that are there and opted in.
#[tokio::test]
async fn nothing_is_told_of_what_is_not_ours() {
    let mut server = start(Arc::new(cluster())).await;
    let mut elsewhere = pod(true);
    elsewhere["request"]["namespace"] = json!("kube-system");
    elsewhere["request"]["object"]["metadata"]["annotations"] = json!({"valence.io/injection": "enabled"});
    let mut made_up = pod(true);
    made_up["request"]["object"]["metadata"]["ownerReferences"][0]["name"] = json!("made-up-5d4f8c7b9");
    let mut alone = elsewhere.clone();
    alone["request"]["object"]["metadata"] =
        json!({"name": "alone", "annotations": {"valence.io/injection": "enabled"}});
    for review in [elsewhere, made_up, alone] {
        let answer = server.ask("/mutate/pods", &review).await;
        let warning = answer["response"]["warnings"][0].as_str();
        assert!(warning.is_some(), "the caller is told: {answer}");
    }
    assert_eq!(server.notices.try_recv().ok(), None);
    assert!(server.metrics().contains("valence_admission_notices_dropped_total 0"));
}

/// Four addresses hold all connections of both protocols, and have asked something on each. Whoever comes gets its answer,
/// and a connection on which reviews are answered is kept.
#[tokio::test]
async fn whoever_holds_all_connections_keeps_nobody_else_out() {
    let server = start_within(Bounds {
        connections_each: 4,
        connections: 8,
        ..BOUNDS
    })
    .await;
    let stream = TokioIo::new(server.connect_from("127.0.0.9", b"http/1.1").await);
    let (mut honest, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let ask = || question("/mutate/deployments/scale", scale("u1").to_string());
    let answer = honest.send_request(ask()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    body(answer).await;
    let mut held = Vec::new();
    for host in 2..=5 {
        for _ in 0..3 {
            let stream = TokioIo::new(server.connect_from(&format!("127.0.0.{host}"), b"h2").await);
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
            tokio::spawn(connection);
            let refused = sender.send_request(question("/mutate/pods", "{}")).await.unwrap();
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
            held.push(sender);
        }
    }
    assert_eq!(server.http1(ask()).await.status(), StatusCode::OK, "a newcomer");
    honest.ready().await.unwrap();
    assert_eq!(honest.send_request(ask()).await.unwrap().status(), StatusCode::OK);
    support::until("the connections that were too many are closed", async || {
        (held.iter().filter(|sender| !sender.is_closed()).count() <= 7).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_review_for_which_there_is_no_room_is_not_read() {
    let server = start_within(Bounds { bytes: 1000, ..BOUNDS }).await;
    let refused = server.http1(question("/mutate/pods", pod(false).to_string())).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let counted = r#"valence_admission_reviews_total{dry_run="false",kind="pods",outcome="shed"} 1"#;
    assert!(server.metrics().contains(counted), "{}", server.metrics());
}

/// A cluster whose Deployments are seen by the watch only after a while.
struct Late(Cluster, AtomicBool, AtomicUsize);

macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> $result { self.0.$name($($argument),*) })*
    };
}

type Found<T> = Vec<Arc<T>>;

impl Plans for Late {
    fn deployment_of_replica_set(&self, namespace: &str, replica_set: &str) -> Option<String> {
        self.2.fetch_add(1, Ordering::SeqCst);
        self.0.deployment_of_replica_set(namespace, replica_set)
    }

    fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<k8s_openapi::api::apps::v1::Deployment>> {
        self.1
            .load(Ordering::SeqCst)
            .then(|| self.0.deployment(namespace, name))
            .flatten()
    }

    pass_on! {
        synced() -> bool;
        namespace_labels(namespace: &str) -> Option<Arc<std::collections::BTreeMap<String, String>>>;
        deployments(namespace: &str) -> Found<k8s_openapi::api::apps::v1::Deployment>;
        objectives(namespace: &str, labels: &std::collections::BTreeMap<String, String>) -> Vec<valence_webhook::LatencyObjective>;
        plan(namespace: &str, deployment: &str) -> Option<Arc<valence_webhook::Plan>>;
        services(namespace: &str) -> Found<k8s_openapi::api::core::v1::Service>;
        selected_pods(namespace: &str, selector: &[(&str, &str)]) -> Vec<k8s_openapi::api::core::v1::Pod>;
        limit_ranges(namespace: &str) -> Found<k8s_openapi::api::core::v1::LimitRange>;
        resource_quotas(namespace: &str) -> Found<k8s_openapi::api::core::v1::ResourceQuota>;
        horizontal_pod_autoscalers(namespace: &str) -> Found<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>;
        active_vertical_pod_autoscaler(namespace: &str, deployment: &str) -> Option<String>;
    }
}

#[tokio::test]
async fn a_pod_waits_for_its_deployment_to_be_seen() {
    let late = Arc::new(Late(cluster(), AtomicBool::new(false), AtomicUsize::new(0)));
    let hasty = start(Arc::clone(&late) as Arc<dyn Plans>).await;
    let never = hasty.ask("/mutate/pods", &pod(false)).await;
    assert!(
        never["response"].get("patch").is_none(),
        "a Deployment that does not appear keeps no pod back"
    );
    let patient = start_waiting(Arc::clone(&late) as Arc<dyn Plans>, 60_000).await;
    let review = pod(false);
    let (answer, ()) = tokio::join!(patient.ask("/mutate/pods", &review), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        late.1.store(true, Ordering::SeqCst);
    });
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
}

/// Its owner is looked for again and again, but what it asks is not read and decided again and again.
#[tokio::test]
async fn a_pod_that_waits_is_decided_about_once() {
    let late = Arc::new(Late(cluster(), AtomicBool::new(false), AtomicUsize::new(0)));
    let server = start_waiting(Arc::clone(&late) as Arc<dyn Plans>, 300).await;
    server.ask("/mutate/pods", &pod(false)).await;
    let asked = late.2.load(Ordering::SeqCst);
    assert!((1..=3).contains(&asked), "the ReplicaSet was looked up {asked} times");
}

#[tokio::test]
async fn requests_in_progress_are_answered_when_the_server_stops() {
    let (arrived, arrival) = tokio::sync::oneshot::channel();
    let arrived = Arc::new(std::sync::Mutex::new(Some(arrived)));
    let release = CancellationToken::new();
    let gate = release.clone();
    let server = start_with(
        Arc::new(cluster()),
        Settings::default(),
        move |listener, tls, _, stop| {
            let slow = move |_, _| {
                let (arrived, gate) = (Arc::clone(&arrived), gate.clone());
                async move {
                    arrived.lock().unwrap().take().unwrap().send(()).unwrap();
                    gate.cancelled().await;
                    Response::new(Body::from("answered"))
                }
            };
            tokio::spawn(serve_with(listener, tls, slow, BOUNDS, stop))
        },
    )
    .await;
    let response = server.http2(question("/slow", Body::empty()));
    let stopping = async {
        arrival.await.unwrap();
        server.stop.cancel();
        support::until("no new connections", async || {
            TcpStream::connect(server.address).await.err()
        })
        .await;
        release.cancel();
    };
    let (response, ()) = tokio::join!(response, stopping);
    assert_eq!(body(response).await, "answered");
    server.task.await.unwrap().unwrap();
}
