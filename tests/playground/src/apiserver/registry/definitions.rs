//! The published schemas of the built-in kinds, from k8s-openapi.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::apiserver::schema::annotate;

/// Collects definitions as kinds are registered.
pub(super) struct Definitions {
    generator: SchemaGenerator,
    kinds: BTreeMap<String, Vec<Value>>,
}

impl Definitions {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::openapi3().with(|settings| settings.transforms.clear());
        Self {
            generator: settings.into_generator(),
            kinds: BTreeMap::new(),
        }
    }

    /// Adds a type and everything that it refers to; answers its name.
    pub(super) fn add<T: JsonSchema>(&mut self) -> String {
        let _ = self.generator.subschema_for::<T>();
        T::schema_name().into_owned()
    }

    /// Says which kind a definition is the schema of.
    pub(super) fn is_kind(&mut self, definition: &str, group: &str, version: &str, kind: &str) {
        let entry = json!({ "group": group, "version": version, "kind": kind });
        self.kinds.entry(definition.into()).or_default().push(entry);
    }

    pub(super) fn finish(mut self) -> BTreeMap<String, Value> {
        let mut definitions: BTreeMap<String, Value> = self.generator.take_definitions(false).into_iter().collect();
        annotate(&mut definitions);
        for (name, kinds) in self.kinds {
            if let Some(definition) = definitions.get_mut(&name) {
                definition["x-kubernetes-group-version-kind"] = kinds.into();
            }
        }
        for definition in definitions.values_mut() {
            wrap_references(definition);
        }
        definitions
    }
}

/// OpenAPI 3.0 ignores what stands beside a `$ref`: descriptions survive only around an `allOf`.
fn wrap_references(document: &mut Value) {
    match document {
        Value::Object(map) => {
            // A property may itself be called "$ref".
            if map.len() > 1
                && map.get("$ref").is_some_and(Value::is_string)
                && let Some(reference) = map.remove("$ref")
            {
                map.insert("allOf".into(), json!([{ "$ref": reference }]));
            }
            map.values_mut().for_each(wrap_references);
        }
        Value::Array(items) => items.iter_mut().for_each(wrap_references),
        _ => {}
    }
}

/// A document with its references replaced by what they name (which must not be recursive).
pub(super) fn inline(definitions: &BTreeMap<String, Value>, document: &Value) -> Value {
    let target = |reference: &Value| {
        let name = reference["$ref"].as_str()?.rsplit('/').next()?;
        definitions.get(name)
    };
    match document {
        Value::Object(map) => {
            let wrapped = map.get("allOf").and_then(|all| target(&all[0]));
            let Some(found) = target(document).or(wrapped) else {
                return map
                    .iter()
                    .map(|(name, value)| (name.clone(), inline(definitions, value)))
                    .collect();
            };
            let mut found = inline(definitions, found);
            for (name, value) in map
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "allOf" | "$ref"))
            {
                found[name] = value.clone();
            }
            found
        }
        Value::Array(items) => items.iter().map(|item| inline(definitions, item)).collect(),
        other => other.clone(),
    }
}
