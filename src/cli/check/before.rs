//! What a cluster must offer before Valence is installed.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

use super::{Context, Finding, Outcome};
use crate::causes::causes;

const CATEGORY: &str = "Kubernetes";

/// Least minor version: CEL match conditions of webhooks are served by default from here on.
const LEAST_MINOR: u32 = 28;
/// From here on sidecars are native, since Services find their named ports, and pods are resized in place by default.
const RESIZE_MINOR: u32 = 33;

/// What an installation creates outside of its namespace.
const CREATED: [(&str, &str); 5] = [
    ("", "namespaces"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
];

/// The findings; rights to install are only asked for where an installation is ahead.
pub async fn findings(context: &Context, installing: bool) -> Vec<Finding> {
    let mut all = vec![version(context).await];
    if all[0].outcome == Outcome::Failed {
        return all;
    }
    all.push(resource_metrics(context).await);
    if installing {
        all.push(rights(context).await);
    }
    all
}

async fn version(context: &Context) -> Finding {
    match context.client.apiserver_version().await {
        Ok(info) => judge(&info.major, &info.minor),
        Err(error) => Finding::new(
            CATEGORY,
            Outcome::Failed,
            "API server",
            format!("does not answer: {}", causes(&error)),
        )
        .hint("Check the kubeconfig and the context: `kubectl version` must work."),
    }
}

/// What a version means; a minor version may carry a sign, as `30+`.
fn judge(major: &str, minor: &str) -> Finding {
    let number: u32 = minor
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or_default();
    let finding =
        |outcome, message: &str| Finding::new(CATEGORY, outcome, "version", format!("{major}.{minor}{message}"));
    match number {
        n if n < LEAST_MINOR => finding(Outcome::Failed, ": too old").hint(format!(
            "Valence needs Kubernetes 1.{LEAST_MINOR}: webhooks with match conditions."
        )),
        n if n < RESIZE_MINOR => finding(
            Outcome::Passed,
            ": works with an ordinary sidecar, and by eviction instead of resizing",
        ),
        _ => finding(Outcome::Passed, ""),
    }
}

async fn resource_metrics(context: &Context) -> Finding {
    let groups = context.client.list_api_groups().await;
    let served = groups.is_ok_and(|groups| groups.groups.iter().any(|group| group.name == "metrics.k8s.io"));
    if served {
        Finding::new(
            CATEGORY,
            Outcome::Passed,
            "metrics.k8s.io",
            "served: CPU and memory in use are known",
        )
    } else {
        Finding::new(
            CATEGORY,
            Outcome::Warned,
            "metrics.k8s.io",
            "not served: only replicas can be recommended",
        )
        .hint("Install metrics-server: `kubectl apply -f deploy/tooling.yaml`.")
    }
}

async fn rights(context: &Context) -> Finding {
    let mut missing = Vec::new();
    for (group, resource) in CREATED {
        if !may_create(context, group, resource).await {
            missing.push(resource);
        }
    }
    if missing.is_empty() {
        Finding::new(CATEGORY, Outcome::Passed, "rights", "you may install Valence")
    } else {
        Finding::new(
            CATEGORY,
            Outcome::Failed,
            "rights",
            format!("you may not create {}", missing.join(", ")),
        )
        .hint("Install as a cluster administrator.")
    }
}

async fn may_create(context: &Context, group: &str, resource: &str) -> bool {
    let attributes = ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(context.client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    answer.is_ok_and(|review| review.status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_judged() {
        assert_eq!(judge("1", "36").message, "1.36");
        assert_eq!(judge("1", "30+").outcome, Outcome::Passed);
        assert!(judge("1", "28").message.contains("ordinary sidecar"));
        assert_eq!(judge("1", "27").outcome, Outcome::Failed);
    }
}
