//! Wakes the loop when one of a few objects changes.

use std::pin::Pin;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// A watch is begun anew after this time; a dead connection is not noticed otherwise.
const WATCH_SECONDS: u32 = 60;

/// Changes of the watched objects. What they are now is read anew: an event may be old.
pub(crate) struct Changes {
    events: SelectAll<BoxStream<'static, ()>>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self {
            events: SelectAll::new(),
        }
    }

    pub(crate) fn watch<K>(&mut self, api: Api<K>, name: &str)
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    {
        let config = watcher::Config::default()
            .timeout(WATCH_SECONDS)
            .fields(&format!("metadata.name={name}"));
        let events = watcher(api, config)
            .default_backoff()
            .filter_map(async |event| match event {
                Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone) => Some(()),
                Ok(watcher::Event::Init | watcher::Event::InitApply(_)) => None,
                Err(error) => {
                    tracing::debug!(%error, "watch");
                    None
                }
            });
        self.events.push(Box::pin(events) as Pin<Box<_>>);
    }

    /// Waits for a change, a nudge or the end of the pause; takes all changes that are there as one.
    pub(crate) async fn wait(&mut self, pause: Duration, nudge: &Notify) {
        tokio::select! {
            () = nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
            Some(()) = self.events.next() => {}
        }
        while let Some(Some(())) = self.events.next().now_or_never() {}
    }
}
