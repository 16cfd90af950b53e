//! A work queue: one reconciliation at a time for each key, repeated when the key changed meanwhile.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Namespace and name of an object.
pub type Key = (String, String);

/// The key of a namespaced object.
pub fn key(object: &impl ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Changes that come close together are handled as one.
const DEBOUNCE: Duration = Duration::from_millis(15);
const SLOWEST_RETRY: Duration = Duration::from_secs(5);

/// The sending end of a work queue.
#[derive(Clone)]
pub struct Queue(UnboundedSender<Key>);

impl Queue {
    /// A queue and its working end.
    pub fn new() -> (Self, UnboundedReceiver<Key>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Asks for a reconciliation of the key.
    pub fn push(&self, key: Key) {
        let _ = self.0.send(key);
    }
}

/// What is known of the keys that wait for work.
#[derive(Default)]
struct Waiting {
    due: HashMap<Key, Instant>,
    running: HashSet<Key>,
    failures: HashMap<Key, u32>,
}

impl Waiting {
    fn at(&mut self, key: Key, when: Instant) {
        let due = self.due.entry(key).or_insert(when);
        *due = (*due).min(when);
    }

    fn next(&self) -> Option<Instant> {
        let free = self.due.iter().filter(|(key, _)| !self.running.contains(*key));
        free.map(|(_, when)| *when).min()
    }

    fn take_due(&mut self, now: Instant) -> Vec<Key> {
        let ready: Vec<Key> = self
            .due
            .iter()
            .filter(|(key, when)| **when <= now && !self.running.contains(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &ready {
            self.due.remove(key);
            self.running.insert(key.clone());
        }
        ready
    }

    fn done(&mut self, name: &str, key: Key, result: anyhow::Result<Option<Duration>>) {
        self.running.remove(&key);
        match result {
            Ok(again) => {
                self.failures.remove(&key);
                if let Some(after) = again {
                    self.at(key, Instant::now() + after);
                }
            }
            Err(error) => {
                let failures = self.failures.entry(key.clone()).or_default();
                *failures += 1;
                let wait = (DEBOUNCE * 2u32.saturating_pow(*failures)).min(SLOWEST_RETRY);
                tracing::debug!(controller = name, ?key, error = %format!("{error:#}"), ?wait, "tried again later");
                self.at(key, Instant::now() + wait);
            }
        }
    }
}

/// Works the queue for ever. The reconciler says after how long it wants to look again.
pub async fn work<F, Fut>(name: &'static str, mut keys: UnboundedReceiver<Key>, reconcile: F)
where
    F: Fn(Key) -> Fut,
    Fut: Future<Output = anyhow::Result<Option<Duration>>> + Send + 'static,
{
    let mut waiting = Waiting::default();
    let mut running: JoinSet<(Key, anyhow::Result<Option<Duration>>)> = JoinSet::new();
    loop {
        for key in waiting.take_due(Instant::now()) {
            let work = reconcile(key.clone());
            running.spawn(async move { (key, work.await) });
        }
        let next = waiting.next();
        tokio::select! {
            key = keys.recv() => match key {
                Some(key) => waiting.at(key, Instant::now() + DEBOUNCE),
                None => return,
            },
            Some(done) = running.join_next() => {
                if let Ok((key, result)) = done {
                    waiting.done(name, key, result);
                }
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}
