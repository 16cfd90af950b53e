//! Deployments: their replicas, and a record of the number that was asked for.

use std::cell::LazyCell;
use std::collections::BTreeMap;

use serde_json::json;

use crate::admission::Context;
use crate::headroom::Rollout;
use crate::notices::Reason;
use crate::outcome::Outcome;
use crate::plans::{Plan, names};
use crate::pod::ports::Unnamed;
use crate::reader::{Raw, Reader, quick};
use crate::record::{Annotations, Record};
use crate::replicas::{Asked, explain, wanted};
use crate::review::Request;
use crate::rollout;
use crate::view::{Deployment, Metadata, Pod};
use crate::workload::Workload;

/// Sets the replicas of a live Deployment, or gives a released one its own number back.
pub fn admit(context: &Context<'_>, request: &Request<'_, Deployment<'_>>, review: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    // Without a spec there is nothing to set anything in, and a patch that does not fit is an error of the whole request.
    let Some(object) = request.object.as_ref().filter(|object| object.spec.is_some()) else {
        return outcome;
    };
    let metadata = object.metadata.as_ref();
    let labels = labels(metadata);
    let name = metadata
        .and_then(|metadata| metadata.name.as_deref())
        .unwrap_or_else(|| request.name());
    let annotation = |key: &str| metadata.and_then(|metadata| metadata.annotation(key));
    let workload = Workload::new(context.plans, request.namespace(), name, &labels, annotation);
    workload.report_invalid(&mut outcome);
    // The request that starts a rollout. The whole of it is read to see that, once, and only where it matters.
    let changes = LazyCell::new(|| template_changes(review));
    let mut asked = asked(object, request.old_object.as_ref());
    let begins = beginning(object, &workload, asked).filter(|_| *changes == Some(true));
    asked.rolling_out |= shrinks(&workload, asked) && *changes != Some(false);
    asked.begins = begins;
    let records = Records::read(object, request.old_object.as_ref()).or_of(workload.plan.as_deref());
    if workload.is_live() {
        set(&workload, asked, &records, metadata, &mut outcome);
    } else {
        release(&workload, asked, &records, metadata, &mut outcome);
    }
    if workload.is_selected() {
        name_port(context, &workload, request, || *changes == Some(true), &mut outcome);
    }
    outcome
}

/// How the pods would be replaced, were the template to change: where that makes a difference to the replicas, and no other
/// rollout is under way whose headroom the replicas hold already.
fn beginning(object: &Deployment<'_>, workload: &Workload<'_>, asked: Asked) -> Option<Rollout> {
    if asked.before.is_none() || asked.rolling_out {
        return None;
    }
    let begins = Some(rollout::rollout_asked(object));
    (wanted(workload, Asked { begins, ..asked }) > wanted(workload, asked)).then_some(begins?)
}

/// Gives the port that Envoy will front a name, so that Services can be led to Envoy by it.
///
/// A template that changes makes new pods: the name is given when there will be new pods anyway, and never alone.
fn name_port(
    context: &Context<'_>,
    workload: &Workload<'_>,
    request: &Request<'_, Deployment<'_>>,
    template_changes: impl Fn() -> bool,
    outcome: &mut Outcome,
) {
    let Some(new) = template(&request.object) else {
        return;
    };
    let Some(unnamed) = Unnamed::find(context, workload, new) else {
        return;
    };
    let old = template(&request.old_object);
    let before = old.and_then(|old| unnamed.name_in(old));
    if before.is_some() || old.is_none() || template_changes() {
        unnamed.patch(before, new, &mut outcome.patch);
    } else {
        outcome.warn(format!(
            "port {} of Deployment {}/{} has no name by which a Service could reach Envoy: it gets one when its template changes",
            unnamed.number(),
            workload.namespace,
            workload.name,
        ));
    }
}

fn template<'d, 'a>(deployment: &'d Option<Deployment<'a>>) -> Option<&'d Pod<'a>> {
    deployment.as_ref()?.spec.as_ref()?.template.as_ref()
}

/// A review, as far as it leads to the templates.
struct Templates<'a> {
    request: Option<TemplatesOf<'a>>,
}

struct TemplatesOf<'a> {
    object: Option<Specified<'a>>,
    old_object: Option<Specified<'a>>,
}

struct Specified<'a> {
    spec: Option<Templated<'a>>,
}

