//! The handle that the operator holds.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::client_authentication::ReloadingClientVerifier;
use crate::error::Error;
use crate::follow::Follower;
use crate::manage::Manager;
use crate::material::{Certificate, Contents, certified_key, keys};
use crate::options::{Clock, Options, Source};
use crate::resolver::{Resolver, server_config};

/// The certificate of the webhook, kept fresh by a task in the background until the token is cancelled.
#[derive(Clone)]
pub struct Certificates {
    server_config: Arc<ServerConfig>,
    status: watch::Receiver<Status>,
    nudge: Arc<Notify>,
    clock: Clock,
}

/// What the background task last saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// A certificate is in force, it is valid now, and the webhooks' `caBundle`, where it is ours, trusts it.
    pub ready: bool,
    /// End of the validity of the leaf in force.
    pub leaf_not_after: Option<Timestamp>,
    /// End of the validity of the CA, where it is ours.
    pub authority_not_after: Option<Timestamp>,
    /// How often the certificate in force has been replaced by another one.
    pub reloads: u64,
    /// The last failure, gone with the next success.
    pub error: Option<String>,
}

impl Certificates {
    /// Starts looking after the certificate. Returns at once; until [`Status::ready`] handshakes are refused.
    ///
    /// # Errors
    /// When the options contradict themselves or the CAs of the client authentication cannot be read. Everything that
    /// can heal, such as an API server that is away, is retried in the background instead.
    pub fn start(client: Client, options: Options, shutdown: CancellationToken) -> Result<Self, Error> {
        install_crypto_provider();
        if let Source::Managed(managed) = &options.source
            && managed.dns_names.is_empty()
        {
            return Err(Error::Options("a certificate needs at least one name"));
        }
        let clients = options
            .client_authentication
            .as_ref()
            .map(ReloadingClientVerifier::load)
            .transpose()?;
        let clients = clients.map(Arc::new);
        let resolver = Arc::new(Resolver::default());
        let verifier = clients.clone().map(|verifier| verifier as Arc<dyn ClientCertVerifier>);
        let server_config = server_config(resolver.clone(), verifier)?;
        let (sender, status) = watch::channel(Status::default());
        let nudge = Arc::new(Notify::new());
        let clock = options.clock.clone();
        let in_force = InForce {
            resolver,
            status: sender,
            served: None,
            clock: clock.clone(),
        };
        let keeper = Keeper {
            options,
            clients,
            nudge: nudge.clone(),
            shutdown,
        };
        tokio::spawn(keeper.run(client, in_force));
        Ok(Self {
            server_config,
            status,
            nudge,
            clock,
        })
    }

    /// For `tokio_rustls::TlsAcceptor`. Always the same object: it looks up the certificate in force per handshake.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server_config.clone()
    }

    /// Follows the status.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether admission can be served now: not with a certificate that has run out since it was last looked at, nor when
    /// nobody looks after it any more.
    pub fn is_ready(&self) -> bool {
        let is_kept = self.status.has_changed().is_ok();
        let status = self.status.borrow();
        is_kept && status.ready && status.leaf_not_after.is_some_and(|end| (self.clock)() <= end)
    }

    /// Waits until the background task has ended: when told to, or by a fault of its own.
    pub async fn ended(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    /// Waits until admission can be served, or until the background task has ended.
    pub async fn ready(&self) {
        let _ = self.status.clone().wait_for(|status| status.ready).await;
    }

    /// Looks at everything again now, not at the next event or timer.
    pub fn look_again(&self) {
        self.nudge.notify_one();
    }
}

/// Makes ring the process's TLS provider; whoever comes first wins, again is harmless.
pub fn install_crypto_provider() {
    // An error says that one is installed already; only ring is linked, so it is ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What the background task works with, whatever the source.
pub(crate) struct Keeper {
    pub options: Options,
    pub clients: Option<Arc<ReloadingClientVerifier>>,
    pub nudge: Arc<Notify>,
    pub shutdown: CancellationToken,
}

impl Keeper {
    async fn run(self, client: Client, in_force: InForce) {
        let shutdown = self.shutdown.clone();
        let work = async {
            match self.options.source.clone() {
                Source::Managed(managed) => Manager::new(client, managed, in_force).run(&self).await,
                source => Follower::new(client, source, in_force).run(&self).await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    pub(crate) fn reload_client_authorities(&self) {
        if let (Some(verifier), Some(options)) = (&self.clients, &self.options.client_authentication)
            && let Err(error) = verifier.reload(options)
        {
            warn!(%error, "keeping the CAs that callers are checked against");
        }
    }
}

/// The certificate in force and what is told about it.
pub(crate) struct InForce {
    resolver: Arc<Resolver>,
    status: watch::Sender<Status>,
    served: Option<(Vec<u8>, Certificate)>,
    clock: Clock,
}

impl InForce {
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Serves the leaf of these contents, where it is another one than before.
    pub(crate) fn serve(&mut self, contents: &Contents) -> Result<(), Error> {
        let chain = crate::material::bytes(contents, keys::LEAF)?;
        let key = crate::material::bytes(contents, keys::LEAF_KEY)?;
        self.serve_pem(chain, key, keys::LEAF)
    }

    pub(crate) fn serve_pem(&mut self, chain: &[u8], key: &[u8], what: &str) -> Result<(), Error> {
        if self.served.as_ref().is_some_and(|(served, _)| served == chain) {
            return Ok(());
        }
        let (certified, leaf) = certified_key(chain, key, what)?;
        self.resolver.serve(certified);
        info!(not_after = %leaf.not_after, names = ?leaf.names, "serving a new certificate");
        let reload = u64::from(self.served.is_some());
        self.served = Some((chain.to_vec(), leaf));
        self.status.send_modify(|status| status.reloads += reload);
        Ok(())
    }

    /// Tells the outcome of a look at everything.
    pub(crate) fn report(&self, trusted: bool, authority_not_after: Option<Timestamp>) {
        let now = self.now();
        let leaf = self.served.as_ref().map(|(_, leaf)| leaf);
        self.update(|status| {
            status.ready = trusted && leaf.is_some_and(|leaf| leaf.is_valid_at(now));
            status.leaf_not_after = leaf.map(|leaf| leaf.not_after);
            status.authority_not_after = authority_not_after;
            status.error = None;
        });
    }

    /// Tells a failure. Whoever was ready stays ready: the certificate in force is as good as before.
    pub(crate) fn report_failure(&self, error: &Error) {
        warn!(%error, "certificates");
        self.update(|status| status.error = Some(error.to_string()));
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }
}
