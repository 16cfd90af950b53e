//! The operator as a process of this machine, beside the control plane rather than in it.

use std::process::Command;

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::credentials::Certificates;
use crate::plane::ControlPlane;
use crate::process::{Folder, Process, free_ports};

const MANIFESTS: [&str; 4] = [
    include_str!("../../deploy/base/namespace.yaml"),
    include_str!("../../deploy/crds/servicelevelobjectives.yaml"),
    include_str!("../../deploy/crds/recommendations.yaml"),
    include_str!("../../deploy/base/rbac.yaml"),
];

/// Where the operator listens, and its process.
pub struct Operator {
    process: Process,
    metrics_port: u16,
    _folder: Folder,
}

impl Operator {
    /// Applies our manifests, starts the operator and waits until it is ready.
    pub async fn install(plane: &ControlPlane, cluster: &Cluster) -> Self {
        for manifest in MANIFESTS {
            for object in valence_playground::parse(manifest).unwrap() {
                cluster.apply(&object).await;
            }
        }
        let [webhook_port, metrics_port] = free_ports();
        cluster.established().await;
        cluster.apply(&certificates()).await;
        cluster.apply(&lease()).await;
        cluster.apply(&configuration(webhook_port)).await;
        let folder = Folder::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_valence"));
        command
            .args(["run", "--listen-address=127.0.0.1", "--page-port=0"])
            .arg(format!("--webhook-port={webhook_port}"))
            .arg(format!("--metrics-port={metrics_port}"))
            .env("KUBECONFIG", plane.operator());
        let process = Process::start("valence", &mut command, folder.path());
        let operator = Self {
            process,
            metrics_port,
            _folder: folder,
        };
        operator.ready().await;
        operator
    }

    async fn ready(&self) {
        self.process
            .wait("valence", || async { self.get("/readyz").await.map(drop) })
            .await;
    }

    /// The exposition of its metrics.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.unwrap()
    }

    async fn get(&self, path: &str) -> Result<String, String> {
        let url: http::Uri = format!("http://127.0.0.1:{}{path}", self.metrics_port).parse().unwrap();
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .build_http::<http_body_util::Empty<bytes::Bytes>>();
        let answer = client.get(url).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        status.is_success().then_some(text).ok_or_else(|| status.to_string())
    }

    /// What it said last.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// The Secret with a leaf that is good for 127.0.0.1 too. The operator keeps what it finds there as long as it is valid,
/// and with every renewal the names in it.
fn certificates() -> Value {
    let made = Certificates::for_names(&[
        "valence-webhook.valence-system.svc",
        "valence-webhook.valence-system.svc.cluster.local",
        "valence-webhook.valence-system",
        "127.0.0.1",
    ]);
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "valence-webhook-certificates", "namespace": "valence-system"},
        "stringData": {
            "ca.crt": made.authority, "ca.key": made.authority_key, "tls.crt": made.leaf, "tls.key": made.leaf_key,
        },
    })
}

/// Held by nobody who acts, so that what a test writes into a Recommendation stays: this operator only admits.
fn lease() -> Value {
    let now = jiff::Timestamp::now();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "valence-recommender", "namespace": "valence-system"},
        "spec": {"holderIdentity": "the-test", "leaseDurationSeconds": 3600, "renewTime": format!("{now:.6}")},
    })
}

/// Our configuration, with the webhooks where this operator serves them.
pub fn configuration(port: u16) -> Value {
    let manifest = include_str!("../../deploy/base/webhook.yaml");
    let mut object = valence_playground::parse(manifest).unwrap().remove(0);
    for webhook in object["webhooks"].as_array_mut().unwrap() {
        let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
        webhook["clientConfig"] = json!({"url": format!("https://127.0.0.1:{port}{path}")});
    }
    object
}
