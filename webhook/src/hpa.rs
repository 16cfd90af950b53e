//! HorizontalPodAutoscalers.
//!
//! Valence never fights one. Either its owner lets the model steer it (annotation `manage` on the Deployment): then the
//! least replicas and the target utilisation are set at its admission. Or it is left alone: then the requests that its
//! utilisation is counted in are left alone too.

use k8s_openapi::api::autoscaling::v2::{MetricSpec, MetricTarget};
use serde_json::{Map, Value};

use crate::admission::Context;
use crate::amounts::Kind;
use crate::notices::Reason;
use crate::outcome::Outcome;
use crate::patch::Patch;
use crate::plans::names;
use crate::record::{Annotations, Record};
use crate::review::Request;
use crate::view::{AutoscalerSpec, HorizontalPodAutoscaler, Metadata, ResourceMetric};
use crate::workload::Workload;

/// Whether an autoscaler that is not ours to manage counts in the requests of a container: then they stay as they are.
#[must_use]
pub(crate) fn reads_utilisation(workload: &Workload<'_>, kind: Kind, container: &str) -> bool {
    if workload.wishes.manage_horizontal {
        return false;
    }
    let metrics = workload
        .horizontal
        .iter()
        .filter_map(|autoscaler| autoscaler.spec.metrics.as_ref());
    metrics.flatten().any(|metric| reads(metric, kind, container))
}

fn reads(metric: &MetricSpec, kind: Kind, container: &str) -> bool {
    let is_utilisation = |target: &MetricTarget| target.type_ == "Utilization";
    let of_pod = metric.resource.as_ref();
    let of_container = metric.container_resource.as_ref();
    of_pod.is_some_and(|resource| resource.name == kind.name() && is_utilisation(&resource.target))
        || of_container.is_some_and(|resource| {
            resource.name == kind.name() && resource.container == container && is_utilisation(&resource.target)
        })
}

/// Sets the bounds of an autoscaler whose Deployment is live and asks for it; gives a released one its own back.
pub(crate) fn admit(context: &Context<'_>, request: &Request<'_, HorizontalPodAutoscaler<'_>>) -> Outcome {
    let mut outcome = Outcome::default();
    let object = request.object.as_ref();
    let Some((metadata, spec)) = object.and_then(|object| Some((object.metadata.as_ref()?, object.spec.as_ref()?)))
    else {
        return outcome;
    };
    let Some(name) = target(spec) else {
        return outcome;
    };
    let namespace = request.namespace();
    let Some(deployment) = context.plans.deployment(namespace, name) else {
        return outcome;
    };
    let workload = Workload::known(context.plans, namespace, name, &deployment);
    let old = request.old_object.as_ref().and_then(|old| old.metadata.as_ref());
    let fields = fields(
        spec,
        workload
            .plan
            .as_ref()
            .map(|plan| plan.containers.keys().map(String::as_str).collect())
            .unwrap_or_default(),
    );
    let autoscaler = Autoscaler {
        metadata,
        original: Record::of(names::ORIGINAL, Some(metadata), old),
        effective: Record::of(names::EFFECTIVE, Some(metadata), old),
        fields,
    };
    if !(workload.is_live() && workload.wishes.manage_horizontal) {
        autoscaler.release(&workload, &mut outcome);
    } else if is_of_keda(metadata) {
        let message =
            "a KEDA ScaledObject owns the HorizontalPodAutoscaler: it is left alone; set minReplicaCount there";
        outcome.tell(workload.subject(), Reason::Conflict, message);
    } else {
        autoscaler.steer(&workload, spec, &mut outcome);
    }
    outcome
}

fn target<'s>(spec: &'s AutoscalerSpec<'_>) -> Option<&'s str> {
    let target = spec.scale_target_ref.as_ref()?;
    (target.kind.as_deref() == Some("Deployment")).then_some(target.name.as_deref()?)
}

fn is_of_keda(metadata: &Metadata<'_>) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.kind.as_deref() == Some("ScaledObject"))
}

/// A number of an autoscaler that may be set.
struct Field {
    /// Key in records.
    key: &'static str,
    path: String,
    present: bool,
    value: i64,
}

struct Autoscaler<'o, 'a> {
    metadata: &'o Metadata<'a>,
    original: Record,
    effective: Record,
    fields: Vec<Field>,
}

const LEAST_REPLICAS: &str = "minReplicas";
const UTILISATION: &str = "cpuUtilisation";

