//! CPU and memory in use, from `metrics.k8s.io`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use http::Request;
use kube::Client;
use serde::Deserialize;

use super::subject::shared;
use crate::api::quantity;
use crate::core::units::{Bytes, Cores};

/// What one container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU, averaged over the metrics server's own window.
    pub cpu: Option<Cores>,
    /// Working set.
    pub memory: Option<Bytes>,
}

/// Usage by container, by pod of a namespace.
pub type NamespaceUsage = HashMap<String, PodUsage>;

/// Usage by container. The pods of a namespace share the names.
#[derive(Debug, Default)]
pub struct PodUsage(Box<[(Arc<str>, Usage)]>);

impl PodUsage {
    /// What a container uses, where that is known.
    #[must_use]
    pub fn get(&self, container: &str) -> Option<Usage> {
        let found = self.0.iter().find(|(name, _)| **name == *container)?;
        Some(found.1)
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Name,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    usage: Amounts,
}

#[derive(Default, Deserialize)]
struct Amounts {
    cpu: Option<String>,
    memory: Option<String>,
}

/// What the pods of a namespace use now.
///
/// # Errors
/// Where the API is not served (no metrics-server), does not answer or answers with something else.
pub async fn fetch(client: &Client, namespace: &str) -> Result<NamespaceUsage, kube::Error> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    let list: List = client.request(request).await?;
    Ok(usages(list))
}

fn usages(list: List) -> NamespaceUsage {
    let mut names = BTreeSet::new();
    let mut usages = |containers: Vec<Container>| {
        let containers = containers.iter();
        PodUsage(
            containers
                .map(|one| (shared(&mut names, &one.name), usage(&one.usage)))
                .collect(),
        )
    };
    let items = list.items.into_iter();
    items
        .map(|item| (item.metadata.name, usages(item.containers)))
        .collect()
}

fn usage(amounts: &Amounts) -> Usage {
    let amount = |text: &Option<String>| text.as_deref().and_then(quantity::value);
    Usage {
        cpu: amount(&amounts.cpu).map(Cores),
        memory: amount(&amounts.memory).map(|bytes| Bytes(bytes as u64)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_what_the_metrics_server_writes() {
        let list: List = serde_json::from_value(json!({
            "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {},
            "items": [{
                "metadata": {"name": "web-1", "namespace": "shop"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15s",
                "containers": [{"name": "web", "usage": {"cpu": "125431n", "memory": "34564Ki"}}, {"name": "envoy", "usage": {}}],
            }],
        }))
        .unwrap();
        let usages = usages(list);
        let web = usages["web-1"].get("web").unwrap();
        assert_eq!(web.memory, Some(Bytes(34564 * 1024)));
        assert!((web.cpu.unwrap().0 - 125_431e-9).abs() < 1e-12);
        assert_eq!(usages["web-1"].get("envoy"), Some(Usage::default()));
        assert_eq!(usages["web-1"].get("other"), None);
    }
}
