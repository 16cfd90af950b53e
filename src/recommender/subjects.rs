//! Which Deployments are managed, and what surrounds each of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use valence_webhook::annotations::{InvalidAnnotation, Wishes};
use valence_webhook::{Pending, Plans};

use super::sidecars::Sidecars;
use crate::cache::Cluster;
use crate::cache::keep::KnownDeployment;
use crate::cache::objectives::{self, Matching};
use crate::cache::pods::PackedPod;
use crate::core::decision::{Bounds, ContainerBounds};
use crate::core::objective::Objective;
use crate::core::units::{Bytes, Cores};
use crate::scrape::{PodSummary, Subject, Summaries};

/// Namespace and name of a Deployment.
pub type Key = (String, String);

/// A Deployment that a ServiceLevelObjective selects.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The Deployment.
    pub deployment: Arc<Deployment>,
    /// Hash of the software that its template describes.
    pub software: String,
    /// What must hold for it.
    pub objectives: Vec<Objective>,
    /// ServiceLevelObjectives that select it too and are too many for one Deployment.
    pub left_out: Vec<String>,
    /// What the user allows.
    pub bounds: Bounds,
    /// Annotations whose value is ignored.
    pub ignored: Vec<InvalidAnnotation>,
    /// What to scrape, software by the hash of its template.
    pub subject: Subject,
    /// The newest revision.
    pub revision: u64,
    /// A HorizontalPodAutoscaler that owns the replicas.
    pub horizontal: Option<String>,
    /// Whether its owner lets the model set the bounds of that autoscaler.
    pub steers_horizontal: bool,
    /// Whether the bounds of that autoscaler would change at its next admission.
    pub horizontal_is_pending: bool,
    /// A VerticalPodAutoscaler that changes its pods.
    pub vertical: Option<String>,
    /// Pods with and without a sidecar.
    pub sidecars: Sidecars,
    /// What limits of the namespace take away from the plan in force.
    pub caps: Vec<String>,
}

/// Every Deployment that some ServiceLevelObjective selects.
pub type Matches = BTreeMap<Key, Matched>;

/// Looks up what is selected now.
#[must_use]
pub fn matched(cluster: &Cluster) -> Matches {
    let mut found = BTreeMap::new();
    for namespace in cluster.objectives.namespaces() {
        let in_force = cluster.objectives_in_force(&namespace);
        let selected: Vec<_> = cluster
            .deployments
            .of(&namespace)
            .into_iter()
            .filter(|known| known.object.metadata.deletion_timestamp.is_none())
            .filter_map(|known| {
                let matching = objectives::matching(&in_force, known.object.labels());
                (!matching.objectives.is_empty()).then_some((known, matching))
            })
            .collect();
        if !selected.is_empty() {
            let surroundings = Surroundings::of(cluster, &namespace);
            for (known, matching) in selected {
                let key = (namespace.to_string(), known.object.name_any());
                found.insert(key, surroundings.describe(cluster, &known, matching));
            }
        }
    }
    found
}

/// What is looked up once for a namespace.
struct Surroundings {
    namespace: String,
    pods: HashMap<String, Vec<Arc<PackedPod>>>,
    templates: HashMap<String, (u64, String)>,
    budgets: Vec<Selector>,
    /// Whether there are LimitRanges or ResourceQuotas.
    has_limits: bool,
}

impl Surroundings {
    fn of(cluster: &Cluster, namespace: &str) -> Self {
        let mut owners = HashMap::new();
        let mut templates: HashMap<String, (u64, String)> = HashMap::new();
        for replica_set in cluster.replica_sets.of(namespace) {
            let Some(deployment) = &replica_set.deployment else {
                continue;
            };
            owners.insert(replica_set.name.clone(), deployment.clone());
            let newest = templates.entry(deployment.clone()).or_default();
            if replica_set.revision >= newest.0 {
                *newest = (replica_set.revision, replica_set.template.clone());
            }
        }
        let mut owned: HashMap<String, Vec<Arc<PackedPod>>> = HashMap::new();
        for pod in cluster.pods.of(namespace) {
            let owner = pod.replica_set().and_then(|name| owners.get(name));
            if let Some(deployment) = owner {
                owned.entry(deployment.clone()).or_default().push(pod);
            }
        }
        let budgets = cluster.disruption_budgets.of(namespace);
        Self {
            namespace: namespace.to_owned(),
            pods: owned,
            templates,
            budgets: budgets.iter().filter_map(|budget| selector(budget)).collect(),
            has_limits: !(cluster.limit_ranges(namespace).is_empty() && cluster.resource_quotas(namespace).is_empty()),
        }
    }

