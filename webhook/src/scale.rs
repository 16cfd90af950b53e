//! Scales of Deployments: `kubectl scale`, and the empty patch by which a running workload converges.

use k8s_openapi::api::apps::v1 as apps;

use crate::admission::Context;
use crate::outcome::Outcome;
use crate::replicas::{Asked, explain, wanted};
use crate::review::Request;
use crate::view::Scale;
use crate::workload::Workload;

/// Sets the replicas of a live Deployment.
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
    };
    let Some(set) = wanted(&workload, asked) else {
        return outcome;
    };
    if set != asked.replicas {
        outcome.patch.add("/spec/replicas".to_owned(), set);
        explain(&workload, asked, set, &mut outcome);
    }
    outcome
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

fn is_rolling_out(deployment: &apps::Deployment) -> bool {
    let paused = deployment.spec.paused.unwrap_or_default();
    let status = deployment.status.as_ref();
    let all = status.and_then(|status| status.replicas).unwrap_or_default();
    let updated = status.and_then(|status| status.updated_replicas).unwrap_or_default();
    paused || updated < all
}
