//! What was asked of [`Plans`], and what they said: to find out later whether they would say the same again.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use parking_lot::Mutex;

use crate::plans::{LatencyObjective, ObjectiveSource, Plan, Plans};

/// Asks about a namespace once more; whether the answer is the same.
type AskAgain = dyn Fn(&dyn Plans, &str) -> bool + Send + Sync;

/// A question and what the answer was. Objects are the same where they are in the same place, which nothing else can take
/// while the question is kept.
enum Question {
    Synced(bool),
    NamespaceLabels(Option<Arc<BTreeMap<String, String>>>),
    DeploymentOfReplicaSet(Box<str>, Option<Box<str>>),
    Deployment(Box<str>, Option<Arc<Deployment>>),
    /// Objectives for labels that are the same while all other answers are.
    ObjectivesFrom(Box<[ObjectiveSource]>),
    Objectives(BTreeMap<String, String>, Vec<LatencyObjective>),
    Plan(Box<str>, Option<Arc<Plan>>),
    ActiveVerticalPodAutoscaler(Box<str>, Option<Box<str>>),
    ServicesFor(Labels, Box<[Arc<Service>]>),
    /// All objects of a kind in the namespace, where there were none.
    None(fn(&dyn Plans, &str) -> bool),
    All(Box<AskAgain>),
    /// Nobody can tell whether the answer is the same.
    Unanswerable,
}

/// Labels in one piece of text, each key and each value with where it ends.
struct Labels(Box<str>, Box<[u32]>);

/// What was asked about a namespace, and answered.
pub(crate) struct Asked {
    namespace: Box<str>,
    questions: Box<[Question]>,
}

impl Asked {
    /// Asks again; whether the answers are the same.
    pub fn is_answered_alike(&self, plans: &dyn Plans) -> bool {
        let namespace = &self.namespace;
        self.questions
            .iter()
            .all(|question| question.is_answered_alike(plans, namespace))
    }

    /// Bytes that it takes, about, without the objects.
    pub fn size(&self) -> usize {
        let texts: usize = self.questions.iter().map(Question::text_size).sum();
        texts + size_of_val(&*self.questions) + self.namespace.len()
    }
}

impl Question {
    fn is_answered_alike(&self, plans: &dyn Plans, namespace: &str) -> bool {
        match self {
            Self::Synced(answer) => plans.synced() == *answer,
            Self::NamespaceLabels(labels) => is_same(plans.namespace_labels(namespace).as_ref(), labels.as_ref()),
            Self::DeploymentOfReplicaSet(replica_set, name) => {
                plans.deployment_of_replica_set(namespace, replica_set).as_deref() == name.as_deref()
            }
            Self::Deployment(name, object) => is_same(plans.deployment(namespace, name).as_ref(), object.as_ref()),
            Self::ObjectivesFrom(sources) => {
                let now = plans.objective_sources(namespace);
                now.is_some_and(|now| are_same(&now, sources))
            }
            Self::Objectives(labels, objectives) => plans.objectives(namespace, labels) == *objectives,
            Self::Plan(name, plan) => is_same(plans.plan(namespace, name).as_ref(), plan.as_ref()),
            Self::ActiveVerticalPodAutoscaler(name, autoscaler) => {
                plans.active_vertical_pod_autoscaler(namespace, name).as_deref() == autoscaler.as_deref()
            }
            Self::ServicesFor(labels, services) => are_same(&plans.services_for(namespace, &labels.pairs()), services),
            Self::None(are_none) => are_none(plans, namespace),
            Self::All(are_same) => are_same(plans, namespace),
            Self::Unanswerable => false,
        }
    }

    fn text_size(&self) -> usize {
        match self {
            Self::DeploymentOfReplicaSet(text, _) | Self::Deployment(text, _) | Self::Plan(text, _) => 2 * text.len(),
            Self::ServicesFor(Labels(text, ends), services) => {
                text.len() + size_of_val(&**ends) + size_of_val(&**services)
            }
            Self::ObjectivesFrom(sources) => size_of_val(&**sources),
            Self::Objectives(labels, objectives) => 200 * labels.len() + 60 * objectives.len(),
            _ => 0,
        }
    }
}

impl Labels {
    fn of(labels: &[(&str, &str)]) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(labels.len() * 2));
        for part in labels.iter().flat_map(|(key, value)| [key, value]) {
            text.push_str(part);
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        Self(text.into(), ends.into())
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let mut start = 0;
        let mut part = |end: u32| {
            let end = end as usize;
            self.0.get(std::mem::replace(&mut start, end)..end).unwrap_or_default()
        };
        let (pairs, _) = self.1.as_chunks::<2>();
        pairs.iter().map(|[key, value]| (part(*key), part(*value))).collect()
    }
}

