//! What the server does by itself: first objects, default ServiceAccounts, garbage collection, namespace termination.

mod events;
mod garbage;
mod namespaces;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::admission::quota;
use super::api::Api;
use super::object;
use super::store::{ChangeKind, Changes, ResourceKey};

/// Writes the objects that every cluster has.
pub(super) fn bootstrap(api: &Api) -> anyhow::Result<()> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        put(
            api,
            "namespaces",
            "v1",
            "Namespace",
            "",
            name,
            json!({
                "metadata": { "labels": { "kubernetes.io/metadata.name": name } },
                "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
            }),
        );
        namespaces::furnish(api, name);
    }
    let address = api.address.ip().to_string();
    let network = u32::from(api.service_network) & 0xffff_0000;
    let cluster = std::net::Ipv4Addr::from(network + 1).to_string();
    put(
        api,
        "services",
        "v1",
        "Service",
        "default",
        "kubernetes",
        json!({
            "metadata": { "labels": { "component": "apiserver", "provider": "kubernetes" } },
            "spec": {
                "type": "ClusterIP", "clusterIP": cluster, "clusterIPs": [cluster], "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": api.address.port() }],
            },
            "status": { "loadBalancer": {} },
        }),
    );
    put(
        api,
        "endpoints",
        "v1",
        "Endpoints",
        "default",
        "kubernetes",
        json!({
            "subsets": [{
                "addresses": [{ "ip": address }],
                "ports": [{ "name": "https", "port": api.address.port(), "protocol": "TCP" }],
            }],
        }),
    );
    Ok(())
}

/// Creates an object of the server's own; one that exists already stays.
fn put(api: &Api, plural: &str, version: &str, kind: &str, namespace: &str, name: &str, mut object: Value) {
    object["kind"] = kind.into();
    object["apiVersion"] = version.into();
    let metadata = object::metadata_mut(&mut object);
    metadata.insert("name".into(), name.into());
    if !namespace.is_empty() {
        metadata.insert("namespace".into(), namespace.into());
    }
    metadata.insert("uid".into(), object::new_uid().into());
    metadata.insert("creationTimestamp".into(), object::now().into());
    let _ = api.store.create(&ResourceKey::new("", plural), object);
}

/// Starts the background work; it ends with `stop`.
pub(super) fn start(api: &Arc<Api>, changes: Changes, stop: &CancellationToken) {
    tokio::spawn(stop.clone().run_until_cancelled_owned(follow(api.clone(), changes)));
    tokio::spawn(stop.clone().run_until_cancelled_owned(clean(api.clone())));
}

/// Reacts to changes that need nothing but themselves, and wakes the cleaning.
async fn follow(api: Arc<Api>, mut changes: Changes) {
    while let Some((resource, change)) = changes.recv().await {
        if *resource.group == *"" && *resource.plural == *"namespaces" && change.kind == ChangeKind::Added {
            namespaces::furnish(&api, object::name(&change.object.value));
        }
        garbage::note(&api, &resource, &change);
    }
}

/// Cleans up whenever something was deleted, and now and then in case something was missed.
async fn clean(api: Arc<Api>) {
    loop {
        let _ = tokio::time::timeout(Duration::from_secs(5), api.cleanup.notified()).await;
        garbage::collect(&api).await;
        namespaces::terminate(&api).await;
        quota::refresh(&api);
        events::expire(&api);
    }
}
