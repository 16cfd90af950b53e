//! Events that users see in `kubectl describe`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tracing::debug;
use valence_webhook::{Notice, Plans};

use crate::cache::Cluster;

/// Most notes that are remembered, so that objects without end cannot fill the memory.
const REMEMBERED: usize = 10_000;

/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1000;

/// Longest wait for the API server.
const PATIENCE: Duration = Duration::from_secs(5);

/// What goes on is told again after this time. The API server forgets an Event an hour after it was last written.
const TELL_AGAIN: Duration = Duration::from_secs(50 * 60);

/// Longest name of an object, in bytes.
const LONGEST_NAME: usize = 253;

/// Publishes Events, each only when it says something new.
///
/// What goes on is told once, and again as a series before the API server forgets it.
pub struct Events {
    client: Client,
    instance: String,
    told: Mutex<HashMap<(String, String), Told>>,
}

/// What was told for a reason about an object.
#[derive(Clone, Debug)]
struct Told {
    note: String,
    /// Name of the Event.
    name: String,
    /// How often the Event was published.
    count: i32,
    at: Instant,
}

/// What is to be done about a note.
#[derive(Debug, PartialEq, Eq)]
enum Telling {
    /// It was told.
    Nothing,
    /// It is new.
    New,
    /// It goes on: the Event of this name says so, this many times with now.
    Again(String, i32),
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
        let now = Timestamp::now();
        let fresh = name(about, now);
        let telling = decide(&mut self.told.lock(), key(about, reason), note, &fresh, Instant::now());
        let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let published = match telling {
            Telling::Nothing => return,
            Telling::Again(name, count) => timeout(PATIENCE, again(&api, &name, count, now)).await,
            Telling::New => {
                let event = self.event(type_, about, reason, note, fresh, now);
                timeout(PATIENCE, create(&api, &event)).await
            }
        };
        match published {
            Ok(Ok(())) => {}
            failure => {
                debug!(?failure, reason, "an Event could not be published");
                // An Event that is gone is made anew when it is told the next time.
                self.settle(about, reason);
            }
        }
    }

    fn event(
        &self,
        type_: &str,
        about: &ObjectReference,
        reason: &str,
        note: &str,
        name: String,
        now: Timestamp,
    ) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: about.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            action: Some(reason.to_owned()),
            reason: Some(reason.to_owned()),
            note: Some(shortened(note, LONGEST_NOTE).to_owned()),
            regarding: Some(about.clone()),
            reporting_controller: Some("valence.io/operator".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(type_.to_owned()),
            ..Event::default()
        }
    }
}

async fn create(api: &Api<Event>, event: &Event) -> kube::Result<()> {
    api.create(&PostParams::default(), event).await.map(drop)
}

/// Says of an Event that it goes on, as Kubernetes' own reporters do.
async fn again(api: &Api<Event>, name: &str, count: i32, now: Timestamp) -> kube::Result<()> {
    let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(now)}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(series))
        .await
        .map(drop)
}

/// Decides about a note, and remembers that it was told.
fn decide(
    told: &mut HashMap<(String, String), Told>,
    key: (String, String),
    note: &str,
    fresh: &str,
    now: Instant,
) -> Telling {
    if let Some(known) = told.get_mut(&key).filter(|known| known.note == note) {
        if now.duration_since(known.at) < TELL_AGAIN {
            return Telling::Nothing;
        }
        known.at = now;
        known.count = known.count.saturating_add(1);
        return Telling::Again(known.name.clone(), known.count);
    }
    if told.len() >= REMEMBERED {
        told.clear();
    }
    let new = Told {
        note: note.to_owned(),
        name: fresh.to_owned(),
        count: 1,
        at: now,
    };
    told.insert(key, new);
    Telling::New
}

/// The name of a new Event: that of its object as far as it fits, and the time.
fn name(about: &ObjectReference, now: Timestamp) -> String {
    let time = format!(".{:x}", now.as_nanosecond());
    let subject = about.name.as_deref().unwrap_or_default();
    // A part of a name between dots ends with a letter or a digit.
    let subject = shortened(subject, LONGEST_NAME - time.len()).trim_end_matches(['.', '-']);
    let subject = if subject.is_empty() { "valence" } else { subject };
    format!("{subject}{time}")
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
        .then(|| cluster.deployment(&notice.namespace, &notice.name))
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

fn shortened(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        assert_eq!(shortened("short", 1000), "short");
        let long = "é".repeat(600);
        assert_eq!(shortened(&long, 1000).len(), 1000);
        assert_eq!(shortened(&format!("x{long}"), 1000).len(), 999);
    }

    #[test]
    fn names_are_ones_that_the_api_server_takes() {
        let named = |subject: &str| {
            let about = ObjectReference {
                name: Some(subject.to_owned()),
                ..ObjectReference::default()
            };
            name(&about, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(named("web"), "web.0");
        assert_eq!(named(""), "valence.0", "a pod whose name is made later");
        assert_eq!(named(&"a".repeat(300)), format!("{}.0", "a".repeat(251)));
        assert_eq!(
            named(&format!("{}-{}", "a".repeat(250), "b".repeat(9))),
            format!("{}.0", "a".repeat(250))
        );
    }

    #[test]
    fn what_goes_on_is_told_again_before_it_is_forgotten() {
        let mut told = HashMap::new();
        let key = || ("uid".to_owned(), "SidecarMissing".to_owned());
        let start = Instant::now();
        let mut at = |minutes: u64, note: &str, fresh: &str| {
            decide(&mut told, key(), note, fresh, start + Duration::from_secs(minutes * 60))
        };
        assert_eq!(at(0, "1 pod", "web.1"), Telling::New);
        assert_eq!(at(1, "1 pod", "web.2"), Telling::Nothing);
        assert_eq!(at(51, "1 pod", "web.3"), Telling::Again("web.1".to_owned(), 2));
        assert_eq!(at(52, "1 pod", "web.4"), Telling::Nothing);
        assert_eq!(at(102, "1 pod", "web.5"), Telling::Again("web.1".to_owned(), 3));
        assert_eq!(at(103, "2 pods", "web.6"), Telling::New, "something new");
        assert_eq!(at(160, "2 pods", "web.7"), Telling::Again("web.6".to_owned(), 2));
    }
}
