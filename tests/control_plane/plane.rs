//! The two control planes.

use std::path::{Path, PathBuf};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use valence_playground::apiserver::{Options as ServerOptions, Server, User};
use valence_playground::{Options, Playground};

use crate::process::Folder;
use crate::real::{RealControlPlane, assets};

/// A control plane. Without controllers both consist of an API server alone: what a Deployment would make is made by
/// hand, and no pod runs.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum ControlPlane {
    /// The playground's API server.
    ApiServer { server: Server, _folder: Folder },
    /// The whole playground.
    Playground(Playground),
    /// etcd, kube-apiserver and, with controllers, kube-controller-manager.
    Real(RealControlPlane),
}

impl ControlPlane {
    pub async fn playground(controllers: bool) -> Self {
        if controllers {
            return Self::Playground(Playground::start(Options::default()).await.unwrap());
        }
        let folder = Folder::new();
        let server = Server::start(ServerOptions::in_directory(folder.path())).await.unwrap();
        Self::ApiServer {
            server,
            _folder: folder,
        }
    }

    /// `None` where its binaries are missing; the case has said so then.
    pub async fn real(case: &str, controllers: bool) -> Option<Self> {
        let all = ["etcd", "kube-apiserver", "kube-controller-manager"];
        let assets = assets(case, if controllers { &all } else { &all[..2] })?;
        Some(Self::Real(RealControlPlane::start(&assets, controllers).await))
    }

    /// A client with every right.
    pub async fn administrator(&self) -> Client {
        client(self.kubeconfig()).await
    }

    /// The kubeconfig with every right.
    pub fn kubeconfig(&self) -> &Path {
        match self {
            Self::ApiServer { server, .. } => server.kubeconfig(),
            Self::Playground(playground) => playground.kubeconfig(),
            Self::Real(real) => &real.administrator,
        }
    }

    /// The kubeconfig of the operator. On a real control plane it has the rights that our manifests give it; the
    /// playground does not authorise.
    pub fn operator(&self) -> PathBuf {
        let user = User::service_account("valence-system", "valence");
        match self {
            Self::ApiServer { server, .. } => server.kubeconfig_for(&user, "valence-system").unwrap(),
            Self::Playground(playground) => playground.server().kubeconfig_for(&user, "valence-system").unwrap(),
            Self::Real(real) => real.operator.clone(),
        }
    }
}

/// A client that hears every refusal at once.
pub async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}
