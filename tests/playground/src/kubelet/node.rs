//! The node: what it has, and what all its pods share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node as NodeObject, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use rand::RngExt;
use serde_json::json;

use super::image::Images;
use super::network::Network;
use super::quantity::Resources;
use crate::controllers::events::Events;
use crate::controllers::objects::now;

/// What the node can give to pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Cores (simulated for the playground's own programs).
    pub cpu_cores: f64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Pods.
    pub pods: u32,
}

impl Capacity {
    /// CPU and memory.
    pub fn resources(&self) -> Resources {
        Resources {
            cpu: Some(self.cpu_cores),
            memory: Some(self.memory_bytes as f64),
        }
    }

    fn quantities(&self) -> BTreeMap<String, Quantity> {
        let millicores = (self.cpu_cores * 1000.0).round();
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(format!("{millicores:.0}m"))),
            ("memory".to_owned(), Quantity(format!("{}Ki", self.memory_bytes / 1024))),
            ("pods".to_owned(), Quantity(self.pods.to_string())),
        ])
    }
}

/// How the node behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeOptions {
    /// Its name.
    pub name: String,
    /// What it has.
    pub capacity: Capacity,
    /// Shortest and longest time to pull the image of a container that starts for the first time.
    pub start_delay: (Duration, Duration),
    /// Wait before the second restart of a container; it doubles from restart to restart.
    pub back_off: Duration,
    /// The longest wait before a restart.
    pub back_off_most: Duration,
    /// A container that ran this long starts over with the waits.
    pub back_off_reset: Duration,
    /// Time that usage is averaged over.
    pub usage_window: Duration,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            name: "playground".into(),
            capacity: Capacity {
                cpu_cores: 16.0,
                memory_bytes: 64 << 30,
                pods: 250,
            },
            start_delay: (Duration::from_millis(200), Duration::from_millis(500)),
            back_off: Duration::from_secs(10),
            back_off_most: Duration::from_secs(300),
            back_off_reset: Duration::from_secs(600),
            usage_window: Duration::from_secs(15),
        }
    }
}

/// What becomes of resizes in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resizes {
    /// They are done when they fit the node.
    #[default]
    Done,
    /// They are infeasible, as on a node that cannot do them.
    Infeasible,
    /// They wait, as on a node without room.
    Deferred,
}

/// Writes a kubeconfig for a service account and tells where.
pub type KubeconfigFor = Box<dyn Fn(&str, &str) -> anyhow::Result<PathBuf> + Send + Sync>;

/// What all pods of the node share.
pub struct Node {
    /// How it behaves.
    pub options: NodeOptions,
    /// Its client.
    pub client: Client,
    /// Its Events.
    pub events: Events,
    /// Its addresses.
    pub network: Network,
    /// Its programs.
    pub images: Images,
    /// Credentials for pods that talk to the API.
    pub kubeconfig_for: KubeconfigFor,
    /// What becomes of resizes.
    pub resizes: Mutex<Resizes>,
}

impl Node {
    /// The node's own address.
    pub fn address(&self) -> Ipv4Addr {
        self.network.node()
    }

    /// How long pulling an image takes this time.
    pub fn start_delay(&self) -> Duration {
        let (least, most) = self.options.start_delay;
        if least >= most {
            least
        } else {
            rand::rng().random_range(least..most)
        }
    }

    /// Arguments that a binary needs because other pods run on the same kernel: without hot restart, Envoy does not
    /// claim shared memory that the next one would find taken.
    pub fn fit_to_host(&self, binary: &Path, mut arguments: Vec<String>) -> Vec<String> {
        let is_envoy = self.images.envoy.as_deref() == Some(binary);
        let decided = [
            "--base-id",
            "--use-dynamic-base-id",
            "--disable-hot-restart",
            "--restart-epoch",
            "--mode",
        ];
        let says = |argument: &String| decided.iter().any(|flag| argument.starts_with(flag));
        if is_envoy && !arguments.iter().any(says) {
            arguments.push("--disable-hot-restart".into());
        }
        arguments
    }

    /// Registers the node and reports it ready until stopped.
    pub async fn report(&self) {
        loop {
            if let Err(error) = self.register().await {
                tracing::debug!(%error, "node not reported");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }

    async fn register(&self) -> kube::Result<()> {
        let nodes: Api<NodeObject> = Api::all(self.client.clone());
        let name = self.options.name.as_str();
        if nodes.get_opt(name).await?.is_none() {
            nodes.create(&PostParams::default(), &self.object()).await?;
        }
        let patch = json!({"status": self.status()});
        nodes
            .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        self.renew_lease().await
    }

    async fn renew_lease(&self) -> kube::Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let name = self.options.name.as_str();
        let spec = LeaseSpec {
            holder_identity: Some(name.into()),
            lease_duration_seconds: Some(40),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let patch = Patch::Merge(json!({"spec": spec}));
        match leases.patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let metadata = ObjectMeta {
                    name: Some(name.into()),
                    ..ObjectMeta::default()
                };
                leases
                    .create(
                        &PostParams::default(),
                        &Lease {
                            metadata,
                            spec: Some(spec),
                        },
                    )
                    .await
                    .map(drop)
            }
            other => other.map(drop),
        }
    }

    fn object(&self) -> NodeObject {
        let name = &self.options.name;
        let labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ];
        NodeObject {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                pod_cidr: Some(self.network.cidr()),
                ..NodeSpec::default()
            }),
            status: Some(self.status()),
        }
    }

    fn status(&self) -> NodeStatus {
        let address = |type_: &str, address: String| NodeAddress {
            type_: type_.into(),
            address,
        };
        NodeStatus {
            capacity: Some(self.options.capacity.quantities()),
            allocatable: Some(self.options.capacity.quantities()),
            addresses: Some(vec![
                address("InternalIP", self.address().to_string()),
                address("Hostname", self.options.name.clone()),
            ]),
            conditions: Some(vec![ready()]),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: 10250 }),
            }),
            node_info: Some(NodeSystemInfo {
                architecture: "amd64".into(),
                container_runtime_version: format!("playground://{}", env!("CARGO_PKG_VERSION")),
                kubelet_version: "v1.36.0".into(),
                kube_proxy_version: String::new(),
                operating_system: "linux".into(),
                os_image: "playground".into(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }
    }
}

fn ready() -> NodeCondition {
    NodeCondition {
        type_: "Ready".into(),
        status: "True".into(),
        reason: Some("KubeletReady".into()),
        message: Some("the playground's kubelet is ready".into()),
        last_heartbeat_time: Some(now()),
        last_transition_time: Some(now()),
    }
}
