//! The operator as a process beside an API server: for what needs neither pods nor Envoy, and so takes seconds.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use valence_playground::apiserver::{Options as ServerOptions, Server, User};

use crate::ask::Caller;
use crate::support::{self, SHOP, SOON, get};

const MANIFESTS: [&str; 5] = [
    include_str!("../../deploy/base/namespace.yaml"),
    include_str!("../../deploy/crds/servicelevelobjectives.yaml"),
    include_str!("../../deploy/crds/recommendations.yaml"),
    include_str!("../../deploy/base/rbac.yaml"),
    include_str!("../../deploy/base/webhook.yaml"),
];

/// Intervals of a second's fraction, so that a test sees many decisions.
const HURRIED: [&str; 5] = [
    "run",
    "--scrape-interval=200ms",
    "--decision-interval=200ms",
    "--hurried",
    "--page-port=0",
];

/// An API server with Valence's manifests in it.
pub struct Plane {
    pub server: Server,
    client: Client,
    folder: Folder,
}

/// A running operator. Dropping it kills it.
pub struct Operator {
    child: Mutex<Child>,
    log: PathBuf,
    pub webhook: SocketAddr,
    metrics: SocketAddr,
    plane_client: Client,
}

/// How an operator is to be started.
#[derive(Default)]
pub struct Start<'a> {
    pub arguments: &'a [&'a str],
    pub environment: &'a [(&'a str, &'a str)],
    /// Where it finds the API server.
    pub kubeconfig: Option<&'a Path>,
    /// Where its log goes; a file of the plane's folder otherwise.
    pub log: Option<&'a Path>,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Plane {
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("valence-operator-{:016x}", rand::random::<u64>()));
        let folder = Folder(folder);
        let server = Server::start(ServerOptions::in_directory(&folder.0)).await.unwrap();
        let mut config = server.client_config(&User::administrator()).unwrap();
        config.default_retry = false;
        let client = Client::try_from(config).unwrap();
        let plane = Self { server, client, folder };
        for manifest in MANIFESTS {
            plane.apply(valence_playground::parse(manifest).unwrap()).await;
        }
        plane
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// The kubeconfig of the operator.
    pub fn kubeconfig(&self) -> PathBuf {
        let user = User::service_account("valence-system", "valence");
        self.server.kubeconfig_for(&user, "valence-system").unwrap()
    }

    /// Applies objects; definitions that were just applied may not be served yet.
    pub async fn apply(&self, objects: Vec<Value>) {
        for object in objects {
            let api = self.api_of(&object);
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            valence_playground::until(format!("{name} applied"), SOON, || async {
                let parameters = PatchParams::apply("test").force();
                let applied = api.patch(&name, &parameters, &Patch::Apply(&object)).await;
                applied.map(drop).map_err(|error| error.to_string())
            })
            .await
            .unwrap();
        }
    }

    fn api_of(&self, object: &Value) -> Api<DynamicObject> {
        let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object["apiVersion"].as_str().unwrap()),
        };
        let kind = GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap());
        let kind = ApiResource::from_gvk(&kind);
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &kind),
            None => Api::all_with(self.client(), &kind),
        }
    }

    pub fn dynamic(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("optimizer.valence.io", "v1alpha1", kind);
        Api::namespaced_with(self.client(), SHOP, &ApiResource::from_gvk(&kind))
    }

    /// Waits until an object of ours is as `holds` wants it.
    pub async fn wait(&self, kind: &str, name: &str, holds: impl Fn(&DynamicObject) -> bool) -> DynamicObject {
        let api = self.dynamic(kind);
        valence_playground::until(format!("the awaited {kind} {name}"), SOON, || async {
            match api.get_opt(name).await {
                Ok(Some(object)) if holds(&object) => Ok(object),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap()
    }

    /// Waits until the status of the Recommendation `web` is as `holds` wants it.
    pub async fn recommendation(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let found = self
            .wait("Recommendation", "web", |object| holds(&object.data["status"]))
            .await;
        found.data["status"].clone()
    }

    /// The namespace, an objective and a Deployment with its ReplicaSet; no pods.
    pub async fn open_shop(&self) {
        let deployment = support::deployment(2, json!({}));
        let objects = vec![support::namespace(), support::objective(), deployment];
        self.apply(objects).await;
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(self.client(), SHOP);
        let uid = deployments.get("web").await.unwrap().metadata.uid;
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": uid, "controller": true});
        let labels = json!({"app": "web", "pod-template-hash": "1"});
        let template = support::deployment(2, json!({}))["spec"]["template"]["spec"].clone();
        self.apply(vec![json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web-1", "namespace": SHOP, "labels": labels, "ownerReferences": [owner]},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": template}},
        })])
        .await;
    }

    /// Starts an operator with hurried intervals and waits until it is ready.
    pub async fn operator(&self, start: Start<'_>) -> Operator {
        let operator = self.spawn(&start);
        operator.ready().await;
        operator
    }

    fn spawn(&self, start: &Start<'_>) -> Operator {
        let address = address();
        let log = self.folder.0.join(format!("{address}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(start.log.unwrap_or(&log))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_valence"))
            .args(HURRIED)
            .args(start.arguments)
            .arg(format!("--listen-address={address}"))
            .env(
                "KUBECONFIG",
                start.kubeconfig.map_or_else(|| self.kubeconfig(), Path::to_path_buf),
            )
            .env("POD_NAME", format!("operator-{address}"))
            .envs(start.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        Operator {
            child: Mutex::new(child),
            log,
            webhook: SocketAddr::new(address, 8443),
            metrics: SocketAddr::new(address, 8080),
            plane_client: self.client(),
        }
    }
}

