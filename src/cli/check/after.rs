//! Whether Valence is installed and its parts work.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use super::{Context, Finding, Outcome};
use crate::api::definitions;

const CATEGORY: &str = "Valence";
const OPERATOR: &str = "optimization-operator";
const CONFIGURATION: &str = "valence";
const LEASE: &str = "valence-recommender";
/// The webhooks that the manifests set up.
const WEBHOOKS: [&str; 6] = [
    "pods.valence.io",
    "resize.valence.io",
    "deployments.valence.io",
    "scale.valence.io",
    "services.valence.io",
    "horizontalpodautoscalers.valence.io",
];

/// The findings.
pub async fn findings(context: &Context) -> Vec<Finding> {
    let mut all = Vec::new();
    for definition in definitions::all() {
        all.push(custom_resource(context, &definition).await);
    }
    all.push(operator(context).await);
    all.push(webhooks(context).await);
    all.push(leader(context).await);
    all
}

fn failed(subject: &str, message: impl Into<String>, hint: &str) -> Finding {
    Finding::new(CATEGORY, Outcome::Failed, subject, message).hint(hint)
}

fn passed(subject: &str, message: impl Into<String>) -> Finding {
    Finding::new(CATEGORY, Outcome::Passed, subject, message)
}

/// Whether a definition is served, with the schema that this version knows.
async fn custom_resource(context: &Context, wanted: &CustomResourceDefinition) -> Finding {
    let subject = wanted.spec.names.kind.as_str();
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let hint = "Apply deploy/valence.yaml, or `valence crds | kubectl apply -f -`.";
    match api.get_opt(name).await {
        Ok(Some(found)) if !established(&found) => failed(subject, "not established yet", hint),
        Ok(Some(found)) if schema(&found) != schema(wanted) => Finding::new(
            CATEGORY,
            Outcome::Warned,
            subject,
            "its schema is of another version than this command",
        )
        .hint(hint),
        Ok(Some(_)) => passed(subject, "served"),
        Ok(None) => failed(subject, "not installed", hint),
        Err(error) => failed(
            subject,
            error.to_string(),
            "You need the right to read customresourcedefinitions.",
        ),
    }
}

fn established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True")
}

/// The schema as the API server keeps it.
fn schema(definition: &CustomResourceDefinition) -> serde_json::Value {
    serde_json::to_value(
        definition
            .spec
            .versions
            .iter()
            .map(|version| &version.schema)
            .collect::<Vec<_>>(),
    )
    .unwrap_or_default()
}

async fn operator(context: &Context) -> Finding {
    let namespace = &context.system_namespace;
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), namespace);
    match api.get_opt(OPERATOR).await {
        Ok(Some(found)) => pods(&found, namespace),
        Ok(None) => failed(
            "operator",
            format!("there is no Deployment {namespace}/{OPERATOR}"),
            "Apply deploy/valence.yaml, or pass --system-namespace.",
        ),
        Err(error) => failed(
            "operator",
            error.to_string(),
            "You need the right to read Deployments there.",
        ),
    }
}

fn pods(operator: &Deployment, namespace: &str) -> Finding {
    let wanted = operator.spec.replicas.unwrap_or(1);
    let ready = operator
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default();
    let message = format!("{ready} of {wanted} pods ready");
    let hint = format!("kubectl describe pods -n {namespace} -l app.kubernetes.io/component=operator");
    match ready {
        0 => failed("operator", message, &hint),
        ready if ready < wanted => Finding::new(CATEGORY, Outcome::Warned, "operator", message).hint(hint),
        _ => passed("operator", message),
    }
}

async fn webhooks(context: &Context) -> Finding {
    let api: Api<MutatingWebhookConfiguration> = Api::all(context.client.clone());
    match api.get_opt(CONFIGURATION).await {
        Ok(Some(found)) => trusted(&found),
        Ok(None) => failed(
            "webhooks",
            format!("there is no MutatingWebhookConfiguration {CONFIGURATION}"),
            "Apply deploy/valence.yaml.",
        ),
        Err(error) => failed(
            "webhooks",
            error.to_string(),
            "You need the right to read mutatingwebhookconfigurations.",
        ),
    }
}

