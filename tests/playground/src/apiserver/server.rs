//! Starting and stopping the server, and handing out credentials for it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::authorisation::Asked;
use super::certificates::Authority;
use super::faults::Faults;
use super::hooks::{ContainerLogs, ResourceUsage};
use super::identity::User;
use super::{background, listener};

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 takes a free one. Default 127.0.0.1:0.
    pub listen: SocketAddr,
    /// Folder that kubeconfig files are written to; made when absent.
    pub directory: PathBuf,
    /// How many changes of each resource a watch may lag behind before it is told 410. Default 1024.
    pub history: usize,
    /// First address of the /16 network that Services get their cluster addresses from. Default 10.96.0.0.
    pub service_network: Ipv4Addr,
}

impl Options {
    /// The defaults, with kubeconfig files in a folder.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            directory: directory.into(),
            history: 1024,
            service_network: Ipv4Addr::new(10, 96, 0, 0),
        }
    }
}

/// A running API server. Dropping it stops it.
pub struct Server {
    api: Arc<Api>,
    authority: Authority,
    address: SocketAddr,
    directory: PathBuf,
    kubeconfig: PathBuf,
    stop: CancellationToken,
}

impl Server {
    /// Starts listening; when this returns, requests are answered and `kubeconfig` is written.
    ///
    /// # Errors
    /// When the address cannot be listened on or the folder cannot be written.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let directory = options.directory.clone();
        std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        let socket = tokio::net::TcpListener::bind(options.listen).await;
        let socket = socket.with_context(|| format!("listening on {}", options.listen))?;
        let address = socket.local_addr()?;
        let authority = Authority::new()?;
        let tls = authority.server_config(&own_addresses(address.ip()))?;
        let stop = CancellationToken::new();
        let (api, changes) = Api::new(&options, authority.certificate(), address);
        background::bootstrap(&api)?;
        background::start(&api, changes, &stop);
        tokio::spawn(listener::serve(socket, Arc::new(tls), api.clone(), stop.clone()));
        let mut server = Self {
            api,
            authority,
            address,
            kubeconfig: directory.join("kubeconfig"),
            directory,
            stop,
        };
        server.kubeconfig = server.write_administrator_kubeconfig()?;
        Ok(server)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The administrator's kubeconfig file (client certificate inside).
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The certificate of the authority that signed the serving certificate, PEM.
    pub fn certificate_authority(&self) -> String {
        self.authority.certificate()
    }

    /// Writes a kubeconfig file for a user (bearer token inside) and answers its path. The context's namespace is the
    /// given one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn kubeconfig_for(&self, user: &User, namespace: &str) -> anyhow::Result<PathBuf> {
        let credentials = json!({ "token": self.api.tokens.issue(user) });
        let file = format!("{}.kubeconfig", user.name.replace(':', "_"));
        self.write_kubeconfig(&file, &user.name, credentials, namespace)
    }

    /// Configuration of a kube-rs client that acts as a user.
    ///
    /// # Errors
    /// Only when the server's own address or certificate could not be read back.
    pub fn client_config(&self, user: &User) -> anyhow::Result<kube::Config> {
        let mut config = kube::Config::new(self.url().parse()?);
        config.root_cert = Some(vec![self.authority.certificate_der()]);
        config.auth_info.token = Some(self.api.tokens.issue(user).into());
        // A watch may be silent for minutes.
        config.read_timeout = None;
        Ok(config)
    }

    /// A kube-rs client that acts as a user.
    ///
    /// # Errors
    /// When the client cannot be built from [`Server::client_config`].
    pub fn client(&self, user: &User) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::try_from(self.client_config(user)?)?)
    }

    /// Sets the source of `metrics.k8s.io`. Without one it lists nothing.
    pub fn set_resource_usage(&self, source: Arc<dyn ResourceUsage>) {
        self.api.hooks.set_usage(source);
    }

    /// Sets the source of container logs. Without one `kubectl logs` is refused.
    pub fn set_container_logs(&self, source: Arc<dyn ContainerLogs>) {
        self.api.hooks.set_logs(source);
    }

    /// Switches that make the server misbehave, for tests of reliability.
    pub fn faults(&self) -> &Faults {
        &self.api.faults
    }

    /// What ServiceAccounts outside of `kube-system` asked for until now, and whether RBAC grants it.
    pub fn asked(&self) -> Vec<Asked> {
        self.api.asked.all()
    }

    /// Forgets the history of changes: every watch that lags behind is told 410 Gone.
    pub fn compact(&self) {
        self.api.store.compact();
    }

    /// Stops listening, ends watches and background work.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    fn write_administrator_kubeconfig(&self) -> anyhow::Result<PathBuf> {
        let user = User::administrator();
        let keyed = self.authority.client(&user)?;
        let credentials = json!({
            "client-certificate-data": BASE64.encode(keyed.certificate),
            "client-key-data": BASE64.encode(keyed.key),
        });
        self.write_kubeconfig("kubeconfig", &user.name, credentials, "default")
    }

    fn write_kubeconfig(&self, file: &str, user: &str, credentials: Value, namespace: &str) -> anyhow::Result<PathBuf> {
        let authority = BASE64.encode(self.authority.certificate());
        // JSON is YAML.
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "playground",
                "cluster": { "server": self.url(), "certificate-authority-data": authority },
            }],
            "users": [{ "name": user, "user": credentials }],
            "contexts": [{
                "name": "playground",
                "context": { "cluster": "playground", "user": user, "namespace": namespace },
            }],
            "current-context": "playground",
        });
        let path = self.directory.join(file);
        let path = std::path::absolute(path)?;
        write_private(&path, &serde_json::to_vec_pretty(&document)?)?;
        Ok(path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Credentials are for their owner only.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(content))
        .with_context(|| format!("writing {}", path.display()))
}

fn own_addresses(listening: IpAddr) -> Vec<IpAddr> {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    if listening.is_unspecified() || listening == loopback {
        vec![loopback]
    } else {
        vec![listening, loopback]
    }
}
