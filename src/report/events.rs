//! Events that users see in `kubectl describe`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tracing::debug;
use valence_webhook::Notice;

use crate::cache::Cluster;

/// Most notes that are remembered, so that objects without end cannot fill the memory.
const REMEMBERED: usize = 10_000;

/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1000;

/// Longest wait for the API server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Publishes Events, each only when it says something new.
///
/// What stands still is told once: an Event is sent again when its note changes.
pub struct Events {
    client: Client,
    instance: String,
    told: Mutex<HashMap<(String, String), String>>,
}

impl Events {
    /// Reports as `valence`, from the pod `instance`.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self {
            client,
            instance,
            told: Mutex::default(),
        }
    }

    /// Warns about an object; a failure to do so is only logged, since nothing depends on it.
    pub async fn warn(&self, about: &ObjectReference, reason: &str, note: &str) {
        self.publish("Warning", about, reason, note).await;
    }

    /// Tells something that is in order.
    pub async fn tell(&self, about: &ObjectReference, reason: &str, note: &str) {
        self.publish("Normal", about, reason, note).await;
    }

    /// Forgets what was told for a reason about an object, once it no longer holds.
    pub fn settle(&self, about: &ObjectReference, reason: &str) {
        self.told.lock().remove(&key(about, reason));
    }

    async fn publish(&self, type_: &str, about: &ObjectReference, reason: &str, note: &str) {
        if !self.is_news(about, reason, note) {
            return;
        }
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let event = self.event(type_, about, reason, note, &namespace);
        match timeout(PATIENCE, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => {}
            failure => {
                debug!(?failure, reason, "an Event could not be published");
                self.settle(about, reason);
            }
        }
    }

    fn event(&self, type_: &str, about: &ObjectReference, reason: &str, note: &str, namespace: &str) -> Event {
        let now = Timestamp::now();
        let subject = about.name.as_deref().unwrap_or("valence");
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{subject}.{:x}", now.as_nanosecond())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            action: Some(reason.to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(shortened(note).to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some("valence.io/operator".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(type_.to_owned()),
            ..Event::default()
        }
    }

    fn is_news(&self, about: &ObjectReference, reason: &str, note: &str) -> bool {
        let mut told = self.told.lock();
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(key(about, reason), note.to_owned()).as_deref() != Some(note)
    }
}

/// Turns what admission has to tell into Events, until admission ends.
pub async fn relay(mut notices: Receiver<Notice>, events: Events, cluster: Arc<Cluster>) {
    while let Some(notice) = notices.recv().await {
        let about = reference(&notice, &cluster);
        let type_ = if notice.reason.is_warning() {
            "Warning"
        } else {
            "Normal"
        };
        events
            .publish(type_, &about, notice.reason.name(), &notice.message)
            .await;
    }
}

/// The object that a notice is about, with its unique identifier where it is known: `kubectl describe` finds Events by it.
fn reference(notice: &Notice, cluster: &Cluster) -> ObjectReference {
    let deployment = (notice.kind == "Deployment")
        .then(|| cluster.deployments.get(&notice.namespace, &notice.name))
        .flatten();
    let version = if matches!(notice.kind, "Deployment" | "ReplicaSet") {
        "apps/v1"
    } else {
        "v1"
    };
    ObjectReference {
        api_version: Some(version.to_owned()),
        kind: Some(notice.kind.to_owned()),
        namespace: Some(notice.namespace.clone()),
        name: Some(notice.name.clone()),
        uid: deployment.and_then(|deployment| deployment.metadata.uid.clone()),
        ..ObjectReference::default()
    }
}

fn key(about: &ObjectReference, reason: &str) -> (String, String) {
    let name = || {
        format!(
            "{}/{}/{}",
            about.kind.as_deref().unwrap_or_default(),
            about.namespace.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default()
        )
    };
    (about.uid.clone().unwrap_or_else(name), reason.to_owned())
}

fn shortened(note: &str) -> &str {
    let end = (0..=LONGEST_NOTE.min(note.len()))
        .rev()
        .find(|end| note.is_char_boundary(*end));
    &note[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        let long = "é".repeat(600);
        assert_eq!(shortened(&long).len(), 1000);
        assert_eq!(shortened(&format!("x{long}")).len(), 999);
    }
}
