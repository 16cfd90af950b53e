//! Scales of Deployments: `kubectl scale`, and the empty patch by which a running workload converges.

use k8s_openapi::api::apps::v1 as apps;

use crate::admission::Context;
use crate::notices::Reason;
use crate::outcome::Outcome;
use crate::plans::names;
use crate::record::Record;
use crate::replicas::{Asked, explain, wanted};
use crate::review::Request;
use crate::rollout::is_rolling_out;
use crate::view::Scale;
use crate::workload::Workload;

/// Sets the replicas of a live Deployment, or gives a released one its own number back.
pub fn admit(context: &Context<'_>, request: &Request<'_, Scale<'_>>) -> Outcome {
    let mut outcome = Outcome::default();
    let (namespace, name) = (request.namespace(), name(request));
    let Some(deployment) = context.plans.deployment(namespace, name) else {
        return outcome;
    };
    let workload = Workload::known(context.plans, namespace, name, &deployment);
    let asked = Asked {
        // Absent is 0: that is how a Scale of 0 is written.
        replicas: replicas(request.object.as_ref()),
        before: Some(replicas(request.old_object.as_ref())),
        rolling_out: is_rolling_out(&deployment),
        begins: None,
    };
    if !workload.is_live() {
        release(&workload, asked, &deployment, &mut outcome);
    } else if let Some(set) = wanted(&workload, asked).filter(|set| *set != asked.replicas) {
        outcome.patch.add("/spec/replicas", set);
        explain(&workload, asked, set, &mut outcome);
    }
    outcome
}

/// Gives a workload that no objective selects any more its own number back, when it is asked about: as long as the plan
/// says which it was. A number that somebody asks for is that somebody's.
fn release(workload: &Workload<'_>, asked: Asked, deployment: &apps::Deployment, outcome: &mut Outcome) {
    let planned = workload.plan.as_ref().and_then(|plan| plan.original_replicas);
    let Some(planned) = planned.filter(|_| workload.wishes.configure && workload.horizontal.is_none()) else {
        return;
    };
    if asked.is_change() || asked.replicas == 0 {
        return;
    }
    let original = noted(deployment).unwrap_or_else(|| i64::from(planned));
    let set = if asked.rolling_out {
        original.max(asked.replicas)
    } else {
        original
    };
    if set != asked.replicas {
        outcome.patch.add("/spec/replicas", set);
        let message = format!("replicas are {set} again, as they were asked for: no objective selects it any more");
        outcome.notice(workload.subject(), Reason::Released, message);
    }
}

fn noted(deployment: &apps::Deployment) -> Option<i64> {
    let record = deployment.metadata.annotations.as_ref()?.get(names::ORIGINAL)?;
    Record::read(Some(record)).number("replicas")
}

fn name<'r>(request: &'r Request<'_, Scale<'_>>) -> &'r str {
    let own = request
        .object
        .as_ref()
        .and_then(|scale| scale.metadata.as_ref()?.name.as_deref());
    own.unwrap_or_else(|| request.name())
}

fn replicas(scale: Option<&Scale<'_>>) -> i64 {
    let spec = scale.and_then(|scale| scale.spec.as_ref());
    spec.and_then(|spec| spec.replicas).unwrap_or_default()
}
