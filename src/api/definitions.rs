//! The CustomResourceDefinitions as YAML, always in the same order.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::{Recommendation, ServiceLevelObjective};

/// Every CustomResourceDefinition of Valence.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![Recommendation::crd(), ServiceLevelObjective::crd()]
        .into_iter()
        .map(labelled)
        .collect()
}

fn labelled(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let labels = definition.metadata.labels.get_or_insert_default();
    labels.insert("app.kubernetes.io/name".to_owned(), "valence".to_owned());
    labels.insert("app.kubernetes.io/component".to_owned(), "crds".to_owned());
    definition
}

/// One definition as YAML.
///
/// # Errors
/// When the definition cannot be written as YAML.
pub fn yaml(definition: &CustomResourceDefinition) -> anyhow::Result<String> {
    // By way of a value, so that fields come in one order however the types are declared.
    let value = serde_json::to_value(definition)?;
    Ok(serde_saphyr::to_string(&value)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(kind: &str) -> serde_json::Value {
        let definition = all()
            .into_iter()
            .find(|definition| definition.spec.names.kind == kind)
            .unwrap();
        serde_json::to_value(definition).unwrap()
    }

    #[test]
    fn names_are_the_ones_that_users_type() {
        let slo = value("ServiceLevelObjective");
        assert_eq!(slo["metadata"]["name"], "servicelevelobjectives.optimizer.valence.io");
        assert_eq!(slo["spec"]["names"]["shortNames"][0], "vslo");
        assert_eq!(slo["spec"]["names"]["categories"][0], "valence");
        assert_eq!(slo["spec"]["scope"], "Namespaced");
        let recommendation = value("Recommendation");
        assert_eq!(
            recommendation["metadata"]["name"],
            "recommendations.optimizer.valence.io"
        );
        assert_eq!(recommendation["spec"]["names"]["shortNames"][0], "vrec");
    }

    #[test]
    fn the_schema_refuses_what_is_no_objective() {
        let slo = value("ServiceLevelObjective");
        let schema = &slo["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let objective = &schema["properties"]["objectives"]["items"];
        assert_eq!(objective["properties"]["type"]["enum"][0], "HTTP");
        assert!(
            objective["x-kubernetes-validations"][0]["rule"]
                .as_str()
                .unwrap()
                .contains("has(self.http)")
        );
        let latency = &objective["properties"]["http"]["properties"]["latency"];
        assert_eq!(
            latency["properties"]["percentile"]["enum"],
            serde_json::json!([99, 95, 90, 75, 50])
        );
        let time = &latency["properties"]["responseTime"];
        assert_eq!(time["pattern"], super::super::duration::PATTERN);
        assert!(
            time["x-kubernetes-validations"][0]["rule"]
                .as_str()
                .unwrap()
                .contains("duration(self)")
        );
        assert_eq!(schema["required"], serde_json::json!(["objectives", "selector"]));
        assert_eq!(
            schema["properties"]["selector"]["x-kubernetes-preserve-unknown-fields"],
            true
        );
    }

    #[test]
    fn every_field_is_described_and_structural() {
        for kind in ["ServiceLevelObjective", "Recommendation"] {
            let value = value(kind);
            let version = &value["spec"]["versions"][0];
            assert!(version["subresources"]["status"].is_object());
            check("", &version["schema"]["openAPIV3Schema"]);
        }
    }

    fn check(path: &str, schema: &serde_json::Value) {
        assert!(schema["type"].is_string(), "{path} has no type: {schema}");
        for forbidden in ["$ref", "anyOf", "oneOf", "allOf"] {
            assert!(schema.get(forbidden).is_none(), "{path} uses {forbidden}");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(
                property["description"].is_string() || path.contains("matchExpressions"),
                "{path}.{name} is not described"
            );
            check(&format!("{path}.{name}"), property);
        }
        for nested in ["items", "additionalProperties"] {
            if schema[nested].is_object() {
                check(&format!("{path}[{nested}]"), &schema[nested]);
            }
        }
    }

    #[test]
    fn printing_is_deterministic_and_reads_back() {
        for definition in all() {
            let text = yaml(&definition).unwrap();
            assert_eq!(text, yaml(&definition).unwrap());
            let back: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(back, definition);
        }
    }
}
