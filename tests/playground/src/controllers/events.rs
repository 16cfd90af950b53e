//! Events, counted together when they repeat.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::objects::{now, suffix, unless_gone};

/// What makes two Events the same one.
type Sameness = (String, String, String, String);

/// Records Events on objects in the name of one component.
#[derive(Clone)]
pub struct Events {
    client: Client,
    component: &'static str,
    host: Option<String>,
    seen: Arc<Mutex<HashMap<Sameness, (String, i32)>>>,
}

impl Events {
    /// A recorder for a component.
    pub fn new(client: Client, component: &'static str, host: Option<&str>) -> Self {
        Self {
            client,
            component,
            host: host.map(str::to_owned),
            seen: Arc::default(),
        }
    }

    /// An Event that tells of normal progress.
    pub async fn normal<K: Resource<DynamicType = ()>>(&self, about: &K, reason: &str, message: impl Into<String>) {
        self.record(reference(about), "Normal", reason, message.into()).await;
    }

    /// An Event that tells of a fault.
    pub async fn warning<K: Resource<DynamicType = ()>>(&self, about: &K, reason: &str, message: impl Into<String>) {
        self.record(reference(about), "Warning", reason, message.into()).await;
    }

    /// An Event about any object; a failure to write it is only logged.
    pub async fn record(&self, about: ObjectReference, type_: &str, reason: &str, message: String) {
        if let Err(error) = self.write(&about, type_, reason, &message).await {
            tracing::debug!(%error, reason, message, "event not recorded");
        }
    }

    async fn write(&self, about: &ObjectReference, type_: &str, reason: &str, message: &str) -> kube::Result<()> {
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let sameness = (
            about
                .uid
                .clone()
                .unwrap_or_else(|| about.name.clone().unwrap_or_default()),
            about.field_path.clone().unwrap_or_default(),
            reason.to_owned(),
            message.to_owned(),
        );
        let again = {
            let mut seen = self.seen.lock();
            seen.get_mut(&sameness).map(|(name, count)| {
                *count += 1;
                (name.clone(), *count)
            })
        };
        if let Some((name, count)) = again {
            let patch = json!({"count": count, "lastTimestamp": now()});
            if unless_gone(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?.is_some() {
                return Ok(());
            }
        }
        let event = self.event(about, &namespace, type_, reason, message);
        let created = api.create(&PostParams::default(), &event).await?;
        self.seen.lock().insert(sameness, (created.name_any(), 1));
        Ok(())
    }

    fn event(&self, about: &ObjectReference, namespace: &str, type_: &str, reason: &str, message: &str) -> Event {
        let name = format!(
            "{}.{}",
            about.name.as_deref().unwrap_or("object"),
            suffix(rand::random(), 10)
        );
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.into()),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            type_: Some(type_.into()),
            reason: Some(reason.into()),
            message: Some(message.into()),
            count: Some(1),
            first_timestamp: Some(now()),
            last_timestamp: Some(now()),
            source: Some(EventSource {
                component: Some(self.component.into()),
                host: self.host.clone(),
            }),
            reporting_component: Some(self.component.into()),
            reporting_instance: self.host.clone(),
            ..Event::default()
        }
    }
}

/// The reference of an object that Events are about.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    object.object_ref(&())
}
