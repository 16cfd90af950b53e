//! What is kept of each kind: enough for admission and for the recommender, little enough for large clusters.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use valence_webhook::Plan;

use super::pods::PackedPod;
use super::{plan, software, trim};
use crate::api::objective::{ObjectiveError, ServiceLevelObjectiveSpec};
use crate::api::selector::CompiledSelector;
use crate::api::{Recommendation, ServiceLevelObjective};
use crate::core::objective::Objective;

/// A ReplicaSet, as far as anyone asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaSetSummary {
    /// Name.
    pub name: String,
    /// The Deployment that controls it.
    pub deployment: Option<String>,
    /// Hash of its pod template.
    pub template: String,
    /// Revision of the Deployment that it belongs to.
    pub revision: u64,
}

/// A ServiceLevelObjective with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownObjective {
    /// The object; `None` where it cannot even be read.
    pub object: Option<Arc<ServiceLevelObjective>>,
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: Option<i64>,
    /// When it was made.
    pub created_at: Option<Time>,
    /// What is in force: its own contents or, while those cannot be used, the last that could.
    pub in_force: Option<Arc<InForce>>,
    /// Why its present contents cannot be used.
    pub error: Option<ObjectiveError>,
}

impl KnownObjective {
    /// To sort by: the oldest first, and by name those of one age.
    pub(super) fn age(&self) -> (bool, Option<&Time>, &str) {
        (self.created_at.is_none(), self.created_at.as_ref(), &self.name)
    }
}

/// A ServiceLevelObjective that matches Deployments.
#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Which Deployments.
    pub selector: CompiledSelector,
    /// What must hold for them.
    pub objectives: Vec<Objective>,
    /// The spec that says so, as it goes into the status.
    pub spec: serde_json::Value,
}

/// A Recommendation and the plan in it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownRecommendation {
    /// The object without its checkpoint.
    pub object: Arc<Recommendation>,
    /// What admission writes.
    pub plan: Option<Arc<Plan>>,
    /// The Deployment that owns it, by its unique identifier.
    pub owner: Option<String>,
}

/// A Deployment, and what it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownDeployment {
    /// The object without the fields that nobody asks for.
    pub object: Arc<Deployment>,
    /// Hash of the software that its whole template describes.
    pub software: String,
}

/// What is kept of a Deployment.
pub fn deployment(mut object: Deployment, _: Option<&KnownDeployment>) -> KnownDeployment {
    let software = software::of(object.spec.template.clone());
    trim::metadata(&mut object.metadata);
    trim::deployment(&mut object);
    KnownDeployment {
        object: Arc::new(trim::bounded(object)),
        software,
    }
}

/// Of a Pod what somebody asks for.
pub fn pod(object: Pod, _: Option<&PackedPod>) -> PackedPod {
    PackedPod::of(object)
}

/// What is kept of a Service.
pub fn service(mut object: Service, before: Option<&Service>) -> Service {
    trim::service(&mut object);
    other(object, before)
}

/// What is kept of a HorizontalPodAutoscaler.
pub fn autoscaler(
    mut object: HorizontalPodAutoscaler,
    before: Option<&HorizontalPodAutoscaler>,
) -> HorizontalPodAutoscaler {
    trim::autoscaler(&mut object);
    other(object, before)
}

/// What is kept of a NetworkPolicy.
pub fn network_policy(mut object: NetworkPolicy, before: Option<&NetworkPolicy>) -> NetworkPolicy {
    trim::network_policy(&mut object);
    other(object, before)
}

/// Any other object but for what nobody reads of its metadata.
pub fn other<K>(mut object: K, _: Option<&K>) -> K
where
    K: Resource<DynamicType = ()> + Default + Serialize,
{
    trim::metadata(object.meta_mut());
    trim::bounded(object)
}

/// The labels of a Namespace.
pub fn namespace(
    object: PartialObjectMeta<Namespace>,
    _: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    object.metadata.labels.unwrap_or_default()
}