/// The least replicas, and the target of the CPU utilisation of the pod or of a container that has a plan.
fn fields(spec: &AutoscalerSpec<'_>, containers: Vec<&str>) -> Vec<Field> {
    let mut fields = vec![Field {
        key: LEAST_REPLICAS,
        path: "/spec/minReplicas".to_owned(),
        present: spec.min_replicas.is_some(),
        value: spec.min_replicas.unwrap_or(1),
    }];
    for (position, metric) in spec.metrics.iter().flatten().enumerate() {
        let of_container = metric.container_resource.as_ref();
        let of_container =
            of_container.filter(|metric| containers.contains(&metric.container.as_deref().unwrap_or_default()));
        let found = metric.resource.as_ref().map(|metric| ("resource", metric));
        let found = found.or_else(|| of_container.map(|metric| ("containerResource", metric)));
        if let Some(value) = found.and_then(|(_, metric)| cpu_utilisation(metric)) {
            let field = found.map(|(field, _)| field).unwrap_or_default();
            fields.push(Field {
                key: UTILISATION,
                path: format!("/spec/metrics/{position}/{field}/target/averageUtilization"),
                present: true,
                value,
            });
            break;
        }
    }
    fields
}

fn cpu_utilisation(metric: &ResourceMetric<'_>) -> Option<i64> {
    let is_cpu = metric.name.as_deref() == Some("cpu");
    metric.target.as_ref()?.average_utilization.filter(|_| is_cpu)
}

impl Autoscaler<'_, '_> {
    fn steer(&self, workload: &Workload<'_>, spec: &AutoscalerSpec<'_>, outcome: &mut Outcome) {
        let (mut originals, mut effectives) = (Map::new(), Map::new());
        for field in &self.fields {
            let Some(wanted) = wanted(field, workload, spec) else {
                continue;
            };
            let ours = self.effective.number(field.key) == Some(field.value);
            let original = self.original.number(field.key).filter(|_| ours).unwrap_or(field.value);
            if original != wanted || ours {
                originals.insert(field.key.to_owned(), Value::from(original));
                effectives.insert(field.key.to_owned(), Value::from(wanted));
            }
            write(field, wanted, &mut outcome.patch);
            if field.value != wanted && !ours {
                outcome.warn(format!(
                    "{} of the HorizontalPodAutoscaler of Deployment {}/{} is {wanted} instead of {}: {}",
                    field.key,
                    workload.namespace,
                    workload.name,
                    field.value,
                    workload.reason(),
                ));
            }
        }
        if !originals.is_empty() {
            let mut annotations = Annotations::of(Some(self.metadata));
            annotations.set(names::ORIGINAL, Value::Object(originals).to_string());
            annotations.set(names::EFFECTIVE, Value::Object(effectives).to_string());
            annotations.patch(&mut outcome.patch);
        }
    }

    fn release(&self, workload: &Workload<'_>, outcome: &mut Outcome) {
        for field in &self.fields {
            let ours = self.effective.number(field.key) == Some(field.value);
            if let Some(original) = self.original.number(field.key).filter(|_| ours) {
                write(field, original, &mut outcome.patch);
            }
        }
        if !outcome.patch.is_empty() {
            let message = "the HorizontalPodAutoscaler has its own bounds again";
            outcome.tell(workload.subject(), Reason::Released, message);
        }
        let mut annotations = Annotations::of(Some(self.metadata));
        annotations.remove(names::ORIGINAL);
        annotations.remove(names::EFFECTIVE);
        annotations.patch(&mut outcome.patch);
    }
}

fn wanted(field: &Field, workload: &Workload<'_>, spec: &AutoscalerSpec<'_>) -> Option<i64> {
    let plan = workload.plan.as_ref()?;
    if field.key == UTILISATION {
        let percent = (plan.target_utilisation? * 100.0).round();
        return (percent.is_finite()).then_some((percent as i64).clamp(1, 100));
    }
    let bounded = workload.wishes.bounds.replicas.clamp(u64::from(plan.replicas?)).max(1);
    let most = spec.max_replicas.unwrap_or(i64::MAX);
    // An autoscaler that may go to zero was told so.
    i64::try_from(bounded)
        .ok()
        .filter(|_| field.value > 0)
        .map(|wanted| wanted.min(most))
}

fn write(field: &Field, value: i64, patch: &mut Patch) {
    if field.value != value {
        patch.set(field.present, &field.path, value);
    }
}
