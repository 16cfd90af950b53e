//! What the cases ask of a cluster with the operator on it.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use valence_playground::raw::{self, Answer};
use valence_playground::until;

use crate::operator::Operator;
use crate::plane::ControlPlane;

/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(60);

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Two cores carry one control plane at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// A cluster with the operator on it, or before that with nothing.
pub struct Cluster {
    operator: Option<Operator>,
    client: Client,
    plane: Option<ControlPlane>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    pub async fn on_the_playground() -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        Self::installed(ControlPlane::playground(false).await, turn).await
    }

    pub async fn on_a_real_control_plane(case: &str) -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let plane = ControlPlane::real(case, false).await?;
        Some(Self::installed(plane, turn).await)
    }

    /// As the above, with the controllers that make pods of Deployments.
    pub async fn on_the_whole_playground() -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        Self::installed(ControlPlane::playground(true).await, turn).await
    }

    pub async fn on_a_real_control_plane_with_controllers(case: &str) -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().await;
        let plane = ControlPlane::real(case, true).await?;
        Some(Self::installed(plane, turn).await)
    }

    async fn installed(plane: ControlPlane, turn: MutexGuard<'static, ()>) -> Self {
        let mut cluster = Self {
            operator: None,
            client: plane.administrator().await,
            plane: None,
            _turn: turn,
        };
        cluster.operator = Some(Operator::install(&plane, &cluster).await);
        cluster.plane = Some(plane);
        cluster
    }

    /// The kubeconfig with every right.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.as_ref().unwrap().kubeconfig()
    }

    /// The exposition of the operator's metrics.
    pub async fn metrics(&self) -> String {
        self.operator.as_ref().unwrap().metrics().await
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Answer {
        self.send_as("valence-tests", method, path, content_type, body).await
    }

    async fn send_as(&self, user_agent: &str, method: &str, path: &str, content_type: &str, body: &Value) -> Answer {
        let headers = [("content-type", content_type), ("user-agent", user_agent)];
        raw::ask(&self.client, method, path, &headers, body).await.unwrap()
    }

    pub async fn create(&self, object: &Value) -> Answer {
        self.send("POST", &collection(object), JSON, object).await
    }

    pub async fn create_dry(&self, object: &Value) -> Answer {
        let path = format!("{}?dryRun=All", collection(object));
        self.send("POST", &path, JSON, object).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, JSON, &Value::Null).await;
        answer.accepted()
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, JSON, &json!({})).await
    }

    pub async fn replace(&self, path: &str, object: &Value) -> Answer {
        self.send("PUT", path, JSON, object).await
    }

    pub async fn merge(&self, path: &str, patch: &Value) -> Answer {
        self.send("PATCH", path, MERGE, patch).await
    }

    /// A merge patch by a client of this name that names no field manager.
    pub async fn merge_by(&self, user_agent: &str, path: &str, patch: &Value) -> Answer {
        self.send_as(user_agent, "PATCH", path, MERGE, patch).await
    }

    /// Server-side apply as a manager that does not force.
    pub async fn apply_as(&self, manager: &str, object: &Value) -> Answer {
        let path = format!("{}?fieldManager={manager}", item(object));
        self.send("PATCH", &path, APPLY, object).await
    }

    /// Applies an object that must be accepted. Definitions that were just applied may not be served yet.
    pub async fn apply(&self, object: &Value) -> Value {
        let what = format!("{} applied", item(object));
        self.eventually(&what, || async {
            let answer = self.apply_as("test", object).await;
            let accepted = answer.code < 300;
            accepted.then_some(answer.body.clone()).ok_or(format!("{answer:?}"))
        })
        .await
    }

    /// Waits until both of our definitions are served.
    pub async fn established(&self) {
        for plural in ["servicelevelobjectives", "recommendations"] {
            let path = format!("/apis/optimizer.valence.io/v1alpha1/{plural}");
            self.eventually(plural, || async {
                let answer = self.send("GET", &path, JSON, &Value::Null).await;
                (answer.code == 200).then_some(()).ok_or(format!("{answer:?}"))
            })
            .await;
        }
    }

    /// Asks again until it gives something: caches follow a watch, and what they do not know yet is admitted as it is.
    pub async fn eventually<T, F: Future<Output = Result<T, String>>>(&self, what: &str, look: impl FnMut() -> F) -> T {
        match until(what, SOON, look).await {
            Ok(found) => found,
            Err(error) => panic!(
                "{error}\n{}",
                self.operator.as_ref().map(Operator::output).unwrap_or_default()
            ),
        }
    }

    /// Waits until a dry run of the pod shows the sidecar: then namespace, owner and objective are known.
    pub async fn would_inject(&self, pod: &Value) -> Value {
        self.eventually("a sidecar in a dry run", || async {
            let shown = self.create_dry(pod).await.accepted();
            let has = container(&shown, "envoy").is_some();
            has.then_some(shown.clone()).ok_or(shown.to_string())
        })
        .await
    }

    /// Waits until a dry run of an empty patch of the scale gives this number: then the plan is known.
    pub async fn would_scale(&self, path: &str, replicas: i64) {
        let path = format!("{path}?dryRun=All");
        self.eventually("the plan in a dry run", || async {
            let scale = self.merge(&path, &json!({})).await.accepted();
            let found = scale["spec"]["replicas"] == replicas;
            found.then_some(()).ok_or(scale.to_string())
        })
        .await;
    }
}

/// The container of this name, an ordinary one or a sidecar among those that start first.
pub fn container<'p>(pod: &'p Value, name: &str) -> Option<&'p Value> {
    let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array());
    let mut all = lists.into_iter().flatten().flatten();
    all.find(|container| container["name"] == name)
}

/// The path of the collection that an object belongs to.
pub fn collection(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&object["apiVersion"]);
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = text(&object["kind"]).to_lowercase() + "s";
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{version}/{plural}"),
    }
}

/// The path of an object.
pub fn item(object: &Value) -> String {
    format!(
        "{}/{}",
        collection(object),
        object["metadata"]["name"].as_str().unwrap()
    )
}