struct Templated<'a> {
    template: Option<Raw<'a>>,
}

quick!(Templates { request });
quick!(TemplatesOf { object, old_object });
quick!(Specified { spec });
quick!(Templated { template });

/// Whether a review changes the template; `None` where it is not written the way an API server writes it, which writes
/// equal objects in equal bytes.
fn template_changes(review: &[u8]) -> Option<bool> {
    let request = Reader::new(review).whole::<Templates<'_>>()?.request?;
    let [new, old] = [request.object, request.old_object].map(|object| Some(object?.spec?.template?.0));
    Some(new != old)
}

fn labels(metadata: Option<&Metadata<'_>>) -> BTreeMap<String, String> {
    let labels = metadata.and_then(|metadata| metadata.labels.as_ref());
    let pairs = labels.into_iter().flat_map(|labels| labels.iter());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn asked(object: &Deployment<'_>, old: Option<&Deployment<'_>>) -> Asked {
    let replicas = |deployment: &Deployment<'_>| deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    Asked {
        replicas: replicas(object),
        before: old.map(replicas),
        rolling_out: rollout::is_paused(object) || old.is_some_and(rollout::was_rolling_out),
        begins: None,
    }
}

/// Whether there would be fewer replicas than before.
fn shrinks(workload: &Workload<'_>, asked: Asked) -> bool {
    let set = wanted(workload, asked);
    set.zip(asked.before).is_some_and(|(set, before)| set < before)
}

/// What earlier admissions wrote down.
struct Records {
    original: Option<i64>,
    effective: Option<i64>,
}

impl Records {
    fn read(object: &Deployment<'_>, old: Option<&Deployment<'_>>) -> Self {
        let old = old.and_then(|old| old.metadata.as_ref());
        let read = |key| Record::of(key, object.metadata.as_ref(), old).number("replicas");
        Self {
            original: read(names::ORIGINAL),
            effective: read(names::EFFECTIVE),
        }
    }

    /// A workload that was scaled through `deployments/scale` alone has no record of its own yet.
    fn or_of(self, plan: Option<&Plan>) -> Self {
        match plan.and_then(|plan| plan.original_replicas.zip(plan.replicas)) {
            Some((original, effective)) if self.original.is_none() => Self {
                original: Some(i64::from(original)),
                effective: Some(i64::from(effective)),
            },
            _ => self,
        }
    }

    /// The number that a user asked for, whatever stands there now.
    fn asked_for(&self, asked: Asked) -> i64 {
        let ours = !asked.is_change() || self.effective == Some(asked.replicas);
        self.original.filter(|_| ours).unwrap_or(asked.replicas)
    }
}

fn set(
    workload: &Workload<'_>,
    asked: Asked,
    records: &Records,
    metadata: Option<&Metadata<'_>>,
    outcome: &mut Outcome,
) {
    let Some(set) = wanted(workload, asked) else {
        return;
    };
    let original = records.asked_for(asked);
    if set != asked.replicas {
        outcome.patch.add("/spec/replicas", set);
        if records.effective != Some(asked.replicas) || asked.begins.is_some() {
            explain(workload, asked, set, outcome);
        }
    }
    if original != set || records.original.is_some() {
        let mut annotations = Annotations::of(metadata);
        annotations.set(names::ORIGINAL, json!({"replicas": original}).to_string());
        annotations.set(names::EFFECTIVE, json!({"replicas": set}).to_string());
        annotations.patch(&mut outcome.patch);
    }
}

fn release(
    workload: &Workload<'_>,
    asked: Asked,
    records: &Records,
    metadata: Option<&Metadata<'_>>,
    outcome: &mut Outcome,
) {
    let Some(original) = records.original else {
        return;
    };
    let untouched = !asked.is_change() || records.effective == Some(asked.replicas);
    if untouched && asked.replicas != 0 && asked.replicas != original && workload.horizontal.is_none() {
        outcome.patch.add("/spec/replicas", original);
        let message = format!("replicas are {original} again, as they were asked for: Valence no longer configures it");
        outcome.tell(workload.subject(), Reason::Released, message);
    }
    let mut annotations = Annotations::of(metadata);
    annotations.remove(names::ORIGINAL);
    annotations.remove(names::EFFECTIVE);
    annotations.patch(&mut outcome.patch);
}
