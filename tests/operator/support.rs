//! The operator on the playground, installed from its own manifests.

use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use valence_playground::apiserver::Asked;
use valence_playground::load::{Generator, Settings, Shape};
use valence_playground::{Options, Playground, raw, tools};

pub use crate::shop::{SHOP, namespace, objective};

/// Longest wait for anything.
pub const SOON: Duration = Duration::from_secs(90);

/// Two cores carry one playground at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const MANIFESTS: [&str; 7] = [
    include_str!("../../deploy/base/namespace.yaml"),
    include_str!("../../deploy/crds/servicelevelobjectives.yaml"),
    include_str!("../../deploy/crds/recommendations.yaml"),
    include_str!("../../deploy/base/rbac.yaml"),
    include_str!("../../deploy/base/services.yaml"),
    include_str!("../../deploy/base/webhook.yaml"),
    include_str!("../../deploy/base/operator.yaml"),
];

/// A playground with the operator on it.
pub struct Stage {
    pub playground: Playground,
    _turn: MutexGuard<'static, ()>,
}

/// Where the real Envoy is; without it the test named says that it was skipped.
pub fn envoy(test: &str) -> Option<PathBuf> {
    let found = Options::from_environment().unwrap().images.envoy;
    if found.is_none() {
        tools::skipped(test, "envoy", "no Envoy: set ENVOY_BINARY or run `make tools`");
    }
    found
}

impl Stage {
    /// A playground with so many replicas of the operator, ready to admit.
    pub async fn with_operators(replicas: usize) -> Self {
        Self::with_arguments(replicas, &[]).await
    }

    /// The same with more arguments for the operator.
    pub async fn with_arguments(replicas: usize, arguments: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let mut options = Options::from_environment().unwrap();
        options.images.valence = Some(env!("CARGO_BIN_EXE_valence").into());
        options.node.start_delay = (Duration::ZERO, Duration::ZERO);
        options.node.back_off = Duration::from_millis(200);
        options.node.usage_window = Duration::from_secs(3);
        let playground = Playground::start(options).await.unwrap();
        let stage = Self {
            playground,
            _turn: turn,
        };
        stage.install(replicas, arguments).await;
        stage
    }

    async fn install(&self, replicas: usize, arguments: &[&str]) {
        for manifest in MANIFESTS {
            let objects = valence_objects(manifest, replicas, arguments);
            self.playground.apply_objects(objects).await.unwrap();
        }
        let operators = "app.kubernetes.io/component=operator";
        self.playground
            .pods_ready("valence-system", operators, replicas, SOON)
            .await
            .unwrap();
    }

    /// What the operator asked the API server for until now.
    pub fn asked(&self) -> Vec<Asked> {
        let mut asked = self.playground.server().asked();
        asked.retain(|asked| asked.user == "system:serviceaccount:valence-system:valence");
        asked
    }

