//! GET with `watch`: a stream of changes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Call;
use super::read::{Selection, text_of};
use crate::apiserver::api::Api;
use crate::apiserver::convert;
use crate::apiserver::http::Response;
use crate::apiserver::registry::Resource;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{Change, ChangeKind, Cursor, Stored};
use crate::apiserver::table;

const BOOKMARK_EVERY: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// The state of one watch.
struct Watch {
    api: Arc<Api>,
    resource: Arc<Resource>,
    namespace: Option<String>,
    selection: Selection,
    cursor: Cursor,
    end: Instant,
    bookmarks: bool,
    next_bookmark: Instant,
    form: Form,
    finished: bool,
}

/// How objects are written into events.
#[derive(Clone, Copy)]
enum Form {
    Object,
    Metadata,
    Table(table::Include),
}

pub(super) fn watch(call: &Call<'_>) -> ApiResult<Response> {
    let selection = Selection::of(call)?;
    let request = call.request;
    let seconds = request
        .query("timeoutSeconds")
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs);
    let from = match request.query("resourceVersion") {
        None | Some("0") => None,
        Some(text) => Some(
            text.parse::<u64>()
                .map_err(|_| ApiError::bad_request(format!("invalid resource version \"{text}\"")))?,
        ),
    };
    let initial = request.flag("sendInitialEvents");
    let bookmarks = request.flag("allowWatchBookmarks");
    let (objects, revision) = match from {
        // From "now" or "any": the state first, then what happens.
        None => selection.list(call),
        Some(_) if initial && request.query.contains_key("sendInitialEvents") => selection.list(call),
        Some(revision) => (Vec::new(), revision),
    };
    if revision > call.api.store.revision() {
        let message = format!(
            "Too large resource version: {revision}, current: {}",
            call.api.store.revision()
        );
        return Err(ApiError::new(504, "Timeout", message).with_cause(
            "ResourceVersionTooLarge",
            "",
            "Too large resource version",
        ));
    }
    let form = if request.accepted.table {
        Form::Table(table::Include::from_query(request.query("includeObject")))
    } else if request.accepted.metadata_only {
        Form::Metadata
    } else {
        Form::Object
    };
    let now = Instant::now();
    let watch = Watch {
        api: call.api.clone(),
        resource: call.resource.clone(),
        namespace: call.target.namespace.clone(),
        selection,
        cursor: call.api.store.follow(&call.resource.key, revision),
        end: now + seconds.unwrap_or(LONGEST).min(LONGEST),
        bookmarks,
        next_bookmark: now + BOOKMARK_EVERY,
        form,
        finished: false,
    };
    let mut first = BytesMut::new();
    for stored in &objects {
        watch.write("ADDED", stored, &mut first);
    }
    if initial && bookmarks {
        watch.write_bookmark(revision, true, &mut first);
    }
    Ok(streaming(watch, first.freeze()))
}

fn streaming(watch: Watch, first: Bytes) -> Response {
    let head = stream::iter((!first.is_empty()).then_some(first));
    let frames = head
        .chain(changes(watch))
        .map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = http::Response::new(StreamBody::new(frames).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Batches of events, until the watch ends.
fn changes(watch: Watch) -> impl Stream<Item = Bytes> {
    stream::unfold(watch, |mut watch| async move {
        loop {
            if watch.finished {
                return None;
            }
            let deadline = if watch.bookmarks {
                watch.end.min(watch.next_bookmark)
            } else {
                watch.end
            };
            tokio::select! {
                () = watch.cursor.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    watch.finished = Instant::now() >= watch.end;
                }
            }
            let batch = watch.batch();
            if !batch.is_empty() {
                return Some((batch, watch));
            }
        }
    })
}

impl Watch {
    fn batch(&mut self) -> Bytes {
        let mut text = BytesMut::new();
        match self.api.store.changes_after(&mut self.cursor) {
            Ok(changes) => {
                for change in changes {
                    self.write_change(&change, &mut text);
                }
            }
            Err(compacted) => {
                let message = format!(
                    "too old resource version: {} ({})",
                    self.cursor.revision(),
                    compacted.oldest
                );
                let status = ApiError::expired(&message).to_status();
                put_event("ERROR", status.to_string().as_bytes(), &mut text);
                self.finished = true;
                return text.freeze();
            }
        }
        if self.bookmarks && (self.finished || Instant::now() >= self.next_bookmark) {
            self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
            self.write_bookmark(self.cursor.revision(), false, &mut text);
        }
        text.freeze()
    }

    /// A change as this watch sees it: an object that comes into the selection is added, one that leaves it is deleted.
    fn write_change(&self, change: &Change, text: &mut BytesMut) {
        let now = change.kind != ChangeKind::Deleted && self.selects(&change.object);
        let before = change.previous.as_ref().is_some_and(|previous| self.selects(previous));
        match (before, now) {
            (false, true) => self.write("ADDED", &change.object, text),
            (true, true) => self.write("MODIFIED", &change.object, text),
            (true, false) => self.write("DELETED", &change.object, text),
            (false, false) => {}
        }
    }

    fn selects(&self, stored: &Stored) -> bool {
        let namespace = crate::apiserver::object::namespace(&stored.value);
        self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.selection.matches(&self.resource, &stored.value)
    }

    fn write(&self, kind: &str, stored: &Stored, text: &mut BytesMut) {
        match self.form {
            Form::Object => put_event(kind, &text_of(&self.resource, stored), text),
            Form::Metadata => {
                put_event(
                    kind,
                    super::read::metadata_only(&stored.value).to_string().as_bytes(),
                    text,
                );
            }
            Form::Table(include) => {
                let served = convert::to_served(&self.resource, &stored.value);
                let revision = stored.revision.to_string();
                let table = table::table(&self.resource, &[served.as_ref()], include, &revision);
                put_event(kind, table.to_string().as_bytes(), text);
            }
        }
    }

    fn write_bookmark(&self, revision: u64, initial_events_end: bool, text: &mut BytesMut) {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_events_end {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let bookmark = match self.form {
            Form::Object => self.empty_object(metadata),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            Form::Table(include) => {
                let object = self.empty_object(metadata);
                table::table(&self.resource, &[&object], include, &revision.to_string())
            }
        };
        put_event("BOOKMARK", bookmark.to_string().as_bytes(), text);
    }

    /// An object with nothing but metadata, yet with the fields that typed clients insist on.
    fn empty_object(&self, metadata: Value) -> Value {
        json!({ "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata })
    }
}

fn put_event(kind: &str, object: &[u8], text: &mut BytesMut) {
    text.put_slice(b"{\"type\":\"");
    text.put_slice(kind.as_bytes());
    text.put_slice(b"\",\"object\":");
    text.put_slice(object);
    text.put_slice(b"}\n");
}