/// Annotation of a Deployment and of its ReplicaSets: the revision, as the controller counts.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// Owner, hash and revision of a ReplicaSet.
pub fn replica_set(object: PartialObjectMeta<ReplicaSet>, _: Option<&ReplicaSetSummary>) -> ReplicaSetSummary {
    let revision = object.annotations().get(REVISION);
    ReplicaSetSummary {
        name: object.name_any(),
        deployment: controller(&object, "Deployment"),
        template: object.labels().get("pod-template-hash").cloned().unwrap_or_default(),
        revision: revision.and_then(|text| text.parse().ok()).unwrap_or_default(),
    }
}

/// Name of the controller of an object, where it is of the kind.
pub fn controller<K: Resource>(object: &K, kind: &str) -> Option<String> {
    let owners = object.meta().owner_references.as_deref().unwrap_or_default();
    owners
        .iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == kind)
        .map(|owner| owner.name.clone())
}

/// A ServiceLevelObjective; contents that cannot be used leave the last good ones in force, which its status keeps for a
/// replica that never saw them.
pub fn objective(object: DeserializeGuard<ServiceLevelObjective>, before: Option<&KnownObjective>) -> KnownObjective {
    let name = object.name_any();
    let generation = object.meta().generation;
    let created_at = object.meta().creation_timestamp.clone();
    let (object, read) = match object.0 {
        Ok(mut object) => {
            trim::metadata(&mut object.metadata);
            let read = if trim::bytes(&object.spec) > trim::MOST_BYTES {
                object.spec = ServiceLevelObjectiveSpec::default();
                Err(too_large())
            } else {
                in_force(&object.spec, &name)
            };
            (Some(Arc::new(object)), read)
        }
        Err(invalid) => (
            None,
            Err(ObjectiveError {
                field: "spec".to_owned(),
                problem: invalid.error,
            }),
        ),
    };
    let last_good = || {
        let seen = before.and_then(|known| known.in_force.clone());
        seen.or_else(|| object.as_deref().and_then(noted).map(Arc::new))
    };
    let (in_force, error) = match read {
        Ok(read) => (Some(Arc::new(read)), None),
        Err(error) => (last_good(), Some(error)),
    };
    KnownObjective {
        object,
        name,
        generation,
        created_at,
        in_force,
        error,
    }
}

fn too_large() -> ObjectiveError {
    ObjectiveError {
        field: "spec".to_owned(),
        problem: format!("is larger than {} KiB", trim::MOST_BYTES >> 10),
    }
}

fn in_force(spec: &ServiceLevelObjectiveSpec, name: &str) -> Result<InForce, ObjectiveError> {
    Ok(InForce {
        selector: spec.selector.compile()?,
        objectives: spec.objectives(name)?,
        spec: serde_json::to_value(spec).unwrap_or_default(),
    })
}

/// What the status says was last in force.
fn noted(object: &ServiceLevelObjective) -> Option<InForce> {
    let noted = object.status.as_ref()?.in_force.clone()?;
    let spec: ServiceLevelObjectiveSpec = serde_json::from_value(noted).ok()?;
    in_force(&spec, &object.name_any()).ok()
}

/// The plan of before where it is the same, as it is after most statuses: then answers that were made from it are too.
fn same_or_new(before: Option<&Arc<Plan>>, plan: Plan) -> Arc<Plan> {
    match before {
        Some(before) if **before == plan => Arc::clone(before),
        _ => Arc::new(plan),
    }
}

/// A Recommendation; one that cannot be read leaves the last plan in force.
pub fn recommendation(
    object: DeserializeGuard<Recommendation>,
    before: Option<&KnownRecommendation>,
) -> KnownRecommendation {
    let metadata = object.meta().clone();
    match object.0 {
        Ok(mut object) => {
            trim::metadata(&mut object.metadata);
            let owner = metadata
                .owner_references
                .into_iter()
                .flatten()
                .next()
                .map(|owner| owner.uid);
            if let Some(status) = &mut object.status {
                status.checkpoint = String::new();
            }
            let plan = object.status.as_ref().and_then(plan::from_status);
            let plan = plan.map(|plan| same_or_new(before.and_then(|known| known.plan.as_ref()), plan));
            KnownRecommendation {
                object: Arc::new(object),
                plan,
                owner,
            }
        }
        Err(_) => before.cloned().unwrap_or_else(|| {
            let object = Arc::new(Recommendation {
                metadata,
                ..Recommendation::default()
            });
            KnownRecommendation {
                object,
                plan: None,
                owner: None,
            }
        }),
    }
}
