//! Answers that were given before.
//!
//! The pods of a ReplicaSet come in bursts, and differ in nothing that admission looks at: names of token volumes and
//! environments are not. What is decided follows from the parts of the review that are read, the settings, and what
//! [`Plans`] say to what they are asked. All of these are kept with an answer, and it is given again where a review is
//! [alike](crate::alike), the settings are the same, and every question is answered with the same objects as before; so
//! whatever is new in a cache is seen by the next pod, as it is without this.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use memchr::memmem::Finder;

use crate::alike::Template;
use crate::asking::{Asked, Asking};
use crate::outcome::Outcome;
use crate::plans::Plans;
use crate::review::{self, Rest};
use crate::settings::Settings;
use crate::view::{Metadata, Pod};

/// ReplicaSets that are known to have been asked about, and of which an answer is kept when they are asked about again:
/// each in one of a few places.
const SLOTS: usize = 512 * WAYS;
const WAYS: usize = 8;

/// Most bytes of an answer that is kept, and of what it was made from: usual are 5 KB.
const MOST_BYTES: usize = 64 << 10;

/// Most bytes of all that are kept: room for a thousand of pods with six containers, twice as many of usual ones.
const MOST_BYTES_OF_ALL: usize = 9 << 20;

/// How far into a review a pod's namespace and the name that its own is made from stand.
const HEAD: usize = 8 << 10;

/// An answer without the identifier that it begins with.
#[derive(Debug)]
pub(crate) struct Reply {
    /// What came of it, without the patch.
    pub outcome: Outcome,
    /// Whether there was a patch.
    pub patched: bool,
    /// The review after its identifier.
    pub rest: Rest,
}

/// A review of a new pod that was read.
pub(crate) struct Arrived<'r, 'b> {
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
    slots: Box<[Slot]>,
    /// Bytes of all that are kept.
    bytes: AtomicUsize,
    /// Where the next answer is dropped that there is no room for.
    hand: AtomicUsize,
    namespace: Finder<'static>,
    name: Finder<'static>,
}

/// Room for a ReplicaSet.
#[derive(Default)]
struct Slot {
    /// The one that has it, or 0.
    key: AtomicU64,
    kept: ArcSwapOption<Kept>,
}

struct Kept {
    review: Template,
    dry_run: bool,
    settings: Arc<Settings>,
    asked: Asked,
    reply: Arc<Reply>,
    bytes: usize,
}

impl Default for Recall {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            namespace: Finder::new(br#""namespace":""#),
            name: Finder::new(br#""generateName":""#),
        }
    }
}

