//! Installs Valence from its own manifests, as `kubectl apply -k deploy/base` does.

use serde_json::{Value, json};

use crate::apply::parse;

/// The manifests, in the order in which they can be applied.
const MANIFESTS: [&str; 7] = [
    include_str!("../../../../deploy/base/namespace.yaml"),
    include_str!("../../../../deploy/crds/servicelevelobjectives.yaml"),
    include_str!("../../../../deploy/crds/recommendations.yaml"),
    include_str!("../../../../deploy/base/rbac.yaml"),
    include_str!("../../../../deploy/base/services.yaml"),
    include_str!("../../../../deploy/base/webhook.yaml"),
    include_str!("../../../../deploy/base/operator.yaml"),
];

/// The objects of the installation. The operator runs with these replicas and further arguments.
///
/// # Errors
/// When a manifest is not YAML.
pub fn objects(replicas: u32, arguments: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for manifest in MANIFESTS {
        objects.extend(parse(manifest)?);
    }
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        object["spec"]["replicas"] = json!(replicas);
        if let Some(present) = object["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut() {
            present.extend(arguments.iter().map(|argument| json!(argument)));
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_operator_runs_with_the_arguments_of_the_demo() {
        let objects = objects(1, &["--scrape-interval=5s".into()]).unwrap();
        let operator = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let container = &operator["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["run", "--scrape-interval=5s"]));
        assert_eq!(operator["spec"]["replicas"], 1);
        assert!(
            objects
                .iter()
                .any(|object| object["kind"] == "MutatingWebhookConfiguration")
        );
    }
}
