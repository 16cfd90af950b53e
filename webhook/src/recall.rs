//! Answers that were given before.
//!
//! The pods of a ReplicaSet come in bursts, and differ in nothing that admission looks at: names of token volumes and
//! environments are not. What is decided follows from the parts of the review that are read, the settings, and what
//! [`Plans`] say to what they are asked. All of these are kept with an answer, and it is given again where a review is
//! [alike](crate::alike), the settings are the same, and every question is answered with the same objects as before; so
//! whatever is new in a cache is seen by the next pod, as it is without this.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use crate::alike::Template;
use crate::asking::{Asking, Question};
use crate::outcome::Outcome;
use crate::plans::Plans;
use crate::review;
use crate::settings::Settings;
use crate::view::{Metadata, Pod};

/// Most ReplicaSets of which an answer is kept; by the lengths of their reviews, of which a few may be the same.
const SLOTS: usize = LENGTHS * SAME_LENGTH;
const LENGTHS: usize = 64;
const SAME_LENGTH: usize = 4;

/// ReplicaSets that are known to have been asked about.
const SEEN: usize = 256;

/// Most bytes of an answer that is kept, and of what it was about: usual are some 30 KB.
const MOST_BYTES: usize = 128 << 10;

/// Most bytes of all that are kept.
const MOST_BYTES_OF_ALL: usize = 6 << 20;

/// An answer without the identifier that it begins with.
#[derive(Debug)]
pub(crate) struct Reply {
    /// What came of it, without the patch.
    pub outcome: Outcome,
    /// Whether there was a patch.
    pub patched: bool,
    /// The review after its identifier, as JSON.
    pub rest: Vec<u8>,
}

/// A review of a new pod that was read.
pub(crate) struct Asked<'r, 'b> {
    /// As it came.
    pub body: &'b [u8],
    /// Its identifier.
    pub uid: &'r str,
    /// Namespace of the pod.
    pub namespace: &'r str,
    /// Whether nothing will be kept of it.
    pub dry_run: bool,
    /// The pod.
    pub pod: &'r Pod<'b>,
}

/// An answer that was given before, to a review that was not read.
pub(crate) struct Recalled<'b> {
    /// The identifier of the review.
    pub uid: &'b str,
    /// Whether nothing will be kept of it.
    pub dry_run: bool,
    /// What to answer.
    pub reply: Arc<Reply>,
}

/// Answers that were given before. It is read without a lock.
pub(crate) struct Recall {
    /// The ReplicaSets that were last asked about: an answer is kept when it is asked about again.
    seen: Vec<AtomicU64>,
    kept: Vec<ArcSwapOption<Kept>>,
}

struct Kept {
    replica_set: u64,
    review: Template,
    dry_run: bool,
    settings: Arc<Settings>,
    questions: Vec<Question>,
    reply: Arc<Reply>,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            seen: (0..SEEN).map(|_| AtomicU64::default()).collect(),
            kept: (0..SLOTS).map(|_| ArcSwapOption::empty()).collect(),
        }
    }
}

impl Recall {
    /// The answer to a review that is like an earlier one, where nothing that it was made from has changed.
    pub fn find<'b>(&self, plans: &dyn Plans, settings: &Arc<Settings>, body: &'b [u8]) -> Option<Recalled<'b>> {
        self.slots(body.len()).iter().find_map(|slot| {
            let kept = slot.load();
            let kept = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.settings, settings))?;
            let uid = kept.review.uid_in(body)?;
            kept.questions.iter().all(|question| question(plans)).then(|| Recalled {
                uid,
                dry_run: kept.dry_run,
                reply: Arc::clone(&kept.reply),
            })
        })
    }

    /// A new answer, kept where one was given about the same ReplicaSet before.
    pub fn reply(
        &self,
        plans: &Arc<dyn Plans>,
        settings: &Arc<Settings>,
        asked: &Asked<'_, '_>,
        decide: impl Fn(&dyn Plans) -> Reply,
    ) -> Arc<Reply> {
        let Some(replica_set) = asked.pod.metadata.as_ref().and_then(controller) else {
            return Arc::new(decide(plans.as_ref()));
        };
        let key = key(asked.namespace, replica_set);
        if self.seen[key as usize % SEEN].swap(key, Ordering::Relaxed) != key {
            return Arc::new(decide(plans.as_ref()));
        }
        let asking = Asking::new(Arc::clone(plans));
        let reply = Arc::new(decide(&asking));
        let may_be_kept = reply.outcome.unseen.is_none() && !reply.outcome.overrides;
        let fits = asked.body.len() + reply.rest.len() <= MOST_BYTES;
        if let Some(review) = (may_be_kept && fits).then(|| asked.template()).flatten() {
            self.keep(Kept {
                replica_set: key,
                review,
                dry_run: asked.dry_run,
                settings: Arc::clone(settings),
                questions: asking.questions(),
                reply: Arc::clone(&reply),
            });
        }
        reply
    }

    fn keep(&self, kept: Kept) {
        let all: usize = self
            .kept
            .iter()
            .filter_map(|slot| Some(slot.load().as_ref()?.size()))
            .sum();
        if all + kept.size() > MOST_BYTES_OF_ALL {
            self.kept.iter().for_each(|slot| slot.store(None));
        }
        let slots = self.slots(kept.review.length());
        let own = |slot: &&ArcSwapOption<Kept>| {
            let other = slot.load();
            other
                .as_ref()
                .is_some_and(|other| other.replica_set == kept.replica_set)
        };
        let free = |slot: &&ArcSwapOption<Kept>| slot.load().is_none();
        let slot = slots.iter().find(own).or_else(|| slots.iter().find(free));
        let slot = slot.unwrap_or(&slots[kept.replica_set as usize / SEEN % SAME_LENGTH]);
        slot.store(Some(Arc::new(kept)));
    }

    /// Where answers to reviews of a length are kept.
    fn slots(&self, length: usize) -> &[ArcSwapOption<Kept>] {
        &self.kept[length % LENGTHS * SAME_LENGTH..][..SAME_LENGTH]
    }
}