    fn describe(&self, cluster: &Cluster, known: &KnownDeployment, matching: Matching) -> Matched {
        let deployment = Arc::clone(&known.object);
        let name = deployment.name_any();
        let wishes = Wishes::read(|key| deployment.annotations().get(key).map(String::as_str));
        let (packed, mut summaries) = (self.pods.get(&name).into_iter().flatten(), Summaries::default());
        let summaries = packed.filter_map(|pod| summaries.of(Arc::clone(pod)));
        let mut pods: Vec<Arc<PodSummary>> = summaries.map(Arc::new).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        let caps = self.caps(cluster, &pods);
        let (revision, template) = self.templates.get(&name).cloned().unwrap_or_default();
        let subject = Subject {
            namespace: self.namespace.clone(),
            template,
            software: BTreeMap::new(),
            desired_replicas: desired_replicas(&deployment),
            pods,
            name: name.clone(),
        };
        let bounds = bounds(&wishes, &deployment, self.has_budget(&deployment));
        let horizontal = horizontal(cluster, &self.namespace, &name);
        let vertical = cluster.active_vertical_pod_autoscaler(&self.namespace, &name);
        let vertical = vertical.filter(|_| !wishes.override_vertical);
        Matched {
            sidecars: Sidecars::of(cluster, &deployment, &subject),
            deployment,
            software: known.software.clone(),
            objectives: matching.objectives,
            left_out: matching.left_out,
            bounds,
            ignored: wishes.invalid,
            subject,
            horizontal_is_pending: wishes.manage_horizontal
                && horizontal
                    .as_ref()
                    .is_some_and(|one| !Pending::of_autoscaler(cluster, one).is_empty()),
            horizontal: horizontal.map(|one| one.name_any()),
            revision,
            steers_horizontal: wishes.manage_horizontal,
            vertical,
            caps,
        }
    }

    /// What the limits of the namespace leave the pods to want. One pod stands for all of them.
    fn caps(&self, cluster: &Cluster, pods: &[Arc<PodSummary>]) -> Vec<String> {
        let running = pods.iter().find(|pod| pod.is_ready()).filter(|_| self.has_limits);
        let Some(pod) = running.and_then(|pod| pod.unpack()) else {
            return Vec::new();
        };
        Pending::of_pod(cluster, &pod).caps().map(str::to_owned).collect()
    }

    fn has_budget(&self, deployment: &Deployment) -> bool {
        let metadata = deployment.spec.template.metadata.as_ref();
        let labels = metadata
            .and_then(|metadata| metadata.labels.clone())
            .unwrap_or_default();
        self.budgets.iter().any(|budget| budget.matches(&labels))
    }
}

/// What the user allows, as the core takes it.
fn bounds(wishes: &Wishes, deployment: &Deployment, disruption_budget: bool) -> Bounds {
    let spec = deployment.spec.template.spec.as_ref();
    let names = spec.into_iter().flat_map(|spec| &spec.containers);
    let replicas = |replicas: Option<u64>| replicas.and_then(|replicas| u32::try_from(replicas).ok());
    Bounds {
        min_replicas: replicas(wishes.bounds.replicas.min),
        max_replicas: replicas(wishes.bounds.replicas.max),
        containers: names
            .map(|container| (container.name.clone(), container_bounds(wishes, &container.name)))
            .collect(),
        disruption_budget,
        rollout: valence_webhook::rollout_of(deployment),
        live: wishes.configure,
    }
}

fn container_bounds(wishes: &Wishes, container: &str) -> ContainerBounds {
    let cores = |millicores: Option<u64>| millicores.map(|millicores| Cores(millicores as f64 / 1000.0));
    let (cpu, memory) = (
        wishes.bounds.cpu_millicores(container),
        wishes.bounds.memory_bytes(container),
    );
    ContainerBounds {
        min_cpu: cores(cpu.min),
        max_cpu: cores(cpu.max),
        min_memory: memory.min.map(Bytes),
        max_memory: memory.max.map(Bytes),
    }
}

/// Replicas that a Deployment asks for; unset means one.
#[must_use]
pub fn desired_replicas(deployment: &Deployment) -> u32 {
    u32::try_from(deployment.spec.replicas.unwrap_or(1)).unwrap_or_default()
}

fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    let selector = budget.spec.as_ref()?.selector.clone()?;
    selector.try_into().ok()
}

