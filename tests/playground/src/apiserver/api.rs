//! The state that every request works on.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::RwLock;

use super::admission::Admission;
use super::authorisation;
use super::faults::Faults;
use super::hooks::{ContainerLogs, ResourceUsage};
use super::identity::Tokens;
use super::registry::{Registry, Resource};
use super::server::Options;
use super::store::{Changes, ResourceKey, Store};

/// Everything that the server holds.
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) admission: Admission,
    pub(crate) tokens: Tokens,
    pub(crate) asked: authorisation::Log,
    pub(crate) hooks: Hooks,
    pub(crate) faults: Faults,
    /// PEM, for the ConfigMap that every namespace gets.
    pub(crate) certificate_authority: String,
    pub(crate) address: SocketAddr,
    pub(crate) service_network: Ipv4Addr,
    /// Wakes garbage collection and namespace termination.
    pub(crate) cleanup: tokio::sync::Notify,
}

impl Api {
    pub(crate) fn new(options: &Options, authority: String, address: SocketAddr) -> (Arc<Self>, Changes) {
        let (store, changes) = Store::new(options.history);
        let api = Self {
            store,
            registry: Registry::new(),
            admission: Admission::default(),
            tokens: Tokens::default(),
            asked: authorisation::Log::default(),
            hooks: Hooks::default(),
            faults: Faults::default(),
            certificate_authority: authority,
            address,
            service_network: options.service_network,
            cleanup: tokio::sync::Notify::new(),
        };
        (Arc::new(api), changes)
    }

    /// A resource of the core group that is always there.
    pub(crate) fn core(&self, plural: &str) -> ResourceKey {
        ResourceKey::new("", plural)
    }

    /// A served resource.
    pub(crate) fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.registry.served().get(group, version, plural)
    }
}

/// What the nodes provide.
#[derive(Default)]
pub(crate) struct Hooks {
    usage: RwLock<Option<Arc<dyn ResourceUsage>>>,
    logs: RwLock<Option<Arc<dyn ContainerLogs>>>,
}

impl Hooks {
    pub(crate) fn set_usage(&self, source: Arc<dyn ResourceUsage>) {
        *self.usage.write() = Some(source);
    }

    pub(crate) fn set_logs(&self, source: Arc<dyn ContainerLogs>) {
        *self.logs.write() = Some(source);
    }

    pub(crate) fn usage(&self) -> Option<Arc<dyn ResourceUsage>> {
        self.usage.read().clone()
    }

    pub(crate) fn logs(&self) -> Option<Arc<dyn ContainerLogs>> {
        self.logs.read().clone()
    }
}
