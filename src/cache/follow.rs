//! Keeps an index equal to what the API server has.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

use super::index::Index;
use crate::causes::causes;

/// Answers of 404 in a row after which a kind is taken to be removed, and not the API server to be starting.
const TIMES_GONE: u32 = 4;

const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How one kind is followed.
pub struct Follow<K, V> {
    /// The objects to watch.
    pub api: Api<K>,
    /// Which of them.
    pub config: watcher::Config,
    /// Where they are kept.
    pub index: Arc<Index<V>>,
    /// What is kept of an object, given what was kept before.
    pub keep: fn(K, Option<&V>) -> V,
    /// Whether the kind may be absent from the cluster; nothing waits for it then.
    pub optional: bool,
    /// Name of the kind in logs.
    pub kind: &'static str,
}

impl<K, V> Follow<K, V> {
    /// The cluster may lack the kind.
    pub fn maybe(self) -> Self {
        Self { optional: true, ..self }
    }
}

impl<K, V> Follow<K, V>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    V: PartialEq + Send + Sync + 'static,
{
    /// Follows the kind until it is dropped. Errors of the API server, its absence and 410 Gone are waited out with a
    /// growing delay; what is known stays in force meanwhile. Of a kind that the API server does not serve any more,
    /// asked a few times, nothing is left.
    pub async fn run(self) {
        let mut listed = Vec::new();
        let (mut failing, mut gone) = (false, 0);
        let pauses = Pauses::default();
        let failures = Arc::clone(&pauses.0);
        let mut events = Box::pin(watcher(self.api.clone(), self.config.clone()).backoff(pauses));
        while let Some(event) = events.next().await {
            match event {
                // It is told before anything was asked.
                Ok(Event::Init) => listed.clear(),
                Ok(event) => {
                    failures.store(0, Ordering::Relaxed);
                    gone = 0;
                    if failing {
                        info!(kind = self.kind, "watching again");
                        failing = false;
                    }
                    self.apply(event, &mut listed);
                }
                Err(error) => {
                    self.failed(&error, &mut failing);
                    gone = if is_removed(&error) { gone + 1 } else { 0 };
                    if gone == TIMES_GONE {
                        warn!(kind = self.kind, "no longer served: its objects are gone");
                        self.index.replace(Vec::new());
                    }
                }
            }
        }
    }

    fn apply(&self, event: Event<K>, listed: &mut Vec<(String, String, Arc<V>)>) {
        match event {
            Event::Init => {}
            Event::InitApply(object) => {
                let (namespace, name) = key(&object);
                let value = self.kept(object, &namespace, &name);
                listed.push((namespace, name, value));
            }
            Event::InitDone => {
                debug!(kind = self.kind, objects = listed.len(), "listed");
                self.index.replace_shared(std::mem::take(listed));
            }
            Event::Apply(object) => {
                let (namespace, name) = key(&object);
                let value = self.kept(object, &namespace, &name);
                self.index.put_shared(&namespace, &name, value);
            }
            Event::Delete(object) => {
                let (namespace, name) = key(&object);
                self.index.remove(&namespace, &name);
            }
        }
    }

    fn kept(&self, object: K, namespace: &str, name: &str) -> Arc<V> {
        kept(self.keep, object, self.index.get(namespace, name))
    }

    fn failed(&self, error: &watcher::Error, failing: &mut bool) {
        if self.optional && is_absent(error) {
            self.index.set_filled();
            debug!(kind = self.kind, "not served by this cluster");
        } else if *failing {
            debug!(kind = self.kind, %error, "watch still fails");
        } else {
            let error = causes(error);
            warn!(kind = self.kind, error, "watch failed; what is known stays in force");
            *failing = true;
        }
    }
}

/// What is kept of an object: what was there before, where nothing of interest changed, so that listing everything anew
/// takes no second place in memory.
pub fn kept<K, V: PartialEq>(keep: fn(K, Option<&V>) -> V, object: K, before: Option<Arc<V>>) -> Arc<V> {
    let value = keep(object, before.as_deref());
    match before {
        Some(before) if *before == value => before,
        _ => Arc::new(value),
    }
}

/// Whether the API server said that it does not serve a kind which was listed before.
fn is_removed(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// Pauses after failures: half a second, doubled up to five. Caches are stale for no longer once the API server is back.
/// It counts the failures in a row; whoever reads the events counts anew, since not every event tells of an answer.
#[derive(Default)]
struct Pauses(Arc<AtomicU32>);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = SHORTEST_PAUSE * (1 << self.0.fetch_add(1, Ordering::Relaxed).min(4));
        Some(pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {}
}

/// Whether the cluster does not serve the kind, or does not let us see it.
fn is_absent(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => matches!(status.code, 403 | 404),
        _ => false,
    }
}

fn key<K: Resource>(object: &K) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_the_api_server_has_answered() {
        let mut pauses = Pauses::default();
        let failures = Arc::clone(&pauses.0);
        let seconds: Vec<_> = pauses.by_ref().take(6).map(|pause| pause.as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]);
        // A list that is begun is an event, and no answer.
        pauses.reset();
        assert_eq!(pauses.next(), Some(LONGEST_PAUSE));
        failures.store(0, Ordering::Relaxed);
        assert_eq!(pauses.next(), Some(SHORTEST_PAUSE));
    }
}
