//! Watching.

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::support::{Cluster, create, pod, resource};

async fn next(
    stream: &mut (impl futures::Stream<Item = kube::Result<WatchEvent<DynamicObject>>> + Unpin),
) -> (String, String) {
    match stream.try_next().await.unwrap().unwrap() {
        WatchEvent::Added(object) => ("ADDED".into(), object.name_any()),
        WatchEvent::Modified(object) => ("MODIFIED".into(), object.name_any()),
        WatchEvent::Deleted(object) => ("DELETED".into(), object.name_any()),
        WatchEvent::Bookmark(_) => ("BOOKMARK".into(), String::new()),
        WatchEvent::Error(status) => ("ERROR".into(), status.reason),
    }
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.into(), name.into())
}

#[tokio::test]
async fn changes_arrive_in_order_and_selection_adds_and_deletes() {
    let cluster = Cluster::start().await;
    let api = cluster.pods();
    let start = api
        .list(&Default::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    create(&api, pod("a")).await;
    create(&api, pod("b")).await;
    let mut all = api.watch(&WatchParams::default(), &start).await.unwrap().boxed();
    assert_eq!(next(&mut all).await, event("ADDED", "a"));
    assert_eq!(next(&mut all).await, event("ADDED", "b"));
    let mut of_b = api
        .watch(&WatchParams::default().labels("app=b"), &start)
        .await
        .unwrap()
        .boxed();
    assert_eq!(next(&mut of_b).await, event("ADDED", "b"));
    let leave = Patch::Merge(json!({ "metadata": { "labels": { "app": "z" } } }));
    api.patch("b", &PatchParams::default(), &leave).await.unwrap();
    assert_eq!(next(&mut all).await, event("MODIFIED", "b"));
    assert_eq!(next(&mut of_b).await, event("DELETED", "b"));
    api.delete("a", &Default::default()).await.unwrap();
    assert_eq!(next(&mut all).await, event("DELETED", "a"));
}

#[tokio::test]
async fn a_revision_that_is_forgotten_is_gone() {
    let cluster = Cluster::with(|options| options.history = 2).await;
    let api = cluster.pods();
    let start = api
        .list(&Default::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    for name in ["a", "b", "c", "d"] {
        create(&api, pod(name)).await;
    }
    let mut stream = api.watch(&WatchParams::default(), &start).await.unwrap().boxed();
    assert_eq!(next(&mut stream).await, event("ERROR", "Expired"));
}

async fn names_from_watcher(client: Client, config: watcher::Config) -> Vec<String> {
    let api: Api<DynamicObject> = Api::all_with(client, &resource("v1", "Pod", "pods"));
    let mut stream = watcher(api, config).boxed();
    let mut names = Vec::new();
    loop {
        match stream.try_next().await.unwrap().unwrap() {
            Event::InitApply(object) => names.push(object.name_any()),
            Event::InitDone => return names,
            _ => {}
        }
    }
}

#[tokio::test]
async fn watchers_of_kube_fill_by_list_and_by_stream() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        create(&cluster.pods(), pod(name)).await;
    }
    let listed = names_from_watcher(cluster.client.clone(), watcher::Config::default()).await;
    let streamed = names_from_watcher(cluster.client.clone(), watcher::Config::default().streaming_lists()).await;
    assert_eq!(listed, ["a", "b"]);
    assert_eq!(streamed, ["a", "b"]);
}

#[tokio::test]
async fn a_watcher_recovers_from_compaction_and_cut_connections() {
    let cluster = Cluster::start().await;
    let mut stream = watcher(cluster.pods(), watcher::Config::default()).boxed();
    while !matches!(stream.next().await.unwrap(), Ok(Event::InitDone)) {}
    cluster.server.faults().cut();
    cluster.server.compact();
    create(&cluster.pods(), pod("late")).await;
    loop {
        // Errors on the way are what is being recovered from.
        if let Ok(Event::Apply(object) | Event::InitApply(object)) = stream.next().await.unwrap() {
            assert_eq!(object.name_any(), "late");
            return;
        }
    }
}
