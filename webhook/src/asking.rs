//! What was asked of [`Plans`], and what they said: to find out later whether they would say the same again.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{LimitRange, Pod, ResourceQuota, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use parking_lot::Mutex;

use crate::plans::{LatencyObjective, Plan, Plans};

/// Asks again; whether the answer is the same. Objects are the same where they are in the same place, which nothing else can
/// take while the question is kept.
pub(crate) type Question = Box<dyn Fn(&dyn Plans) -> bool + Send + Sync>;

/// Passes questions on, and keeps them.
pub(crate) struct Asking {
    plans: Arc<dyn Plans>,
    questions: Mutex<Vec<Question>>,
}

impl Asking {
    /// Before the first question.
    pub fn new(plans: Arc<dyn Plans>) -> Self {
        Self {
            plans,
            questions: Mutex::default(),
        }
    }

    /// What was asked.
    pub fn questions(self) -> Vec<Question> {
        self.questions.into_inner()
    }

    fn keep(&self, question: impl Fn(&dyn Plans) -> bool + Send + Sync + 'static) {
        self.questions.lock().push(Box::new(question));
    }
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn are_same<T>(some: &[Arc<T>], others: &[Arc<T>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Questions about all objects of a kind in a namespace.
macro_rules! lists {
    ($($list:ident: $type:ty),* $(,)?) => {
        $(fn $list(&self, namespace: &str) -> Vec<Arc<$type>> {
            let answer = self.plans.$list(namespace);
            let (namespace, kept) = (namespace.to_owned(), answer.clone());
            self.keep(move |plans| are_same(&plans.$list(&namespace), &kept));
            answer
        })*
    };
}

impl Plans for Asking {
    fn synced(&self) -> bool {
        let answer = self.plans.synced();
        self.keep(move |plans| plans.synced() == answer);
        answer
    }

    fn namespace_labels(&self, namespace: &str) -> Option<Arc<BTreeMap<String, String>>> {
        let answer = self.plans.namespace_labels(namespace);
        let (namespace, kept) = (namespace.to_owned(), answer.clone());
        self.keep(move |plans| is_same(plans.namespace_labels(&namespace).as_ref(), kept.as_ref()));
        answer
    }

    fn deployment_of_replica_set(&self, namespace: &str, replica_set: &str) -> Option<String> {
        let answer = self.plans.deployment_of_replica_set(namespace, replica_set);
        let (namespace, replica_set, kept) = (namespace.to_owned(), replica_set.to_owned(), answer.clone());
        self.keep(move |plans| plans.deployment_of_replica_set(&namespace, &replica_set) == kept);
        answer
    }

    fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let answer = self.plans.deployment(namespace, name);
        let (namespace, name, kept) = (namespace.to_owned(), name.to_owned(), answer.clone());
        self.keep(move |plans| is_same(plans.deployment(&namespace, &name).as_ref(), kept.as_ref()));
        answer
    }

    fn objectives(&self, namespace: &str, deployment_labels: &BTreeMap<String, String>) -> Vec<LatencyObjective> {
        let answer = self.plans.objectives(namespace, deployment_labels);
        let (namespace, labels, kept) = (namespace.to_owned(), deployment_labels.clone(), answer.clone());
        self.keep(move |plans| plans.objectives(&namespace, &labels) == kept);
        answer
    }

    fn plan(&self, namespace: &str, deployment: &str) -> Option<Arc<Plan>> {
        let answer = self.plans.plan(namespace, deployment);
        let (namespace, deployment, kept) = (namespace.to_owned(), deployment.to_owned(), answer.clone());
        self.keep(move |plans| is_same(plans.plan(&namespace, &deployment).as_ref(), kept.as_ref()));
        answer
    }

    fn active_vertical_pod_autoscaler(&self, namespace: &str, deployment: &str) -> Option<String> {
        let answer = self.plans.active_vertical_pod_autoscaler(namespace, deployment);
        let (namespace, deployment, kept) = (namespace.to_owned(), deployment.to_owned(), answer.clone());
        self.keep(move |plans| plans.active_vertical_pod_autoscaler(&namespace, &deployment) == kept);
        answer
    }

    fn services_for(&self, namespace: &str, labels: &[(&str, &str)]) -> Vec<Arc<Service>> {
        let answer = self.plans.services_for(namespace, labels);
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let labels: Vec<_> = labels.iter().map(owned).collect();
        let (namespace, kept) = (namespace.to_owned(), answer.clone());
        self.keep(move |plans| {
            let labels: Vec<_> = labels.iter().map(|(key, value)| (&**key, &**value)).collect();
            are_same(&plans.services_for(&namespace, &labels), &kept)
        });
        answer
    }

    fn selected_pods(&self, namespace: &str, selector: &[(&str, &str)]) -> Vec<Pod> {
        // They are made for who asks, so that no answer is the same as another.
        self.keep(|_| false);
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
