//! What every namespace has, and what becomes of it.

use std::sync::Arc;

use serde_json::json;

use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::pipeline::{self, Deletion};
use crate::apiserver::registry::Backing;
use crate::apiserver::store::ObjectKey;

/// The default ServiceAccount, and the certificate of this server.
pub(super) fn furnish(api: &Api, namespace: &str) {
    super::put(
        api,
        "serviceaccounts",
        "v1",
        "ServiceAccount",
        namespace,
        "default",
        json!({}),
    );
    let data = json!({ "data": { "ca.crt": api.certificate_authority } });
    super::put(
        api,
        "configmaps",
        "v1",
        "ConfigMap",
        namespace,
        "kube-root-ca.crt",
        data,
    );
}

/// Empties namespaces that are being deleted, and removes them when they are empty.
pub(super) async fn terminate(api: &Arc<Api>) {
    let key = api.core("namespaces");
    let (namespaces, _) = api.store.list(&key, None);
    for namespace in namespaces
        .iter()
        .filter(|namespace| object::is_deleting(&namespace.value))
    {
        let name = object::name(&namespace.value);
        let left = empty(api, name).await;
        if left == 0 && object::finalizers(&namespace.value).is_empty() {
            // Gone unless somebody wrote it meanwhile; then the next round sees to it.
            let _ = api.store.delete(&key, &ObjectKey::new("", name), namespace.revision);
        }
    }
}

/// Deletes what is in a namespace; answers how much is still there.
async fn empty(api: &Arc<Api>, namespace: &str) -> usize {
    let served = api.registry.served();
    let mut left = 0;
    for key in api.store.resources() {
        let Some(resource) = served.any_version(&key).filter(|resource| resource.namespaced) else {
            continue;
        };
        if !matches!(resource.backing, Backing::Stored | Backing::Custom(_)) {
            continue;
        }
        let (objects, _) = api.store.list(&key, Some(namespace));
        for stored in objects {
            let object_key = ObjectKey::new(namespace, object::name(&stored.value));
            let gone = if object::is_deleting(&stored.value) {
                false
            } else {
                let deletion = Deletion {
                    propagation: Some("Background".into()),
                    ..Deletion::default()
                };
                let outcome = pipeline::delete(api, &resource, &object_key, &deletion, None).await;
                outcome.map_or(true, |deleted| deleted.gone)
            };
            left += usize::from(!gone);
        }
    }
    left
}