impl Recall {
    /// The answer to a review that is like an earlier one, where nothing that it was made from has changed.
    pub fn find<'b>(&self, plans: &dyn Plans, settings: &Arc<Settings>, body: &'b [u8]) -> Option<Recalled<'b>> {
        let kept = self.slot(self.key(body)?)?.kept.load();
        let kept = kept.as_ref().filter(|kept| Arc::ptr_eq(&kept.settings, settings))?;
        let uid = kept.review.uid_in(body)?;
        kept.asked.is_answered_alike(plans).then(|| Recalled {
            uid,
            dry_run: kept.dry_run,
            reply: Arc::clone(&kept.reply),
        })
    }

    /// A new answer, kept where one was given about the same ReplicaSet before.
    pub fn reply(
        &self,
        plans: &dyn Plans,
        settings: &Arc<Settings>,
        arrived: &Arrived<'_, '_>,
        decide: impl Fn(&dyn Plans) -> Reply,
    ) -> Arc<Reply> {
        // Of other controllers hardly two pods are alike: they number them.
        let key = arrived.is_of_replica_set().then(|| self.key(arrived.body)).flatten();
        let Some(slot) = key.and_then(|key| self.again(key)) else {
            return Arc::new(decide(plans));
        };
        let asking = Asking::new(plans, arrived.namespace);
        let reply = Arc::new(decide(&asking));
        if reply.outcome.unseen.is_none()
            && !reply.outcome.overrides
            && let Some(review) = arrived.template()
        {
            let asked = asking.asked();
            self.expire(plans);
            self.keep(
                slot,
                Kept {
                    bytes: size_of::<Kept>() + review.size() + asked.size() + reply.size(),
                    review,
                    dry_run: arrived.dry_run,
                    settings: Arc::clone(settings),
                    asked,
                    reply: Arc::clone(&reply),
                },
            );
        }
        reply
    }

    /// Stands for a ReplicaSet: the namespace of its pods and what their names begin with, as they are written. It only tells
    /// where to look; what is found there is compared.
    fn key(&self, body: &[u8]) -> Option<u64> {
        let head = &body[..body.len().min(HEAD)];
        let text = |name: &Finder<'_>| {
            let rest = &head[name.find(head)? + name.needle().len()..];
            Some(&rest[..memchr::memchr(b'"', rest)?])
        };
        let mut hasher = DefaultHasher::new();
        (text(&self.namespace)?, text(&self.name)?).hash(&mut hasher);
        Some(hasher.finish().max(1))
    }

    /// The places where a ReplicaSet may be.
    fn set(&self, key: u64) -> &[Slot] {
        &self.slots[key as usize % (SLOTS / WAYS) * WAYS..][..WAYS]
    }

    /// The place that a ReplicaSet has.
    fn slot(&self, key: u64) -> Option<&Slot> {
        self.set(key)
            .iter()
            .find(|slot| slot.key.load(Ordering::Relaxed) == key)
    }

    /// The place of a ReplicaSet that was asked about before; one that was not is given one: a free one, else that of one
    /// of which nothing is kept, else another's.
    fn again(&self, key: u64) -> Option<&Slot> {
        let set = self.set(key);
        let known = self.slot(key);
        if known.is_none() {
            let is_free = |slot: &&Slot| slot.key.load(Ordering::Relaxed) == 0;
            let holds_nothing = |slot: &&Slot| slot.kept.load().is_none();
            let turn = self.hand.fetch_add(1, Ordering::Relaxed);
            let slot = set.iter().find(is_free).or_else(|| set.iter().find(holds_nothing));
            let slot = slot.unwrap_or(&set[turn % WAYS]);
            slot.key.store(key, Ordering::Relaxed);
            self.drop_from(slot);
        }
        known
    }

    fn keep(&self, slot: &Slot, kept: Kept) {
        if kept.bytes > MOST_BYTES {
            return;
        }
        self.replace(slot, Some(kept));
        // Those that came later are as likely to be asked about as those that came before.
        for _ in 0..SLOTS {
            if self.bytes.load(Ordering::Relaxed) <= MOST_BYTES_OF_ALL {
                break;
            }
            let other = &self.slots[self.hand.fetch_add(1, Ordering::Relaxed) % SLOTS];
            if !std::ptr::eq(other, slot) {
                self.drop_from(other);
            }
        }
    }

    /// Drops what will not be given again, of a few places at a time: it would keep objects that are long replaced.
    fn expire(&self, plans: &dyn Plans) {
        for _ in 0..WAYS {
            let slot = &self.slots[self.hand.fetch_add(1, Ordering::Relaxed) % SLOTS];
            let kept = slot.kept.load_full();
            if kept.is_some_and(|kept| !kept.asked.is_answered_alike(plans)) {
                self.replace(slot, None);
            }
        }
    }

    fn drop_from(&self, slot: &Slot) {
        if slot.kept.load().is_some() {
            self.replace(slot, None);
        }
    }

    fn replace(&self, slot: &Slot, kept: Option<Kept>) {
        let more = kept.as_ref().map_or(0, |kept| kept.bytes);
        self.bytes.fetch_add(more, Ordering::Relaxed);
        let before = slot.kept.swap(kept.map(Arc::new));
        let less = before.map_or(0, |before| before.bytes);
        self.bytes.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Arrived<'_, '_> {
    fn template(&self) -> Option<Template> {
        Template::of(self.body, self.uid, &review::passed_over(self.body)?)
    }

    fn is_of_replica_set(&self) -> bool {
        self.pod.metadata.as_ref().is_some_and(is_of_replica_set)
    }
}

impl Reply {
    /// Bytes that it takes, about, without what it shares with others.
    fn size(&self) -> usize {
        let told = self.outcome.notices.iter();
        let told =
            told.map(|notice| size_of_val(notice) + notice.namespace.len() + notice.name.len() + notice.message.len());
        let warned = self
            .outcome
            .warnings
            .iter()
            .map(|warning| size_of_val(warning) + warning.len());
        size_of::<Self>() + self.rest.size() + told.chain(warned).sum::<usize>()
    }
}

fn is_of_replica_set(metadata: &Metadata<'_>) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller.unwrap_or_default());
    controller.is_some_and(|controller| controller.kind.as_deref() == Some("ReplicaSet"))
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

    const POD: &str = r#"{"metadata":{"generateName":"web-1-","labels":{"app":"web"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-1","controller":true}]},
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
        let arrived = Arrived {
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
            None => recall.reply(plans.as_ref(), settings, &arrived, decide),
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
            r#"{{"metadata":{{"generateName":"web-2-","ownerReferences":[{{"kind":"ReplicaSet","name":"web-2","controller":true}}]}},"spec":{{"containers":[{containers}]}}}}"#
        );
        assert!((0..3).all(|_| ask(&settings, &large)), "what is too large is not kept");
    }

    /// More than fit where answers of all are kept by their hash alone, and each as often as all others.
    #[test]
    fn the_pods_of_a_thousand_replica_sets_in_turn_get_the_answers_of_before() {
        let (recall, shop, settings) = (
            Recall::default(),
            Arc::new(Shop::default()),
            Arc::new(Settings::default()),
        );
        shop.deployment.store(deployment());
        let mut made = Vec::new();
        for _ in 0..3 {
            let pods = (0..1000).map(|number| POD.replace("web-1", &format!("web-{number}")));
            made.push(pods.filter(|pod| asked(&recall, &shop, &settings, "shop", pod)).count());
        }
        assert_eq!(made[..2], [1000, 1000]);
        assert!(made[2] <= 20, "{} of 1000 are made anew", made[2]);
        let kept = recall
            .slots
            .iter()
            .filter_map(|slot| Some(slot.kept.load().as_ref()?.bytes));
        assert_eq!(kept.sum::<usize>(), recall.bytes.load(Ordering::Relaxed));
        assert!(!asked(
            &recall,
            &shop,
            &settings,
            "shop",
            &POD.replace("web-1", "web-7")
        ));
        shop.plan.store(plan(200));
        assert!(asked(&recall, &shop, &settings, "shop", &POD.replace("web-1", "web-7")));
        (0..SLOTS / WAYS).for_each(|_| recall.expire(&*shop));
        let kept = recall.slots.iter().filter(|slot| slot.kept.load().is_some());
        assert_eq!(kept.count(), 1, "nothing is kept that was made from the plan before");
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped() {
        let (recall, shop, settings) = (
            Recall::default(),
            Arc::new(Shop::default()),
            Arc::new(Settings::default()),
        );
        shop.deployment.store(deployment());
        let long = format!("\"annotations\":{{\"note\":\"{}\"}},\"labels\"", "x".repeat(60 << 10));
        for number in 0..180 {
            let pod = POD
                .replace("web-1", &format!("web-{number}"))
                .replace("\"labels\"", &long);
            assert!((0..2).all(|_| asked(&recall, &shop, &settings, "shop", &pod)));
            assert!(!asked(&recall, &shop, &settings, "shop", &pod), "the last one is there");
        }
        let bytes = recall.bytes.load(Ordering::Relaxed);
        assert!(
            (MOST_BYTES_OF_ALL - MOST_BYTES..=MOST_BYTES_OF_ALL).contains(&bytes),
            "{bytes} bytes"
        );
    }
}
