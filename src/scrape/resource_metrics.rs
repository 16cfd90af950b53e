//! CPU and memory in use, from `metrics.k8s.io`.

use std::collections::{BTreeMap, HashMap};

use http::Request;
use kube::Client;
use serde::Deserialize;

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
pub type NamespaceUsage = HashMap<String, BTreeMap<String, Usage>>;

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
    usage: HashMap<String, String>,
}

/// What the pods of a namespace use now.
///
/// # Errors
/// Where the API is not served (no metrics-server), does not answer or answers with something else.
pub async fn fetch(client: &Client, namespace: &str) -> Result<NamespaceUsage, kube::Error> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let request = Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    let list: List = client.request(request).await?;
    Ok(list
        .items
        .into_iter()
        .map(|item| (item.metadata.name, usages(item.containers)))
        .collect())
}

fn usages(containers: Vec<Container>) -> BTreeMap<String, Usage> {
    containers
        .into_iter()
        .map(|container| (container.name, usage(&container.usage)))
        .collect()
}

fn usage(amounts: &HashMap<String, String>) -> Usage {
    let amount = |name: &str| amounts.get(name).and_then(|text| quantity::value(text));
    Usage {
        cpu: amount("cpu").map(Cores),
        memory: amount("memory").map(|bytes| Bytes(bytes as u64)),
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
        let web = usages(list.items.into_iter().next().unwrap().containers);
        assert_eq!(web["web"].memory, Some(Bytes(34564 * 1024)));
        assert!((web["web"].cpu.unwrap().0 - 125_431e-9).abs() < 1e-12);
        assert_eq!(web["envoy"], Usage::default());
    }
}
