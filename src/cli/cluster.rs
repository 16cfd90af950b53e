//! How commands of a person reach the cluster: as kubectl does.

use std::error::Error;

use anyhow::Context;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::api::Recommendation;
use crate::causes::causes;

/// Which cluster, and which part of it.
#[derive(Clone, Debug, Default, Args)]
pub struct Cluster {
    /// Kubeconfig file, instead of KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<std::path::PathBuf>,

    /// Context of the kubeconfig.
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,

    /// Namespace, instead of the context's.
    #[arg(short, long, value_name = "NAME", global = true)]
    pub namespace: Option<String>,
}

impl Cluster {
    /// A client and the namespace that is meant.
    ///
    /// # Errors
    /// When there is no usable kubeconfig.
    pub async fn connect(&self) -> anyhow::Result<(Client, String)> {
        let config = self.config().await.context("no cluster can be reached")?;
        let namespace = self
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        Ok((Client::try_from(config)?, namespace))
    }

    async fn config(&self) -> anyhow::Result<Config> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        Ok(match &self.kubeconfig {
            Some(file) => Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?,
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => inferred().await?,
        })
    }
}

/// One Deployment, and the cluster that it is in.
#[derive(Debug, Args)]
pub struct Workload {
    /// The Deployment: deploy/NAME.
    #[arg(value_name = "deploy/NAME", value_parser = deployment_name)]
    pub deployment: String,

    #[command(flatten)]
    cluster: Cluster,
}

impl Workload {
    /// A client, the namespace that is meant, and the Recommendation in it, where there is one.
    ///
    /// # Errors
    /// When there is no usable kubeconfig, or the API server does not answer.
    pub async fn recommendation(&self) -> anyhow::Result<(Client, String, Option<Recommendation>)> {
        let (client, namespace) = self.cluster.connect().await?;
        let api: Api<Recommendation> = Api::namespaced(client.clone(), &namespace);
        let found = api.get_opt(&self.deployment).await;
        Ok((client, namespace, found.context("recommendations cannot be read")?))
    }
}

/// The cluster that this process runs in, or that its kubeconfig names.
///
/// # Errors
/// When there is neither; outside of a cluster only the kubeconfig is spoken of.
pub async fn inferred() -> anyhow::Result<Config> {
    let inside = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    Config::infer().await.map_err(|error| match error.source() {
        Some(kubeconfig) if !inside => anyhow::Error::msg(causes(kubeconfig)),
        _ => error.into(),
    })
}

/// The name in `deploy/NAME`, `deployment/NAME`, `deployments.apps/NAME` or `NAME`.
fn deployment_name(text: &str) -> Result<String, String> {
    let name = match text.split_once('/') {
        None => text,
        Some(("deploy" | "deployment" | "deployments" | "deployment.apps" | "deployments.apps", name)) => name,
        Some((kind, _)) => return Err(format!("Valence knows Deployments only, not {kind}")),
    };
    if name.is_empty() || name.contains('/') {
        return Err("expected deploy/NAME".to_owned());
    }
    Ok(name.to_owned())
}

/// Objects of a namespace, or of all of them.
pub fn api<K>(client: Client, namespace: &str, all: bool) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    if all {
        Api::all(client)
    } else {
        Api::namespaced(client, namespace)
    }
}

/// An error that says what a missing object means.
///
/// # Errors
/// Always, where `result` is one; the text of `hint` is added where the API server says that there is no such thing.
pub fn or_hint<T>(result: kube::Result<T>, hint: impl FnOnce() -> String) -> anyhow::Result<T> {
    result.map_err(|error| match &error {
        kube::Error::Api(status) if status.code == 404 => anyhow::Error::msg(hint()),
        _ => anyhow::Error::new(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_named_as_in_kubectl() {
        for text in ["todo", "deploy/todo", "deployment/todo", "deployments.apps/todo"] {
            assert_eq!(deployment_name(text).as_deref(), Ok("todo"));
        }
        assert!(deployment_name("pod/todo").is_err_and(|error| error.contains("not pod")));
        assert!(deployment_name("deploy/").is_err() && deployment_name("deploy/a/b").is_err());
    }
}