/// The HorizontalPodAutoscaler that scales a Deployment.
pub fn horizontal(cluster: &Cluster, namespace: &str, deployment: &str) -> Option<Arc<HorizontalPodAutoscaler>> {
    let targets = |autoscaler: &Arc<HorizontalPodAutoscaler>| {
        let target = &autoscaler.spec.scale_target_ref;
        target.kind == "Deployment" && target.name == deployment
    };
    cluster
        .horizontal_pod_autoscalers
        .of(namespace)
        .into_iter()
        .find(targets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::cache::keep;

    fn cluster() -> Cluster {
        let cluster = Cluster::default();
        for (name, labels) in [("web", json!({"slo": "fast"})), ("batch", json!({"slo": "none"}))] {
            let deployment = serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": labels,
                    "annotations": {"valence.io/optimizer.configure": "true", "valence.io/optimizer.min-replicas": "zero"}},
                "spec": {"replicas": 3, "selector": {}, "template": {"metadata": {"labels": {"app": name}}}},
            }));
            let deployment = keep::deployment(deployment.unwrap(), None);
            cluster.deployments.put("shop", name, deployment);
            for (revision, hash) in [(1_u32, "old"), (2, "new")] {
                let replica_set = serde_json::from_value(json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": {"name": format!("{name}-{hash}"), "namespace": "shop", "labels": {"pod-template-hash": hash},
                        "annotations": {"deployment.kubernetes.io/revision": revision.to_string()},
                        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": "u", "controller": true}]},
                }));
                cluster.replica_sets.put(
                    "shop",
                    &format!("{name}-{hash}"),
                    keep::replica_set(replica_set.unwrap(), None),
                );
                let pod = serde_json::from_value(json!({
                    "metadata": {"name": format!("{name}-{hash}-1"), "namespace": "shop",
                        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-{hash}"), "uid": "u", "controller": true}]},
                    "spec": {"containers": []},
                }));
                cluster
                    .pods
                    .put("shop", &format!("{name}-{hash}-1"), keep::pod(pod.unwrap(), None));
            }
        }
        cluster
    }

    fn objective(name: &str, response_time: &str) -> keep::KnownObjective {
        let object = serde_json::from_value(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"slo": "fast"}, "objectives": [{"type": "HTTP",
                "http": {"latency": {"percentile": 99, "responseTime": response_time}}}]},
        }));
        keep::objective(object.unwrap(), None)
    }

    #[test]
    fn the_selected_deployment_comes_with_its_surroundings() {
        let cluster = cluster();
        cluster.objectives.put("shop", "fast", objective("fast", "100ms"));
        let budget = serde_json::from_value(
            json!({"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}),
        );
        cluster.disruption_budgets.put("shop", "web", budget.unwrap());
        let matched = matched(&cluster);
        assert_eq!(matched.len(), 1);
        let web = &matched[&("shop".to_owned(), "web".to_owned())];
        assert_eq!(web.subject.template, "new");
        assert_eq!(web.subject.desired_replicas, 3);
        assert_eq!(web.subject.pods.len(), 2);
        assert!(web.bounds.live && web.bounds.disruption_budget);
        assert_eq!(web.bounds.min_replicas, None);
        assert_eq!(web.ignored.len(), 1);
    }

    #[test]
    fn two_objectives_on_one_deployment_both_hold() {
        let cluster = cluster();
        cluster.objectives.put("shop", "fast", objective("fast", "100ms"));
        cluster.objectives.put("shop", "faster", objective("faster", "50ms"));
        let matched = matched(&cluster);
        let objectives = &matched[&("shop".to_owned(), "web".to_owned())].objectives;
        let names: Vec<_> = objectives.iter().map(|objective| objective.slo.as_str()).collect();
        assert_eq!(names, ["fast", "faster"]);
    }

    #[test]
    fn contents_that_cannot_be_used_leave_the_last_good_ones_in_force() {
        let cluster = cluster();
        let good = objective("fast", "100ms");
        let bad: crate::api::ServiceLevelObjective = serde_json::from_value(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"name": "fast", "namespace": "shop"},
            "spec": {"selector": {"slo": "fast"}, "objectives": [{"type": "HTTP", "http": {"latency": {"percentile": 99, "responseTime": "fast"}}}]},
        }))
        .unwrap();
        let known = keep::objective(kube::core::DeserializeGuard(Ok(bad)), Some(&good));
        assert_eq!(
            known.error.as_ref().unwrap().field,
            "spec.objectives[0].http.latency.responseTime"
        );
        cluster.objectives.put("shop", "fast", known.clone());
        // A replica that starts now never saw the good ones; the status has them.
        let mut kept = Arc::unwrap_or_clone(known.object.unwrap());
        kept.status = Some(crate::api::ServiceLevelObjectiveStatus {
            in_force: Some(good.in_force.as_ref().unwrap().spec.clone()),
            ..crate::api::ServiceLevelObjectiveStatus::default()
        });
        let restarted = keep::objective(kube::core::DeserializeGuard(Ok(kept)), None);
        assert_eq!(restarted.in_force, good.in_force);
        assert!(restarted.error.is_some());
        let unreadable =
            serde_json::from_value(json!({"metadata": {"name": "broken", "namespace": "shop"}, "spec": "nonsense"}));
        cluster
            .objectives
            .put("shop", "broken", keep::objective(unreadable.unwrap(), None));
        let matched = matched(&cluster);
        assert!(
            (matched[&("shop".to_owned(), "web".to_owned())].objectives[0].response_time_seconds - 0.1).abs() < 1e-12
        );
    }
}
