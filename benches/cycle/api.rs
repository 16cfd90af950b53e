//! An API server that keeps what it is given, as far as the recommender asks it: over HTTP, from a thread of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use valence::cache::Cluster;
use valence::cache::{follow, keep};

use super::cluster;

/// A server that is running.
pub struct Server {
    address: SocketAddr,
}

/// What it has.
struct Store {
    objects: Mutex<HashMap<String, Value>>,
    usage: Vec<Bytes>,
    /// Who watches its Recommendations.
    watching: Option<Arc<Cluster>>,
}

impl Server {
    /// Starts it with these objects; what is written of Recommendations reaches the caches as it does by their watch.
    pub fn start(objects: Vec<(String, Value)>, watching: Option<Arc<Cluster>>) -> Self {
        let store = Arc::new(Store {
            objects: Mutex::new(objects.into_iter().collect()),
            usage: (0..cluster::NAMESPACES)
                .map(|number| cluster::usage(number).into())
                .collect(),
            watching,
        });
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                sender
                    .send(listener.local_addr().expect("an address"))
                    .expect("whoever started this");
                accept(listener, store).await;
            });
        });
        Self {
            address: receiver.recv().expect("the API server starts"),
        }
    }

    /// A client of it. To be called within a runtime.
    pub fn client(&self) -> kube::Client {
        let address = format!("http://{}", self.address).parse().expect("an address");
        kube::Client::try_from(kube::Config::new(address)).expect("a client")
    }
}

async fn accept(listener: TcpListener, store: Arc<Store>) {
    while let Ok((stream, _)) = listener.accept().await {
        let store = store.clone();
        let answer = hyper::service::service_fn(move |request: Request<Incoming>| {
            let store = store.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes);
                let (status, answer) = store.answer(&head.method, head.uri.path(), &body.unwrap_or_default());
                let mut response = Response::new(Full::new(answer));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

impl Store {
    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Bytes) {
        if let Some(usage) = self.usage_of(path) {
            return (StatusCode::OK, usage);
        }
        let mut objects = self.objects.lock().expect("nobody panics with it");
        let path = path.trim_end_matches("/status");
        let (place, object) = match *method {
            Method::GET => match objects.get(path) {
                Some(object) => return (StatusCode::OK, object.to_string().into()),
                None => return failure(StatusCode::NOT_FOUND, "there is none"),
            },
            Method::POST => {
                let object: Value = serde_json::from_slice(body).unwrap_or_default();
                let name = object["metadata"]["name"].as_str().unwrap_or("generated");
                (format!("{path}/{name}"), object)
            }
            Method::PUT => (path.to_owned(), serde_json::from_slice(body).unwrap_or_default()),
            Method::PATCH => {
                let Some(mut object) = objects.get(path).cloned() else {
                    return failure(StatusCode::NOT_FOUND, "there is none");
                };
                let patch: json_patch::Patch = serde_json::from_slice(body).unwrap_or_default();
                if json_patch::patch(&mut object, &patch).is_err() {
                    return failure(StatusCode::UNPROCESSABLE_ENTITY, "it is another version");
                }
                (path.to_owned(), object)
            }
            _ => return failure(StatusCode::METHOD_NOT_ALLOWED, "not by this server"),
        };
        let object = versioned(object);
        let answer = object.to_string();
        self.tell(&object);
        objects.insert(place, object);
        (StatusCode::OK, answer.into())
    }

    fn usage_of(&self, path: &str) -> Option<Bytes> {
        let namespace = path.strip_prefix("/apis/metrics.k8s.io/v1beta1/namespaces/team-")?;
        let number: usize = namespace.strip_suffix("/pods")?.parse().ok()?;
        self.usage.get(number).cloned()
    }

    fn tell(&self, object: &Value) {
        let Some(cluster) = self.watching.as_ref().filter(|_| object["kind"] == "Recommendation") else {
            return;
        };
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let before = cluster.recommendations.get(&namespace, &name);
        let read = serde_json::from_value(object.clone()).expect("a Recommendation");
        let known = follow::kept(keep::recommendation, read, before);
        cluster.recommendations.put_shared(&namespace, &name, known);
    }
}

/// The object as it is after a write.
fn versioned(mut object: Value) -> Value {
    let before = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let version = before.parse::<u64>().unwrap_or_default() + 1;
    object["metadata"]["resourceVersion"] = json!(version.to_string());
    object
}

fn failure(code: StatusCode, message: &str) -> (StatusCode, Bytes) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message,
        "reason": "", "code": code.as_u16()});
    (code, status.to_string().into())
}
