//! A Deployment as admission sees it: what its owner wishes, and what the recommender decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use crate::annotations::Wishes;
use crate::notices::Reason;
use crate::outcome::{Outcome, Subject};
use crate::plans::{LatencyObjective, Plan, Plans};

/// A Deployment as admission sees it.
pub struct Workload<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// What its annotations say.
    pub wishes: Wishes,
    /// Objectives that select it.
    pub objectives: Vec<LatencyObjective>,
    /// What the recommender decided.
    pub plan: Option<Arc<Plan>>,
    /// The HorizontalPodAutoscaler that scales it.
    pub horizontal: Option<Arc<HorizontalPodAutoscaler>>,
}

impl<'a> Workload<'a> {
    /// A Deployment as the watch last saw it.
    pub fn known(plans: &dyn Plans, namespace: &'a str, name: &'a str, deployment: &apps::Deployment) -> Self {
        let nothing = BTreeMap::new();
        let labels = deployment.metadata.labels.as_ref().unwrap_or(&nothing);
        let annotations = deployment.metadata.annotations.as_ref().unwrap_or(&nothing);
        let annotation = |key: &str| annotations.get(key).map(String::as_str);
        Self::new(plans, namespace, name, labels, annotation)
    }

    /// A Deployment by its labels and annotations.
    pub fn new<'b>(
        plans: &dyn Plans,
        namespace: &'a str,
        name: &'a str,
        labels: &BTreeMap<String, String>,
        annotation: impl Fn(&str) -> Option<&'b str>,
    ) -> Self {
        Self {
            namespace,
            name,
            wishes: Wishes::read(annotation),
            objectives: plans.objectives(namespace, labels),
            plan: plans.plan(namespace, name),
            horizontal: horizontal(plans, namespace, name),
        }
    }

    /// Whether an objective selects it.
    #[must_use]
    pub fn is_selected(&self) -> bool {
        !self.objectives.is_empty()
    }

    /// Whether Valence writes its values.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.wishes.configure && self.is_selected()
    }

    /// The object that notices are about.
    #[must_use]
    pub fn subject(&self) -> Subject<'a> {
        Subject {
            kind: "Deployment",
            namespace: self.namespace,
            name: self.name,
        }
    }

    /// Why, in one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        let reason = self.plan.as_ref().map(|plan| plan.reason.as_str()).unwrap_or_default();
        if reason.is_empty() { "as recommended" } else { reason }
    }

    /// Tells of annotations that are not understood.
    pub fn report_invalid(&self, outcome: &mut Outcome) {
        if self.is_selected() {
            for invalid in &self.wishes.invalid {
                outcome.tell(self.subject(), Reason::Invalid, invalid.to_string());
            }
        }
    }
}

fn horizontal(plans: &dyn Plans, namespace: &str, name: &str) -> Option<Arc<HorizontalPodAutoscaler>> {
    let scales = |autoscaler: &Arc<HorizontalPodAutoscaler>| {
        let target = &autoscaler.spec.scale_target_ref;
        target.kind == "Deployment" && target.name == name
    };
    plans.horizontal_pod_autoscalers(namespace).into_iter().find(scales)
}
