//! Events that users see in `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use parking_lot::Mutex;
use std::collections::HashMap;
use tracing::debug;

/// Most Events that are remembered, so that objects without end cannot fill the memory.
const REMEMBERED: usize = 10_000;

/// Publishes Events, each only when it says something new.
///
/// What stands still is told once: an Event is sent again when its note changes.
pub struct Events {
    recorder: Recorder,
    told: Mutex<HashMap<(String, String), String>>,
}

impl Events {
    /// Reports as `valence`, from the pod `instance`.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter {
            controller: "valence".to_owned(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            told: Mutex::default(),
        }
    }

    /// Warns about an object; a failure to do so is only logged, since nothing depends on it.
    pub async fn warn(&self, about: &ObjectReference, reason: &str, note: String) {
        self.publish(EventType::Warning, about, reason, note).await;
    }

    /// Tells something that is in order.
    pub async fn tell(&self, about: &ObjectReference, reason: &str, note: String) {
        self.publish(EventType::Normal, about, reason, note).await;
    }

    /// Forgets what was told for a reason about an object, once it no longer holds.
    pub fn settle(&self, about: &ObjectReference, reason: &str) {
        self.told.lock().remove(&key(about, reason));
    }

    async fn publish(&self, type_: EventType, about: &ObjectReference, reason: &str, note: String) {
        if !self.is_news(about, reason, &note) {
            return;
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(shortened(note)),
            action: reason.to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            debug!(%error, reason, "an Event could not be published");
            self.settle(about, reason);
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

fn key(about: &ObjectReference, reason: &str) -> (String, String) {
    (about.uid.clone().unwrap_or_default(), reason.to_owned())
}

/// The API server takes notes up to 1 kB.
fn shortened(mut note: String) -> String {
    let end = (0..=1000.min(note.len()))
        .rev()
        .find(|end| note.is_char_boundary(*end))
        .unwrap_or_default();
    note.truncate(end);
    note
}
