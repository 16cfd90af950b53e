//! Events that users see in `kubectl describe`.
//!
//! Whoever has something to tell never waits for it: what is news goes into a bounded queue, from which one task publishes.

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
use prometheus::IntCounterVec;
use serde_json::json;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;
use tracing::debug;
use valence_webhook::{Notice, Plans};

use crate::cache::Cluster;

/// Most notes that are remembered, so that objects without end cannot fill the memory. What comes on top is not told.
const REMEMBERED: usize = 10_000;

/// Most Events that wait to be published.
const WAITING: usize = 1024;

/// Longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1000;

/// Longest wait for the API server.
const PATIENCE: Duration = Duration::from_secs(5);

/// What goes on is told again after this time. The API server forgets an Event an hour after it was last written.
const TELL_AGAIN: Duration = Duration::from_secs(50 * 60);

/// Time between two looks for notes that no longer go on.
const SWEEP: Duration = Duration::from_secs(60);

/// Longest name of an object, in bytes.
const LONGEST_NAME: usize = 253;

/// Tells Events, each only when it says something new. Clones share what was told.
///
/// What goes on is told once, and again as a series before the API server forgets it.
#[derive(Clone)]
pub struct Events {
    queue: Sender<Message>,
    told: Arc<Mutex<Notes>>,
    outcomes: IntCounterVec,
}

/// Publishes what [`Events`] were told.
pub struct Publisher {
    client: Client,
    instance: String,
    queue: Receiver<Message>,
    told: Arc<Mutex<Notes>>,
    outcomes: IntCounterVec,
}

/// Something to publish.
#[derive(Debug)]
struct Message {
    type_: &'static str,
    about: ObjectReference,
    reason: String,
    note: String,
    telling: Telling,
}

/// What was told, by object and reason.
#[derive(Debug, Default)]
struct Notes {
    told: HashMap<(String, String), Told>,
    /// When it was last looked for notes that no longer go on.
    swept: Option<Instant>,
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
    /// There is too much to tell already.
    TooMuch,
    /// It is new, under this name.
    New(String),
    /// It goes on: the Event of this name says so, this many times with now.
    Again(String, i32),
}

impl Events {
    /// Events that are told as `valence`, from the pod `instance`, once somebody runs the publisher; `outcomes` counts what
    /// became of them.
    #[must_use]
    pub fn new(client: Client, instance: String, outcomes: IntCounterVec) -> (Self, Publisher) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let told = Arc::<Mutex<Notes>>::default();
        let publisher = Publisher {
            client,
            instance,
            queue: waiting,
            told: Arc::clone(&told),
            outcomes: outcomes.clone(),
        };
        (Self { queue, told, outcomes }, publisher)
    }

    /// Warns about an object; a failure to do so is only logged, since nothing depends on it.
    pub fn warn(&self, about: &ObjectReference, reason: &str, note: &str) {
        self.put("Warning", about, reason, note);
    }

    /// Tells something that is in order.
    pub fn tell(&self, about: &ObjectReference, reason: &str, note: &str) {
        self.put("Normal", about, reason, note);
    }

    /// Forgets what was told for a reason about an object, once it no longer holds.
    pub fn settle(&self, about: &ObjectReference, reason: &str) {
        self.told.lock().told.remove(&key(about, reason));
    }

    fn put(&self, type_: &'static str, about: &ObjectReference, reason: &str, note: &str) {
        let fresh = name(about, Timestamp::now());
        let telling = decide(&mut self.told.lock(), key(about, reason), note, &fresh, Instant::now());
        let is_put = match telling {
            Telling::Nothing => return,
            Telling::TooMuch => false,
            telling => {
                let message = Message {
                    type_,
                    about: about.clone(),
                    reason: reason.to_owned(),
                    note: note.to_owned(),
                    telling: if let Telling::New(_) = telling {
                        Telling::New(fresh)
                    } else {
                        telling
                    },
                };
                self.queue.try_send(message).is_ok()
            }
        };
        if !is_put {
            self.outcomes.with_label_values(&["dropped"]).inc();
            // What still holds is told another time.
            self.settle(about, reason);
        }
    }
}

impl Publisher {
    /// Publishes one after the other, until nobody has anything to tell any more.
    pub async fn run(mut self) {
        while let Some(message) = self.queue.recv().await {
            self.publish(message).await;
        }
    }

    async fn publish(&self, message: Message) {
        let now = Timestamp::now();
        let namespace = message.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let published = match &message.telling {
            Telling::Again(name, count) => timeout(PATIENCE, again(&api, name, *count, now)).await,
            Telling::New(name) => timeout(PATIENCE, create(&api, &self.event(&message, name.clone(), now))).await,
            Telling::Nothing | Telling::TooMuch => return,
        };
        let outcome = match published {
            Ok(Ok(())) => "success",
            failure => {
                debug!(?failure, reason = message.reason, "an Event could not be published");
                // An Event that is gone is made anew when it is told the next time.
                self.told.lock().told.remove(&key(&message.about, &message.reason));
                "failure"
            }
        };
        self.outcomes.with_label_values(&[outcome]).inc();
    }

