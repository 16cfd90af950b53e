//! A running playground.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;

use crate::apiserver::{Options as ServerOptions, Server, User};
use crate::controllers::informer::Informers;
use crate::controllers::objects::{is_active, is_ready};
use crate::hooks::NodeHooks;
use crate::kubelet::network::Network;
use crate::kubelet::node::Node;
use crate::kubelet::{Kubelet, scheduler};
use crate::load::{Generator, Settings, of_service};
use crate::options::Options;
use crate::tasks::Tasks;
use crate::wait::{WaitError, seen, until};
use crate::{apply, controllers};

/// A running playground. Dropping it ends everything that it runs.
pub struct Playground {
    server: Arc<Server>,
    client: Client,
    kubelet: Arc<Kubelet>,
    tasks: Tasks,
    directory: PathBuf,
    own_directory: bool,
}

impl Playground {
    /// Starts the API server, the controllers, the scheduler and the kubelet.
    ///
    /// # Errors
    /// When the API cannot listen, or no loopback network is free.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let network = Network::claim()?;
        let own_directory = options.directory.is_none();
        let directory = options.directory.clone().unwrap_or_else(temporary_directory);
        let server = ServerOptions {
            listen: options.listen,
            service_network: services_beside(&network),
            ..ServerOptions::in_directory(&directory)
        };
        let server = Arc::new(Server::start(server).await.context("the API server did not start")?);
        let client = client_of(&server, &User::administrator())?;
        let tasks = Tasks::default();
        let watching = client_of(&server, &User::service_account("kube-system", "informers"))?;
        let informers = Arc::new(Informers::start(&watching, &tasks));
        let kubelet = Kubelet::start(node(&server, network, &options)?, &informers, &tasks);
        controllers::start(&informers, &tasks, |name| {
            client_of(&server, &User::service_account("kube-system", name))
        })?;
        let scheduling = client_of(
            &server,
            &User {
                name: "system:kube-scheduler".into(),
                ..User::administrator()
            },
        )?;
        scheduler::start(&informers, &tasks, scheduling, options.node);
        server.set_resource_usage(Arc::new(NodeHooks(Arc::clone(&kubelet))));
        server.set_container_logs(Arc::new(NodeHooks(Arc::clone(&kubelet))));
        Ok(Self {
            server,
            client,
            kubelet,
            tasks,
            directory,
            own_directory,
        })
    }

    /// A client with the administrator's rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The kubeconfig file of the administrator.
    pub fn kubeconfig(&self) -> &Path {
        self.server.kubeconfig()
    }

    /// The API server, with its faults.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The kubelet, with what can be done to its pods.
    pub fn kubelet(&self) -> &Arc<Kubelet> {
        &self.kubelet
    }

    /// Folder of the kubeconfig files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Applies a manifest of one or more documents, server-side.
    ///
    /// # Errors
    /// Names the object that was refused, and why.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<Vec<DynamicObject>> {
        apply::apply(&self.client, "playground", apply::parse(manifest)?).await
    }

    /// Applies objects, server-side.
    ///
    /// # Errors
    /// Names the object that was refused, and why.
    pub async fn apply_objects(&self, objects: Vec<serde_json::Value>) -> anyhow::Result<Vec<DynamicObject>> {
        apply::apply(&self.client, "playground", objects).await
    }

    /// Waits until an object is there and as `holds` wants it.
    ///
    /// # Errors
    /// Tells what was seen last when the time is over.
    pub async fn wait_for<K>(
        &self,
        api: &Api<K>,
        name: &str,
        within: Duration,
        holds: impl Fn(&K) -> bool,
    ) -> Result<K, WaitError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        until(format!("the awaited state of {name}"), within, || async {
            match seen(api.get_opt(name).await)? {
                Some(object) if holds(&object) => Ok(object),
                Some(object) => Err(format!("{object:?}")),
                None => Err("nothing of that name".into()),
            }
        })
        .await
    }

    /// Waits until a Deployment has rolled out: every replica is of its present template and available, and no other
    /// pod is left.
    ///
    /// # Errors
    /// Tells what was seen last when the time is over.
    pub async fn deployment_settled(
        &self,
        namespace: &str,
        name: &str,
        within: Duration,
    ) -> Result<Deployment, WaitError> {
        let api: Api<Deployment> = Api::namespaced(self.client(), namespace);
        self.wait_for(&api, name, within, is_settled).await
    }

    /// The pods that a label selector chooses and that are not leaving.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn pods(&self, namespace: &str, selector: &str) -> kube::Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let mut pods = api.list(&ListParams::default().labels(selector)).await?.items;
        pods.retain(is_active);
        Ok(pods)
    }

    /// Waits until exactly so many pods are chosen by a selector and all of them are ready.
    ///
    /// # Errors
    /// Tells what was seen last when the time is over.
    pub async fn pods_ready(
        &self,
        namespace: &str,
        selector: &str,
        count: usize,
        within: Duration,
    ) -> Result<Vec<Pod>, WaitError> {
        until(format!("{count} ready pods of {selector}"), within, || async {
            let pods = seen(self.pods(namespace, selector).await)?;
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if ready == count && pods.len() == count {
                Ok(pods)
            } else {
                Err(format!("{ready} of {} ready", pods.len()))
            }
        })
        .await
    }

    /// Starts load on a Service.
    pub fn load(&self, namespace: &str, service: &str, settings: Settings) -> Generator {
        let port = settings.uri.port_u16().map(|port| port.to_string());
        Generator::start(settings, of_service(self.client(), namespace, service, port))
    }

    /// Ends every pod's processes, the controllers and the API.
    pub async fn stop(&self) {
        self.tasks.stop().await;
        self.kubelet.kill().await;
        self.server.stop();
    }
}

impl Drop for Playground {
    fn drop(&mut self) {
        self.tasks.cancel();
        self.kubelet.kill_now();
        self.server.stop();
        if self.own_directory {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn is_settled(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let Some(status) = deployment.status.as_ref() else {
        return false;
    };
    let is = |number: Option<i32>| number.unwrap_or(0) == wanted;
    status.observed_generation == deployment.metadata.generation
        && is(status.replicas)
        && is(status.updated_replicas)
        && is(status.available_replicas)
        && status.terminating_replicas.unwrap_or(0) == 0
}

/// A client that hears every refusal at once: kube-rs by itself asks again after 429 and 503, for minutes in the end.
fn client_of(server: &Server, user: &User) -> anyhow::Result<Client> {
    let mut config = server.client_config(user)?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

fn temporary_directory() -> PathBuf {
    std::env::temp_dir().join(format!(
        "valence-playground-{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ))
}

/// Cluster addresses lie 64 networks above those of pods, on loopback as well.
fn services_beside(network: &Network) -> Ipv4Addr {
    let [first, second, ..] = network.node().octets();
    Ipv4Addr::new(first, second + 64, 0, 0)
}

fn node(server: &Arc<Server>, network: Network, options: &Options) -> anyhow::Result<Node> {
    let client = client_of(server, &User::node(&options.node.name))?;
    let events = controllers::events::Events::new(client.clone(), "kubelet", Some(&options.node.name));
    // The server holds the kubelet as a hook: the way back must not keep it alive.
    let issuer: Weak<Server> = Arc::downgrade(server);
    Ok(Node {
        options: options.node.clone(),
        client,
        events,
        network,
        images: options.images.clone(),
        kubeconfig_for: Box::new(move |namespace, account| {
            let server = issuer.upgrade().context("the API server is gone")?;
            server.kubeconfig_for(&User::service_account(namespace, account), namespace)
        }),
        resizes: parking_lot::Mutex::default(),
    })
}
