//! Writers that keep the caches busy while reviews are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use valence::cache::{Cluster, follow, keep};

use super::cluster;

/// A writer at work, until it is dropped.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    fn start(pause: Duration, mut write: impl FnMut(u64) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for turn in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                write(turn);
                std::thread::sleep(pause);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// 500 new plans a second: a decision about each of 10,000 Deployments in 20 s.
    pub fn of_plans(cluster: &Arc<Cluster>) -> Self {
        let cluster = Arc::clone(cluster);
        Self::start(Duration::from_millis(10), move |turn| {
            (0..5).for_each(|index| cluster::update(&cluster, (turn as usize * 5 + index) % 10_000, turn));
        })
    }

    /// What the watches tell of one Deployment that rolls out: twenty new statuses a second, and once a second a
    /// Recommendation whose measurements changed and whose plan did not.
    pub fn of_rollout(cluster: &Arc<Cluster>, index: usize) -> Self {
        let cluster = Arc::clone(cluster);
        Self::start(Duration::from_millis(50), move |turn| {
            rolls_out(&cluster, index, turn);
            if turn.is_multiple_of(20) {
                measures(&cluster, index, turn);
            }
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a writer ends");
        }
    }
}

fn key(index: usize) -> (String, String) {
    (
        format!("team-{}", index % cluster::NAMESPACES),
        format!("service-{index}"),
    )
}

fn rolls_out(cluster: &Cluster, index: usize, turn: u64) {
    let (namespace, name) = key(index);
    let mut object = cluster::deployment(&name);
    object["metadata"]["namespace"] = json!(namespace);
    object["metadata"]["generation"] = json!(7);
    object["metadata"]["resourceVersion"] = json!(turn.to_string());
    let ready = turn % 10;
    object["status"] = json!({"observedGeneration": 7, "replicas": 13, "updatedReplicas": ready + 3, "readyReplicas": 10 + turn % 3,
        "availableReplicas": 10, "unavailableReplicas": turn % 3, "conditions": [{"type": "Progressing", "status": "True",
        "reason": "ReplicaSetUpdated", "message": format!("ReplicaSet is progressing, {ready}"),
        "lastUpdateTime": format!("2026-11-24T06:00:{:02}Z", turn % 60), "lastTransitionTime": "2026-11-24T06:00:00Z"}]});
    let before = cluster.deployments.get(&namespace, &name);
    let known = follow::kept(keep::deployment, cluster::read(object), before);
    cluster.deployments.put_shared(&namespace, &name, known);
}

fn measures(cluster: &Cluster, index: usize, turn: u64) {
    let (namespace, name) = key(index);
    let mut object = cluster::recommendation(&name, 0);
    object["metadata"]["resourceVersion"] = json!(turn.to_string());
    object["status"]["observed"] = json!({"throughputPerMinute": 500 + turn});
    object["status"]["decidedAt"] = json!(format!("2026-11-24T06:{:02}:00Z", turn / 20 % 60));
    let before = cluster.recommendations.get(&namespace, &name);
    let known = follow::kept(keep::recommendation, cluster::read(object), before);
    cluster.recommendations.put_shared(&namespace, &name, known);
}