    fn event(&self, message: &Message, name: String, now: Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: message.about.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            action: Some(message.reason.clone()),
            reason: Some(message.reason.clone()),
            note: Some(shortened(&message.note, LONGEST_NOTE).to_owned()),
            regarding: Some(message.about.clone()),
            reporting_controller: Some("valence.io/operator".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(message.type_.to_owned()),
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
fn decide(notes: &mut Notes, key: (String, String), note: &str, fresh: &str, now: Instant) -> Telling {
    let known = notes.told.get_mut(&key);
    let is_known = known.is_some();
    if let Some(known) = known.filter(|known| known.note == note) {
        if now.duration_since(known.at) < TELL_AGAIN {
            return Telling::Nothing;
        }
        known.at = now;
        known.count = known.count.saturating_add(1);
        return Telling::Again(known.name.clone(), known.count);
    }
    if !is_known && !notes.have_room(now) {
        return Telling::TooMuch;
    }
    let new = Told {
        note: note.to_owned(),
        name: fresh.to_owned(),
        count: 1,
        at: now,
    };
    notes.told.insert(key, new);
    Telling::New(fresh.to_owned())
}

impl Notes {
    /// Whether one more can be remembered. Those that were not told again in time no longer go on: their objects are gone.
    fn have_room(&mut self, now: Instant) -> bool {
        let is_due = |swept: Instant| now.duration_since(swept) >= SWEEP;
        if self.told.len() >= REMEMBERED && self.swept.is_none_or(is_due) {
            self.swept = Some(now);
            self.told
                .retain(|_, told| now.duration_since(told.at) < TELL_AGAIN + SWEEP);
        }
        self.told.len() < REMEMBERED
    }
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
        let (reason, message) = (notice.reason.name(), &notice.message);
        if notice.reason.is_warning() {
            events.warn(&about, reason, message);
        } else {
            events.tell(&about, reason, message);
        }
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
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response, StatusCode};
    use kube::client::Body;

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
        let mut notes = Notes::default();
        let key = || ("uid".to_owned(), "SidecarMissing".to_owned());
        let start = Instant::now();
        let mut at = |minutes: u64, note: &str, fresh: &str| {
            decide(
                &mut notes,
                key(),
                note,
                fresh,
                start + Duration::from_secs(minutes * 60),
            )
        };
        assert_eq!(at(0, "1 pod", "web.1"), Telling::New("web.1".to_owned()));
        assert_eq!(at(1, "1 pod", "web.2"), Telling::Nothing);
        assert_eq!(at(51, "1 pod", "web.3"), Telling::Again("web.1".to_owned(), 2));
        assert_eq!(at(52, "1 pod", "web.4"), Telling::Nothing);
        assert_eq!(at(102, "1 pod", "web.5"), Telling::Again("web.1".to_owned(), 3));
        assert_eq!(
            at(103, "2 pods", "web.6"),
            Telling::New("web.6".to_owned()),
            "something new"
        );
        assert_eq!(at(160, "2 pods", "web.7"), Telling::Again("web.6".to_owned(), 2));
    }

    fn about(name: &str) -> ObjectReference {
        ObjectReference {
            namespace: Some("shop".to_owned()),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }
    }

    /// An API server that answers Events with `status`, and how often it was asked.
    fn events(status: u16) -> (Events, Publisher, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = if status == 201 {
                json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "metadata": {"name": "web.1"}, "eventTime": null})
            } else {
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": "", "message": ""})
            };
            let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        let outcomes = IntCounterVec::new(prometheus::Opts::new("events", "x"), &["outcome"]).unwrap();
        let (events, publisher) = Events::new(Client::new(service, "default"), "one".to_owned(), outcomes);
        (events, publisher, asked)
    }

    #[tokio::test]
    async fn whoever_tells_never_waits_and_what_is_too_much_is_counted() {
        let (events, publisher, asked) = events(201);
        for number in 0..WAITING + 7 {
            events.warn(&about(&format!("web-{number}")), "SidecarMissing", "1 pod");
        }
        let count = |outcome: &str| events.outcomes.with_label_values(&[outcome]).get();
        assert_eq!((count("dropped"), asked.load(Ordering::Relaxed)), (7, 0));
        let publishing = tokio::spawn(publisher.run());
        while count("success") < WAITING as u64 {
            tokio::task::yield_now().await;
        }
        // What was dropped and still holds is told the next time, what was told is not.
        for number in 0..WAITING + 7 {
            events.warn(&about(&format!("web-{number}")), "SidecarMissing", "1 pod");
        }
        drop(events);
        publishing.await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), WAITING + 7);
    }

    #[tokio::test]
    async fn what_could_not_be_published_is_told_again() {
        let (events, publisher, asked) = events(500);
        let publishing = tokio::spawn(publisher.run());
        for times in 1..3 {
            events.warn(&about("web"), "SidecarMissing", "1 pod");
            while events.outcomes.with_label_values(&["failure"]).get() < times {
                tokio::task::yield_now().await;
            }
        }
        drop(events);
        publishing.await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn objects_without_end_are_not_told_about_and_take_no_room_for_good() {
        let mut notes = Notes::default();
        let start = Instant::now();
        let mut at = |number: usize, minutes: u64| {
            let key = (number.to_string(), "SidecarMissing".to_owned());
            decide(
                &mut notes,
                key,
                "1 pod",
                "web.1",
                start + Duration::from_secs(minutes * 60),
            )
        };
        (0..REMEMBERED).for_each(|number| assert_ne!(at(number, 0), Telling::TooMuch));
        assert_eq!(at(REMEMBERED, 1), Telling::TooMuch);
        assert_eq!(at(7, 2), Telling::Nothing, "what is told is remembered");
        assert_eq!(
            at(REMEMBERED, 60),
            Telling::New("web.1".to_owned()),
            "the others are gone"
        );
    }
}
