//! Which software each pod of a Deployment runs, by the revision that it is of.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use super::subjects::Matched;
use crate::cache::keep::REVISION;
use crate::scrape::Subject;

/// What is known of the revisions that have pods: a pod shows the hash of its template, which a mere restart changes, and
/// not the software.
#[derive(Clone, Debug, Default)]
pub struct Software {
    /// Software by template hash.
    known: BTreeMap<String, String>,
}

impl Software {
    /// What to scrape, with software in place of template hashes. Pods of a revision that was over before this process began keep their
    /// own hash, and so count as another software.
    pub fn subject(&mut self, matched: &Matched) -> Subject {
        let newest = &matched.subject.template;
        // Until the controller has seen a change, the newest revision is still that of the template before it.
        if !self.known.contains_key(newest) || is_settled(&matched.deployment, matched.revision) {
            self.known.insert(newest.clone(), matched.software.clone());
        }
        let pods = &matched.subject.pods;
        self.known
            .retain(|hash, _| hash == newest || pods.iter().any(|pod| pod.template_hash.as_ref() == Some(hash)));
        Subject {
            template: self.known[newest].clone(),
            software: self.known.clone(),
            ..matched.subject.clone()
        }
    }
}

/// Whether a revision is that of the template which the Deployment has now.
fn is_settled(deployment: &Deployment, revision: u64) -> bool {
    let noted = deployment
        .annotations()
        .get(REVISION)
        .and_then(|text| text.parse().ok());
    let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
    noted == Some(revision) && seen == deployment.metadata.generation
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::cache::{Cluster, keep};
    use crate::recommender::subjects;
    use crate::scrape::TEMPLATE_HASH;

    /// A cluster whose Deployment has an image and was restarted at a time, as of a revision; its controller has seen it
    /// or not. Pods are of the revisions named.
    fn matched(image: &str, restarted: &str, revision: u64, seen: bool, pods: &[u64]) -> Matched {
        let cluster = Cluster::default();
        let template = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": restarted}},
            "spec": {"containers": [{"name": "app", "image": image}]}});
        let deployment = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"slo": "fast"}, "generation": revision + u64::from(!seen),
                "annotations": {REVISION: revision.to_string()}},
            "spec": {"selector": {}, "template": template},
            "status": {"observedGeneration": revision},
        });
        let deployment = keep::deployment(serde_json::from_value(deployment).unwrap(), None);
        cluster.deployments.put("shop", "web", deployment);
        let owner = |kind: &str, name: &str| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true}]);
        for number in 1..=revision {
            let name = format!("web-{number}");
            let replica_set = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": name, "namespace": "shop", "labels": {TEMPLATE_HASH: number.to_string()},
                    "annotations": {REVISION: number.to_string()}, "ownerReferences": owner("Deployment", "web")}});
            let replica_set = keep::replica_set(serde_json::from_value(replica_set).unwrap(), None);
            cluster.replica_sets.put("shop", &name, replica_set);
        }
        for number in pods {
            let name = format!("web-{number}-a");
            let pod = json!({"metadata": {"name": name, "namespace": "shop", "labels": {TEMPLATE_HASH: number.to_string()},
                "ownerReferences": owner("ReplicaSet", &format!("web-{number}"))}, "spec": {"containers": []}});
            let pod = keep::pod(serde_json::from_value(pod).unwrap(), None);
            cluster.pods.put("shop", &name, pod);
        }
        let objective = json!({"metadata": {"name": "fast", "namespace": "shop"}, "spec": {"selector": {"slo": "fast"}, "objectives": [
            {"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}]}});
        let objective = keep::objective(serde_json::from_value(objective).unwrap(), None);
        cluster.objectives.put("shop", "fast", objective);
        subjects::matched(&cluster)
            .remove(&("shop".to_owned(), "web".to_owned()))
            .unwrap()
    }

    fn named(software: &mut Software, matched: &Matched) -> Subject {
        software.subject(matched)
    }

    #[test]
    fn a_restart_is_the_same_software_in_old_pods_and_new() {
        let mut software = Software::default();
        let before = named(&mut software, &matched("web:1", "never", 1, true, &[1]));
        let during = named(&mut software, &matched("web:1", "today", 2, true, &[1, 2]));
        assert_eq!(during.template, before.template);
        assert_eq!(during.software["1"], during.software["2"]);
        let after = named(&mut software, &matched("web:1", "today", 2, true, &[2]));
        assert_eq!(after.template, before.template);
        assert!(!after.software.contains_key("1"), "what has no pods is forgotten");
    }

    #[test]
    fn another_image_is_another_software_once_its_revision_is_there() {
        let mut software = Software::default();
        let before = named(&mut software, &matched("web:1", "never", 1, true, &[1]));
        let unseen = named(&mut software, &matched("web:2", "never", 1, false, &[1]));
        assert_eq!(unseen.template, before.template, "the pods are still those of before");
        let during = named(&mut software, &matched("web:2", "never", 2, true, &[1, 2]));
        assert_ne!(during.template, before.template);
        assert_eq!(during.software["1"], before.template);
        assert_eq!(during.software["2"], during.template);
    }

    #[test]
    fn pods_of_a_revision_from_before_the_process_are_others() {
        let named = named(&mut Software::default(), &matched("web:2", "never", 2, true, &[1, 2]));
        assert!(!named.software.contains_key("1"), "{:?}", named.software);
    }
}