/// Passes questions about a namespace on, and keeps them.
pub(crate) struct Asking<'p> {
    plans: &'p dyn Plans,
    namespace: &'p str,
    questions: Mutex<Vec<Question>>,
}

/// Questions that a pod usually leads to.
const USUAL: usize = 12;

impl<'p> Asking<'p> {
    /// Before the first question.
    pub fn new(plans: &'p dyn Plans, namespace: &'p str) -> Self {
        Self {
            plans,
            namespace,
            questions: Mutex::new(Vec::with_capacity(USUAL)),
        }
    }

    /// What was asked.
    pub fn asked(self) -> Asked {
        Asked {
            namespace: self.namespace.into(),
            questions: self.questions.into_inner().into(),
        }
    }

    fn keep(&self, namespace: &str, question: Question) {
        let is_about_it = namespace == self.namespace;
        let question = if is_about_it { question } else { Question::Unanswerable };
        self.questions.lock().push(question);
    }
}

fn is_in_one_place<T: ?Sized>(one: &Arc<T>, other: &Arc<T>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

fn is_same<T: ?Sized>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => is_in_one_place(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn are_same<T: ?Sized>(some: &[Arc<T>], others: &[Arc<T>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| is_in_one_place(one, other))
}

/// Questions about all objects of a kind in a namespace.
macro_rules! lists {
    ($($list:ident: $type:ty),* $(,)?) => {
        $(fn $list(&self, namespace: &str) -> Vec<Arc<$type>> {
            let answer = self.plans.$list(namespace);
            self.keep(namespace, if answer.is_empty() {
                Question::None(|plans, namespace| plans.$list(namespace).is_empty())
            } else {
                let kept = answer.clone();
                Question::All(Box::new(move |plans, namespace| are_same(&plans.$list(namespace), &kept)))
            });
            answer
        })*
    };
}

impl Plans for Asking<'_> {
    fn synced(&self) -> bool {
        let answer = self.plans.synced();
        self.keep(self.namespace, Question::Synced(answer));
        answer
    }

    fn namespace_labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        let answer = self.plans.namespace_labels(namespace);
        self.keep(namespace, Question::NamespaceLabels(answer.clone()));
        answer
    }

    fn deployment_of_replica_set(&self, namespace: &str, replica_set: &str) -> Option<String> {
        let answer = self.plans.deployment_of_replica_set(namespace, replica_set);
        let kept = answer.as_deref().map(Box::from);
        self.keep(namespace, Question::DeploymentOfReplicaSet(replica_set.into(), kept));
        answer
    }

    fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let answer = self.plans.deployment(namespace, name);
        self.keep(namespace, Question::Deployment(name.into(), answer.clone()));
        answer
    }

    fn objectives(&self, namespace: &str, deployment_labels: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
        // What they are taken from is asked first: what comes in between is found to be new.
        let sources = self.plans.objective_sources(namespace);
        let answer = self.plans.objectives(namespace, deployment_labels);
        let question = match sources {
            Some(sources) => Question::ObjectivesFrom(sources.into()),
            None => Question::Objectives(deployment_labels.clone(), answer.clone()),
        };
        self.keep(namespace, question);
        answer
    }

    fn plan(&self, namespace: &str, deployment: &str) -> Option<Arc<Plan>> {
        let answer = self.plans.plan(namespace, deployment);
        self.keep(namespace, Question::Plan(deployment.into(), answer.clone()));
        answer
    }

    fn active_vertical_pod_autoscaler(&self, namespace: &str, deployment: &str) -> Option<String> {
        let answer = self.plans.active_vertical_pod_autoscaler(namespace, deployment);
        let kept = answer.as_deref().map(Box::from);
        self.keep(
            namespace,
            Question::ActiveVerticalPodAutoscaler(deployment.into(), kept),
        );
        answer
    }

    fn services_for(&self, namespace: &str, labels: &[(&str, &str)]) -> Vec<Arc<Service>> {
        let answer = self.plans.services_for(namespace, labels);
        self.keep(
            namespace,
            Question::ServicesFor(Labels::of(labels), answer.clone().into()),
        );
        answer
    }

    fn selected_pods(&self, namespace: &str, selector: &[(&str, &str)]) -> Vec<Pod> {
        // They are made for who asks, so that no answer is the same as another.
        self.keep(namespace, Question::Unanswerable);
        self.plans.selected_pods(namespace, selector)
    }

    lists! {
        deployments: Deployment,
        services: Service,
        limit_ranges: LimitRange,
        resource_quotas: ResourceQuota,
        horizontal_pod_autoscalers: HorizontalPodAutoscaler,
        network_policies: NetworkPolicy,
    }
}
