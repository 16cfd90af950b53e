//! Which replica set belongs to a Deployment's template, and its revision.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::plan::{Bounds, DESIRED, MOST};
use crate::controllers::objects::{controlled_by, suffix};

/// The label that tells the pods of one template from those of another.
pub const HASH: &str = "pod-template-hash";
/// The annotation with the number of the rollout.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const EARLIER: &str = "deployment.kubernetes.io/revision-history";
const NOT_COPIED: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    EARLIER,
    DESIRED,
    MOST,
];

/// The template without the label that the controller itself adds.
fn plain(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = template.metadata.as_mut() {
        if let Some(labels) = meta.labels.as_mut() {
            labels.remove(HASH);
        }
        meta.creation_timestamp = None;
    }
    template
}

/// A short hash of a template (FNV-1a over its JSON, whose maps are sorted).
pub fn hash(template: &PodTemplateSpec) -> String {
    let text = serde_json::to_vec(&plain(template)).unwrap_or_default();
    let bits = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    suffix(bits, 10)
}

/// The replica set that has the Deployment's template, the oldest if there are several.
pub fn current<'a>(deployment: &Deployment, sets: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let template = &deployment.spec.template;
    let (plain_template, hash) = (plain(template), hash(template));
    let has_template = |set: &&ReplicaSet| {
        set.labels().get(HASH) == Some(&hash)
            || set
                .spec
                .template
                .as_ref()
                .is_some_and(|template| plain(template) == plain_template)
    };
    sets.iter()
        .filter(has_template)
        .min_by_key(|set| set.creation_timestamp())
}

/// The number of a replica set's rollout, 0 where it has none.
pub fn revision(set: &ReplicaSet) -> i64 {
    set.annotations()
        .get(REVISION)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

/// The replica set for a template that has none yet.
pub fn fresh(deployment: &Deployment, replicas: i32, revision: i64) -> ReplicaSet {
    let spec = deployment.spec.clone();
    let mut template = spec.template;
    let hash = hash(&template);
    let mut labels = template
        .metadata
        .as_ref()
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    labels.insert(HASH.into(), hash.clone());
    template.metadata.get_or_insert_default().labels = Some(labels.clone());
    let mut selector = spec.selector;
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH.into(), hash.clone());
    let mut annotations = carried(deployment);
    annotations.extend(sizing(Bounds::of(deployment)));
    annotations.insert(REVISION.into(), revision.to_string());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: controlled_by(deployment).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

/// The annotations that tell at which size of the Deployment a set was sized.
pub fn sizing(bounds: Bounds) -> BTreeMap<String, String> {
    BTreeMap::from([
        (DESIRED.to_owned(), bounds.replicas.to_string()),
        (MOST.to_owned(), (bounds.replicas + bounds.surge).to_string()),
    ])
}

/// The Deployment's annotations that its replica sets carry too.
pub fn carried(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.annotations().clone();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    annotations
}

/// What must change in the current set's annotations: those of the Deployment, and the next revision when an old
/// template has come back.
pub fn renewed(deployment: &Deployment, set: &ReplicaSet, latest_other: i64) -> BTreeMap<String, String> {
    let mut annotations = carried(deployment);
    let own = revision(set);
    if own <= latest_other {
        annotations.insert(REVISION.into(), (latest_other + 1).to_string());
        if own > 0 {
            let earlier = set.annotations().get(EARLIER).map(|text| format!("{text},{own}"));
            annotations.insert(EARLIER.into(), earlier.unwrap_or_else(|| own.to_string()));
        }
    }
    annotations.retain(|key, value| set.annotations().get(key) != Some(value));
    annotations
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn deployment(image: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "1", "annotations": {"team": "a", REVISION: "1"}},
            "spec": {
                "replicas": 4,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": image}]},
                },
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_fresh_set_is_found_again_by_its_template() {
        let (one, two) = (deployment("one"), deployment("two"));
        let sets = [fresh(&one, 1, 1), fresh(&two, 1, 2)];
        assert_eq!(current(&one, &sets).unwrap().name_any(), sets[0].name_any());
        assert_eq!(current(&two, &sets).unwrap().name_any(), sets[1].name_any());
        assert!(current(&deployment("three"), &sets).is_none());
    }

    #[test]
    fn a_fresh_set_selects_only_its_own_pods() {
        let set = fresh(&deployment("one"), 1, 1);
        let hash = &set.labels()[HASH];
        assert_eq!(set.name_any(), format!("web-{hash}"));
        assert_eq!(set.spec.selector.match_labels.as_ref().unwrap()[HASH], *hash);
        assert_eq!(set.annotations()["team"], "a");
        assert_eq!(set.annotations()[DESIRED], "4");
        assert_eq!(set.annotations()[MOST], "5");
    }

    #[test]
    fn a_template_that_comes_back_gets_the_next_revision() {
        let deployment = deployment("one");
        let set = fresh(&deployment, 1, 1);
        let changed = renewed(&deployment, &set, 2);
        assert_eq!(changed[REVISION], "3");
        assert_eq!(changed[EARLIER], "1");
        assert!(renewed(&deployment, &set, 0).is_empty());
    }
}
