//! Where a Service is served, as its endpoint slices say.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_api};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

/// Follows the ready endpoints of a Service's port (by number or name; the first one without either).
///
/// The task ends when the receiver is dropped.
pub fn of_service(
    client: Client,
    namespace: &str,
    service: &str,
    port: Option<String>,
) -> watch::Receiver<Vec<SocketAddr>> {
    let (sender, receiver) = watch::channel(Vec::new());
    let (namespace, service) = (namespace.to_owned(), service.to_owned());
    tokio::spawn(async move {
        tokio::select! {
            () = follow(client, &namespace, &service, port, &sender) => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

async fn follow(
    client: Client,
    namespace: &str,
    service: &str,
    port: Option<String>,
    sender: &watch::Sender<Vec<SocketAddr>>,
) {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
    let mut events = watch_api(slices, config).default_backoff().boxed();
    let mut known: BTreeMap<String, EndpointSlice> = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => known.clear(),
            Ok(Event::InitApply(slice) | Event::Apply(slice)) => {
                known.insert(slice.name_any(), slice);
            }
            Ok(Event::Delete(slice)) => {
                known.remove(&slice.name_any());
            }
            Ok(Event::InitDone) => {}
            Err(error) => tracing::debug!(%error, service, "endpoints not followed"),
        }
        let name = port_name(&services, service, port.as_deref()).await;
        let addresses = known.values().flat_map(|slice| ready(slice, name.as_deref())).collect();
        sender.send_if_modified(|present| {
            let changed = *present != addresses;
            *present = addresses;
            changed
        });
    }
}

/// The name of the Service's port that was asked for: slices know ports by name.
async fn port_name(services: &Api<Service>, service: &str, port: Option<&str>) -> Option<String> {
    let service = services.get_opt(service).await.ok().flatten()?;
    let ports = service.spec?.ports?;
    let matching = |wanted: &str| {
        ports
            .iter()
            .find(|port| port.name.as_deref() == Some(wanted) || port.port.to_string() == wanted)
    };
    let found = port.map_or(ports.first(), matching)?;
    Some(found.name.clone().unwrap_or_default())
}

fn ready(slice: &EndpointSlice, port_name: Option<&str>) -> Vec<SocketAddr> {
    let named = |name: &Option<String>| port_name.is_none_or(|wanted| name.as_deref().unwrap_or_default() == wanted);
    let mut ports = slice.ports.iter().flatten().filter(|port| named(&port.name));
    let Some(port) = ports.next().and_then(|port| u16::try_from(port.port?).ok()) else {
        return Vec::new();
    };
    let endpoints = slice.endpoints.iter().flatten();
    let is_ready = |ready: Option<bool>| ready.unwrap_or(true);
    endpoints
        .filter(|endpoint| is_ready(endpoint.conditions.as_ref().and_then(|conditions| conditions.ready)))
        .flat_map(|endpoint| endpoint.addresses.iter())
        .filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, port)))
        .collect()
}

/// Follows a host name by asking the resolver every five seconds.
pub fn of_host(host: &str, port: u16) -> watch::Receiver<Vec<SocketAddr>> {
    let (sender, receiver) = watch::channel(Vec::new());
    let host = host.to_owned();
    tokio::spawn(async move {
        while !sender.is_closed() {
            if let Ok(addresses) = tokio::net::lookup_host((host.as_str(), port)).await {
                let addresses: Vec<SocketAddr> = addresses.collect();
                sender.send_if_modified(|present| {
                    let changed = *present != addresses;
                    *present = addresses;
                    changed
                });
            }
            tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ready_endpoints_of_the_named_port_count() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "web-0"}, "addressType": "IPv4",
            "ports": [{"name": "metrics", "port": 8181}, {"name": "http", "port": 8081}],
            "endpoints": [
                {"addresses": ["127.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["127.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["127.0.0.3"]},
            ],
        }))
        .unwrap();
        let found: Vec<String> = ready(&slice, Some("http")).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.1:8081", "127.0.0.3:8081"]);
        assert!(ready(&slice, Some("grpc")).is_empty());
    }
}