impl Asked<'_, '_> {
    fn template(&self) -> Option<Template> {
        Template::of(self.body, self.uid, &review::passed_over(self.body)?)
    }
}

impl Kept {
    /// Bytes that it takes, about.
    fn size(&self) -> usize {
        self.review.size() + self.reply.rest.len()
    }
}

fn controller<'m>(metadata: &'m Metadata<'_>) -> Option<&'m str> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller.unwrap_or_default())?;
    controller.name.as_deref()
}

fn key(namespace: &str, replica_set: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, replica_set).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use arc_swap::ArcSwap;
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
    use k8s_openapi::api::core::v1::{self as core, LimitRange, ResourceQuota, Service};

    use super::*;
    use crate::admission::Context;
    use crate::patch::Patch;
    use crate::plans::{ContainerResources, LatencyObjective, Plan};
    use crate::pod::{self, Sidecars};
    use crate::review::Read;

    /// A Deployment `web` whose parts change one by one.
    #[derive(Default)]
    struct Shop {
        labels: ArcSwap<BTreeMap<String, String>>,
        deployment: ArcSwapOption<Deployment>,
        objectives: ArcSwap<Vec<LatencyObjective>>,
        plan: ArcSwapOption<Plan>,
        services: ArcSwap<Vec<Arc<Service>>>,
        quotas: ArcSwap<Vec<Arc<ResourceQuota>>>,
    }

    impl Plans for Shop {
        fn synced(&self) -> bool {
            true
        }
        fn namespace_labels(&self, _: &str) -> Option<Arc<BTreeMap<String, String>>> {
            Some(self.labels.load_full())
        }
        fn deployment_of_replica_set(&self, _: &str, _: &str) -> Option<String> {
            Some("web".to_owned())
        }
        fn deployment(&self, _: &str, _: &str) -> Option<Arc<Deployment>> {
            self.deployment.load_full()
        }
        fn deployments(&self, _: &str) -> Vec<Arc<Deployment>> {
            Vec::new()
        }
        fn objectives(&self, _: &str, _: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
            self.objectives.load().to_vec()
        }
        fn plan(&self, _: &str, _: &str) -> Option<Arc<Plan>> {
            self.plan.load_full()
        }
        fn services(&self, _: &str) -> Vec<Arc<Service>> {
            self.services.load().to_vec()
        }
        fn selected_pods(&self, _: &str, _: &[(&str, &str)]) -> Vec<core::Pod> {
            Vec::new()
        }
        fn limit_ranges(&self, _: &str) -> Vec<Arc<LimitRange>> {
            Vec::new()
        }
        fn resource_quotas(&self, _: &str) -> Vec<Arc<ResourceQuota>> {
            self.quotas.load().to_vec()
        }
        fn horizontal_pod_autoscalers(&self, _: &str) -> Vec<Arc<HorizontalPodAutoscaler>> {
            Vec::new()
        }
        fn active_vertical_pod_autoscaler(&self, _: &str, _: &str) -> Option<String> {
            None
        }
    }

    fn plan(cpu: u64) -> Option<Arc<Plan>> {
        let resources = ContainerResources {
            cpu_request_millicores: Some(cpu),
            ..ContainerResources::default()
        };
        Some(Arc::new(Plan {
            containers: [("app".to_owned(), resources)].into(),
            ..Plan::default()
        }))
    }

    fn typed<T: serde::de::DeserializeOwned>(object: serde_json::Value) -> Arc<T> {
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn deployment() -> Option<Arc<Deployment>> {
        Some(typed(serde_json::json!({
            "metadata": {"name": "web", "annotations": {"valence.io/optimizer.configure": "true"}}, "spec": {"selector": {}, "template": {}},
        })))
    }

    fn service(port: u16) -> Vec<Arc<Service>> {
        let port = serde_json::json!({"name": "http", "port": port, "targetPort": 8080});
        vec![typed(
            serde_json::json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [port]}}),
        )]
    }

    fn quota(cpu: &str) -> Vec<Arc<ResourceQuota>> {
        vec![typed(
            serde_json::json!({"metadata": {"name": "all"}, "spec": {"hard": {"requests.cpu": cpu}}}),
        )]
    }

    const POD: &str = r#"{"metadata":{"labels":{"app":"web"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-1","controller":true}]},
        "spec":{"containers":[{"name":"app","ports":[{"containerPort":8080}],"resources":{"requests":{"cpu":"100m"}}}]}}"#;

    /// Asks about a pod with and without a memory; whether the answer had to be made.
    fn asked(recall: &Recall, shop: &Arc<Shop>, settings: &Arc<Settings>, namespace: &str, pod: &str) -> bool {
        let plans: Arc<dyn Plans> = Arc::clone(shop) as _;
        let body = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","namespace":"{namespace}","object":{pod}}}}}"#
        );
        let Read::Whole(request) = review::read_pod(body.as_bytes()).unwrap() else {
            panic!("a pod of this test is understood")
        };
        let pod = request.object.as_ref().unwrap();
        let decide = |plans: &dyn Plans| {
            let context = Context {
                plans,
                settings,
                sidecars: &Sidecars::default(),
            };
            let outcome = pod::admit(&context, namespace, pod);
            Reply {
                rest: review::rest(&outcome.patch, &outcome.warnings),
                patched: !outcome.patch.is_empty(),
                outcome: Outcome {
                    patch: Patch::default(),
                    ..outcome
                },
            }
        };
        let asked = Asked {
            body: body.as_bytes(),
            uid: request.uid.as_deref().unwrap(),
            namespace,
            dry_run: false,
            pod,
        };
        let recalled = recall.find(plans.as_ref(), settings, body.as_bytes());
        let was_made = recalled.is_none();
        let reply = match recalled {
            Some(recalled) => recalled.reply,
            None => recall.reply(&plans, settings, &asked, decide),
        };
        let fresh = decide(plans.as_ref());
        assert_eq!((&reply.rest, &reply.outcome), (&fresh.rest, &fresh.outcome));
        was_made
    }

    #[test]
    fn an_answer_is_given_again_until_something_that_it_was_made_from_changes() {
        let (recall, shop, mut settings) = (
            Recall::default(),
            Arc::new(Shop::default()),
            Arc::new(Settings::default()),
        );
        let ask = |settings: &Arc<Settings>, pod: &str| asked(&recall, &shop, settings, "shop", pod);
        let made_once = |settings: &Arc<Settings>, what: &str| {
            assert!(ask(settings, POD), "made anew: {what}");
            assert!(!ask(settings, POD), "given again: {what}");
        };
        assert!(
            ask(&settings, POD) && ask(&settings, POD),
            "nobody is kept who comes once; no Deployment is known"
        );
        shop.deployment.store(deployment());
        made_once(&settings, "the Deployment is known");
        shop.objectives.store(Arc::new(vec![LatencyObjective {
            slo: "fast".to_owned(),
            percentile: 99,
            response_time_seconds: 0.1,
        }]));
        made_once(&settings, "an objective selects it");
        shop.labels.store(Arc::new(
            [("valence.io/injection".to_owned(), "enabled".to_owned())].into(),
        ));
        made_once(&settings, "the namespace asks for sidecars");
        for cpu in [200, 300] {
            shop.plan.store(plan(cpu));
            made_once(&settings, "the plan changed");
        }
        for port in [80, 443] {
            shop.services.store(Arc::new(service(port)));
            made_once(&settings, "a Service changed");
        }
        for cpu in ["250m", "110m"] {
            shop.quotas.store(Arc::new(quota(cpu)));
            made_once(&settings, "a quota changed");
        }
        settings = Arc::new(Settings {
            native_sidecars: false,
            ..Settings::default()
        });
        made_once(&settings, "the settings changed");
        let other = POD.replace("\"100m\"", "\"150m\"");
        assert!(
            ask(&settings, &other) && !ask(&settings, &other),
            "another pod of the ReplicaSet"
        );
        assert!(asked(&recall, &shop, &settings, "bank", &other), "another namespace");
        let containers = vec![r#"{"name":"app"}"#; 9_900].join(",");
        let large = format!(
            r#"{{"metadata":{{"ownerReferences":[{{"name":"web-2","controller":true}}]}},"spec":{{"containers":[{containers}]}}}}"#
        );
        assert!((0..3).all(|_| ask(&settings, &large)), "what is too large is not kept");
    }
}