    pub fn client(&self) -> Client {
        self.playground.client()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), SHOP)
    }

    pub fn dynamic(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("optimizer.valence.io", "v1alpha1", kind);
        Api::namespaced_with(self.client(), SHOP, &ApiResource::from_gvk(&kind))
    }

    /// Applies the namespace, an objective, a live Deployment and its Service.
    pub async fn open_shop(&self, replicas: i32, annotations: Value) {
        let objects = vec![namespace(), objective(), deployment(replicas, annotations), service()];
        self.playground.apply_objects(objects).await.unwrap();
        let count = usize::try_from(replicas).unwrap();
        self.playground.pods_ready(SHOP, "app=web", count, SOON).await.unwrap();
    }

    pub async fn pods(&self) -> Vec<Pod> {
        self.playground.pods(SHOP, "app=web").await.unwrap()
    }

    /// Requests per second on the Service, until dropped.
    pub fn load(&self, rate: f64) -> Generator {
        let settings = Settings {
            shape: Shape::Constant { rate },
            ..Settings::default()
        };
        self.playground.load(SHOP, "web", settings)
    }

    /// Waits until the Recommendation is as `holds` wants its status.
    pub async fn recommendation(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let api = self.dynamic("Recommendation");
        let found = self
            .playground
            .wait_for(&api, "web", SOON, |object| holds(&object.data["status"]))
            .await
            .unwrap();
        found.data["status"].clone()
    }

    pub async fn deployment(&self, holds: impl Fn(&Deployment) -> bool) -> Deployment {
        let api: Api<Deployment> = self.api();
        self.playground.wait_for(&api, "web", SOON, holds).await.unwrap()
    }

    /// Sends a Scale as `kubectl scale` does: the replicas that came of it, and the warnings.
    pub async fn scale(&self, replicas: i32) -> (i32, Vec<String>) {
        let path = format!("/apis/apps/v1/namespaces/{SHOP}/deployments/web/scale");
        let headers = [
            ("content-type", "application/merge-patch+json"),
            ("user-agent", "kubectl/v1.36.0"),
        ];
        let patch = json!({"spec": {"replicas": replicas}});
        let answer = raw::ask(&self.client(), "PATCH", &path, &headers, &patch)
            .await
            .unwrap();
        let scale: Scale = serde_json::from_value(answer.body).unwrap();
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
        (replicas, answer.warnings)
    }

    /// Whether an Event with this reason says this.
    pub async fn event(&self, reason: &str, says: &str) -> Event {
        let api: Api<Event> = self.api();
        valence_playground::until(format!("an Event {reason} about {says}"), SOON, || async {
            let events = api
                .list(&ListParams::default())
                .await
                .map_err(|error| error.to_string())?;
            let told = |event: &Event| {
                event.reason.as_deref() == Some(reason) && event.note.as_deref().is_some_and(|note| note.contains(says))
            };
            let seen: Vec<_> = events
                .items
                .iter()
                .map(|event| (event.reason.clone(), event.note.clone()))
                .collect();
            events.items.into_iter().find(told).ok_or_else(|| format!("{seen:?}"))
        })
        .await
        .unwrap()
    }
}

/// Whatever a test was about: the rights of the manifests were enough.
impl Drop for Stage {
    fn drop(&mut self) {
        let refused: Vec<_> = self.asked().into_iter().filter(|asked| !asked.granted).collect();
        assert!(
            refused.is_empty() || std::thread::panicking(),
            "the operator asked for what its roles do not grant: {refused:?}"
        );
    }
}

/// The objects of a manifest, the operator among them hurried.
fn valence_objects(manifest: &str, replicas: usize, arguments: &[&str]) -> Vec<Value> {
    let mut objects = valence_playground::parse(manifest).unwrap();
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        object["spec"]["replicas"] = json!(replicas);
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        let usual = ["run", "--scrape-interval=1s", "--decision-interval=1s", "--hurried"];
        container["args"] = json!([&usual, arguments].concat());
        container["readinessProbe"]["periodSeconds"] = json!(1);
    }
    objects
}

/// The body behind an address; `None` when there is no answer within ten seconds.
pub async fn get(address: &str) -> Option<String> {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<http_body_util::Empty<bytes::Bytes>>();
    let answer = async {
        let response = client.get(address.parse().ok()?).await.ok()?;
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .ok()?
            .to_bytes();
        String::from_utf8(body.to_vec()).ok()
    };
    tokio::time::timeout(Duration::from_secs(10), answer).await.ok()?
}

/// A condition of a status.
pub fn condition<'a>(status: &'a Value, type_: &str) -> Option<&'a Value> {
    status["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == type_)
}

/// The part of a checkpoint that a model begun anew would not have.
pub fn since(status: &Value) -> Value {
    let checkpoint = status["checkpoint"].as_str().unwrap();
    let (_, body) = checkpoint.split_once(':').unwrap();
    serde_json::from_str::<Value>(body).unwrap()["since"].clone()
}

pub fn deployment(replicas: i32, annotations: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": SHOP, "labels": {"app": "web", "slo": "slo-webapps"}, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "application",
                        "image": "ghcr.io/valencenet/playground:0.1.0",
                        "args": ["application", "--cpu-time=12ms", "--start-time=0s", "--warm-up=0s"],
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 5},
                        "resources": {"requests": {"cpu": "1", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
                    }],
                },
            },
        },
    })
}

pub fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SHOP},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}