/// An address of loopback of its own for every operator, with all ports free.
fn address() -> IpAddr {
    loop {
        let [high, low] = rand::random::<u16>().to_be_bytes();
        let address = Ipv4Addr::new(127, 250, high, low.clamp(1, 254));
        if TcpListener::bind((address, 8443)).is_ok() && TcpListener::bind((address, 8080)).is_ok() {
            return address.into();
        }
    }
}

impl Operator {
    pub async fn ready(&self) {
        self.until("readiness", || async {
            let answer = get(&format!("http://{}/readyz", self.metrics)).await;
            if answer.as_deref() == Some("ok") {
                Ok(())
            } else {
                Err(format!("{answer:?}"))
            }
        })
        .await;
    }

    /// Waits, or panics with the end of its log.
    pub async fn until<T, F: Future<Output = Result<T, String>>>(&self, what: &str, look: impl FnMut() -> F) -> T {
        match valence_playground::until(what, SOON, look).await {
            Ok(found) => found,
            Err(error) => panic!("{error}; {:?}\n{}", self.ended(), self.log()),
        }
    }

    /// What `/readyz` says; `None` when nothing answers.
    pub async fn readiness(&self) -> Option<String> {
        get(&format!("http://{}/readyz", self.metrics)).await
    }

    /// A sample of its metrics.
    pub async fn metric(&self, sample: &str) -> Option<f64> {
        let text = get(&format!("http://{}/metrics", self.metrics)).await?;
        text.lines()
            .find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let process = self.child.lock().id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), process]).status();
        assert!(sent.unwrap().success());
    }

    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().try_wait().unwrap()
    }

    /// Waits for its end.
    pub async fn end(&self) -> ExitStatus {
        self.until("the operator's end", || async {
            self.ended().ok_or_else(|| "it runs".to_owned())
        })
        .await
    }

    /// Somebody who trusts the CA in the Secret, as the API server does by the caBundle.
    pub async fn caller(&self) -> Caller {
        Caller::trusting(&authority(&self.plane_client).await)
    }

    /// Waits until a pod of the Deployment `web` would get a sidecar.
    pub async fn injects(&self, caller: &Caller) {
        self.until("a sidecar", || async {
            let answer = caller.ask(self.webhook, &review()).await?;
            if is_patched(&answer) {
                Ok(())
            } else {
                Err(answer.to_string())
            }
        })
        .await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The CA in the Secret, PEM.
pub async fn authority(client: &Client) -> String {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "valence-system");
    let secret = secrets.get("valence-webhook-certificates").await.unwrap();
    let data: BTreeMap<_, _> = secret.data.unwrap();
    let mut whole = data["ca.crt"].0.clone();
    whole.extend_from_slice(data.get("ca.previous.crt").map_or(&[][..], |previous| &previous.0));
    String::from_utf8(whole).unwrap()
}

/// A review of a pod of the Deployment `web`, beside which no controller runs.
pub fn review() -> Value {
    review_of("web-1")
}

/// A review of a pod of a ReplicaSet.
pub fn review_of(replica_set: &str) -> Value {
    let spec = support::deployment(2, json!({}))["spec"]["template"]["spec"].clone();
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": SHOP, "dryRun": false, "userInfo": {},
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": {
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"generateName": "web-1-", "namespace": SHOP, "labels": {"app": "web", "pod-template-hash": "1"},
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "uid": "r", "controller": true}]},
                "spec": spec,
            },
        },
    })
}

pub fn is_patched(answer: &Value) -> bool {
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    answer["response"]["patch"].is_string()
}

/// How long a wait for nothing takes in a test of patience.
pub const MOMENT: Duration = Duration::from_millis(50);