/// Whether each webhook is there and the API server can trust what answers.
fn trusted(configuration: &MutatingWebhookConfiguration) -> Finding {
    let all = configuration.webhooks.as_deref().unwrap_or_default();
    let missing: Vec<_> = WEBHOOKS
        .iter()
        .filter(|name| !all.iter().any(|one| one.name == **name))
        .copied()
        .collect();
    if !missing.is_empty() {
        return failed(
            "webhooks",
            format!("{} missing", missing.join(", ")),
            "Apply deploy/valence.yaml again.",
        );
    }
    let bare = all.iter().filter(|one| {
        one.client_config
            .ca_bundle
            .as_ref()
            .is_none_or(|bundle| bundle.0.is_empty())
    });
    match bare.count() {
        0 => passed("webhooks", format!("{} with a certificate authority", all.len())),
        count => failed(
            "webhooks",
            format!("{count} without a certificate authority: the API server passes them by"),
            "The operator fills it in within seconds of its start: look at its log.",
        ),
    }
}

async fn leader(context: &Context) -> Finding {
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &context.system_namespace);
    let hint = "The operator takes the lease when it starts: look at its log.";
    match api.get_opt(LEASE).await {
        Ok(Some(lease)) => fresh(&lease, Timestamp::now()),
        Ok(None) => failed("recommender", "nobody recommends: there is no lease", hint),
        Err(error) => failed(
            "recommender",
            error.to_string(),
            "You need the right to read leases there.",
        ),
    }
}

fn fresh(lease: &Lease, now: Timestamp) -> Finding {
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.unwrap_or_default();
    let duration = i64::from(spec.lease_duration_seconds.unwrap_or(15));
    let age = spec.renew_time.map(|time| now.as_second() - time.0.as_second());
    match age {
        Some(age) if age <= 2 * duration && !holder.is_empty() => passed("recommender", format!("{holder} recommends")),
        Some(age) => failed(
            "recommender",
            format!("the lease was last renewed {age} s ago"),
            "Another pod takes over by itself; if none does, look at their logs.",
        ),
        None => failed(
            "recommender",
            "nobody holds the lease",
            "The operator takes the lease when it starts: look at its log.",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn configuration(change: impl Fn(&mut Value)) -> MutatingWebhookConfiguration {
        let hooks: Vec<_> = WEBHOOKS
            .iter()
            .map(|name| json!({"name": name, "clientConfig": {"caBundle": "YQ=="}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}))
            .collect();
        let mut value = json!({ "webhooks": hooks });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_webhook_must_be_there_and_trusted() {
        assert_eq!(trusted(&configuration(|_| ())).outcome, Outcome::Passed);
        let bare = trusted(&configuration(|value| {
            value["webhooks"][2]["clientConfig"]["caBundle"] = json!("")
        }));
        assert!(bare.message.starts_with("1 without"), "{}", bare.message);
        let missing = trusted(&configuration(|value| {
            value["webhooks"].as_array_mut().unwrap().remove(3);
        }));
        assert_eq!(missing.message, "scale.valence.io missing");
    }

    #[test]
    fn a_lease_must_be_renewed() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let lease = |time: &str| {
            let spec = json!({"holderIdentity": "pod-a", "leaseDurationSeconds": 15, "renewTime": time});
            serde_json::from_value::<Lease>(json!({ "spec": spec })).unwrap()
        };
        assert_eq!(
            fresh(&lease("2026-01-01T00:00:50.000000Z"), now).outcome,
            Outcome::Passed
        );
        assert_eq!(
            fresh(&lease("2026-01-01T00:00:20.000000Z"), now).outcome,
            Outcome::Failed
        );
        assert_eq!(fresh(&Lease::default(), now).outcome, Outcome::Failed);
    }

    #[test]
    fn a_pod_that_is_missing_is_worth_a_look() {
        let operator = |ready: i32| {
            serde_json::from_value::<Deployment>(
                json!({"spec": {"replicas": 2, "selector": {}, "template": {}}, "status": {"readyReplicas": ready}}),
            )
            .unwrap()
        };
        assert_eq!(pods(&operator(2), "s").outcome, Outcome::Passed);
        assert_eq!(pods(&operator(1), "s").outcome, Outcome::Warned);
        assert_eq!(pods(&operator(0), "s").outcome, Outcome::Failed);
    }
}
