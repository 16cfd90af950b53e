//! The board, out of what the leader knows or of what the Recommendations say.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use valence_webhook::Plans;

use super::managed::Managed;
use super::slo::Selected;
use super::status::{original_resources, recorded};
use super::subjects::{Key, Matched, Matches, desired_replicas};
use crate::cache::Cluster;
use crate::cache::keep::KnownRecommendation;
use crate::report::status::{ObjectiveStatus, Snapshot, Workload};

/// What the leader knows.
#[must_use]
pub fn of_leader(matched: &Matches, managed: &BTreeMap<Key, Managed>, objectives: &[Selected<'_>]) -> Snapshot {
    let known = matched.iter().filter_map(|(key, one)| workload(one, managed.get(key)?));
    Snapshot {
        at: Some(jiff::Timestamp::now()),
        leader: true,
        objectives: objectives.iter().map(Selected::for_board).collect(),
        workloads: known.collect(),
    }
}

fn workload(matched: &Matched, managed: &Managed) -> Option<Workload> {
    let decision = managed.decision.clone()?;
    let advisor = managed.advisor();
    let current = managed.current();
    let original = original_resources(&matched.deployment);
    Some(Workload {
        namespace: matched.subject.namespace.clone(),
        name: matched.subject.name.clone(),
        live: managed.bounds().live,
        decision,
        current_replicas: desired_replicas(&matched.deployment),
        ready_pods: managed.ready_pods(),
        current: if current.is_empty() { original.clone() } else { current },
        usage: managed.usage(),
        original_replicas: Some(managed.original_replicas),
        original,
        load_per_second: managed.load_per_second(),
        compliance: advisor.compliance(),
        counted: managed.counted.clone(),
        curves: advisor.curves(),
        numbers: advisor
            .numbers()
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect(),
        remarks: remarks(&managed.conditions),
    })
}

/// What the conditions say that is not as it should be.
fn remarks(conditions: &[crate::api::Condition]) -> Vec<String> {
    conditions
        .iter()
        .filter(|condition| !condition.is_well())
        .map(|condition| condition.message.clone())
        .collect()
}

/// What a replica that does not recommend can tell.
#[must_use]
pub fn of_follower(cluster: &Cluster) -> Snapshot {
    let mut workloads: Vec<Workload> = cluster
        .recommendations
        .all()
        .iter()
        .filter_map(|known| from_status(cluster, known))
        .collect();
    workloads.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Snapshot {
        at: Some(jiff::Timestamp::now()),
        leader: false,
        objectives: objectives(cluster),
        workloads,
    }
}

fn objectives(cluster: &Cluster) -> Vec<ObjectiveStatus> {
    let mut all = Vec::new();
    for namespace in cluster.objectives.namespaces() {
        for known in cluster.objectives.of(&namespace) {
            let status = known.object.as_ref().and_then(|object| object.status.as_ref());
            let deployments = status.map(|status| status.deployments.iter().map(|one| one.name.clone()).collect());
            all.push(ObjectiveStatus {
                namespace: namespace.to_string(),
                name: known.name.clone(),
                objectives: known
                    .in_force
                    .as_ref()
                    .map(|in_force| in_force.objectives.clone())
                    .unwrap_or_default(),
                error: known.error.as_ref().map(ToString::to_string),
                deployments: deployments.unwrap_or_default(),
            });
        }
    }
    all.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    all
}

fn from_status(cluster: &Cluster, known: &Arc<KnownRecommendation>) -> Option<Workload> {
    let status = known.object.status.as_ref()?;
    let namespace = known.object.namespace().unwrap_or_default();
    let name = known.object.name_any();
    let deployment = cluster.deployment(&namespace, &name)?;
    let original = original_resources(&deployment);
    Some(Workload {
        live: status.live,
        decision: recorded(status),
        current_replicas: desired_replicas(&deployment),
        ready_pods: deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .and_then(|ready| u32::try_from(ready).ok())
            .unwrap_or_default(),
        // Only who measures knows the pods' own.
        current: BTreeMap::new(),
        usage: BTreeMap::new(),
        original_replicas: status
            .original
            .as_ref()
            .and_then(|original| u32::try_from(original.replicas?).ok()),
        original,
        load_per_second: status
            .observed
            .as_ref()
            .and_then(|observed| observed.throughput_per_minute)
            .map(|minute| minute / 60.0),
        compliance: Vec::new(),
        counted: Vec::new(),
        curves: Vec::new(),
        numbers: status.model.clone(),
        remarks: remarks(&status.conditions),
        namespace,
        name,
    })
}
