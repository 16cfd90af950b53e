//! From OpenAPI documents to nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::{Arena, Kind, ListKind, Node, NodeId, Rules, SharedSchema, Strategy};
use crate::apiserver::object;

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const RAW_JSON: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";

/// Compiles named definitions that refer to each other by `$ref`.
pub(crate) fn definitions(definitions: &BTreeMap<String, Value>) -> Arc<Arena> {
    let mut compiler = Compiler::default();
    for name in definitions.keys() {
        let id = compiler.reserve();
        compiler.arena.named.insert(name.clone(), id);
    }
    for (name, document) in definitions {
        let mut node = compiler.node(document);
        if name == QUANTITY {
            node.kind = Kind::Quantity;
        }
        // Described as an object, but `default`, `example` and `enum` hold whatever they are about.
        if name == RAW_JSON {
            node.kind = Kind::Any;
            node.preserve_unknown = true;
        }
        let id = compiler.arena.named[name];
        compiler.arena.nodes[id] = node;
    }
    Arc::new(compiler.arena)
}

/// Compiles one self-contained schema. `metadata` is the schema that objects keep their metadata by.
pub(crate) fn compile(document: &Value, metadata: &Value) -> SharedSchema {
    let mut compiler = Compiler {
        embedded_metadata: Some(metadata.clone()),
        ..Compiler::default()
    };
    let root = compiler.reserve();
    let node = compiler.node(document);
    compiler.arena.nodes[root] = node;
    compiler.make_resource(root);
    SharedSchema {
        arena: Arc::new(compiler.arena),
        root,
    }
}

#[derive(Default)]
struct Compiler {
    arena: Arena,
    embedded_metadata: Option<Value>,
    patterns: HashMap<String, Option<regex::Regex>>,
}

impl Compiler {
    fn reserve(&mut self) -> NodeId {
        self.arena.nodes.push(Node::default());
        self.arena.nodes.len() - 1
    }

    fn add(&mut self, document: &Value) -> NodeId {
        if let Some(id) = self.reference(document) {
            return id;
        }
        let id = self.reserve();
        let node = self.node(document);
        self.arena.nodes[id] = node;
        id
    }

    /// The node that a `$ref` (or an `allOf` of just one) names.
    fn reference(&self, document: &Value) -> Option<NodeId> {
        let direct = document["$ref"].as_str();
        let wrapped = || match document["allOf"].as_array().map(Vec::as_slice) {
            Some([only]) => only["$ref"].as_str(),
            _ => None,
        };
        let name = direct.or_else(wrapped)?.rsplit('/').next()?;
        self.arena.named.get(name).copied()
    }

    fn node(&mut self, document: &Value) -> Node {
        let flag = |name: &str| document[name].as_bool().unwrap_or(false);
        let mut node = Node {
            kind: kind(document),
            nullable: flag("nullable"),
            required: object::strings(&document["required"]),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            default: document.get("default").cloned(),
            list: list_kind(document),
            atomic_map: document["x-kubernetes-map-type"] == "atomic",
            ..Node::default()
        };
        for (name, property) in document["properties"].as_object().into_iter().flatten() {
            node.properties
                .insert(name.clone(), (self.add(property), strategy(property)));
        }
        match &document["additionalProperties"] {
            Value::Bool(true) => node.additional = Some(self.add(&Value::Object(Default::default()))),
            schema @ Value::Object(_) => node.additional = Some(self.add(schema)),
            _ => {}
        }
        if document["items"].is_object() {
            node.items = Some(self.add(&document["items"]));
        }
        node.rules = self.rules(document).map(Box::new);
        node
    }

    fn rules(&mut self, document: &Value) -> Option<Rules> {
        const KEYWORDS: [&str; 19] = [
            "enum",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !KEYWORDS.iter().any(|keyword| document.get(keyword).is_some()) {
            return None;
        }
        let number = |name: &str| document[name].as_f64();
        let count = |name: &str| document[name].as_u64();
        let flag = |name: &str| document[name].as_bool().unwrap_or(false);
        let pattern = document["pattern"].as_str().and_then(|pattern| self.pattern(pattern));
        let all_of = if self.reference(document).is_some() {
            Vec::new()
        } else {
            self.schemas(document, "allOf")
        };
        let not = document["not"].is_object().then(|| self.add(&document["not"]));
        Some(Rules {
            enumeration: document["enum"].as_array().cloned().unwrap_or_default(),
            pattern,
            format: document["format"].as_str().map(str::to_owned),
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            all_of,
            any_of: self.schemas(document, "anyOf"),
            one_of: self.schemas(document, "oneOf"),
            not,
        })
    }

    fn schemas(&mut self, document: &Value, keyword: &str) -> Vec<NodeId> {
        let schemas: Vec<Value> = document[keyword].as_array().cloned().unwrap_or_default();
        schemas.iter().map(|schema| self.add(schema)).collect()
    }

    fn pattern(&mut self, pattern: &str) -> Option<regex::Regex> {
        self.patterns
            .entry(pattern.to_owned())
            .or_insert_with(|| regex::Regex::new(pattern).ok())
            .clone()
    }

    /// Gives a node what every object has, whatever its own schema says.
    fn make_resource(&mut self, id: NodeId) {
        let text = serde_json::json!({ "type": "string" });
        let metadata = self.embedded_metadata.clone().unwrap_or_default();
        for (name, document) in [("apiVersion", &text), ("kind", &text), ("metadata", &metadata)] {
            let field = self.add(document);
            self.arena.nodes[id]
                .properties
                .insert(name.into(), (field, Strategy::default()));
        }
        self.arena.nodes[id].kind = Kind::Object;
    }
}

fn kind(document: &Value) -> Kind {
    if document["x-kubernetes-int-or-string"] == true {
        return Kind::IntOrString;
    }
    match document["type"].as_str() {
        Some("object") => Kind::Object,
        Some("array") => Kind::Array,
        Some("string") => Kind::String,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        _ => Kind::Any,
    }
}

fn list_kind(document: &Value) -> ListKind {
    match document["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(object::strings(&document["x-kubernetes-list-map-keys"])),
        _ => ListKind::Atomic,
    }
}

fn strategy(document: &Value) -> Strategy {
    let strategies = document["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
    Strategy {
        merge_key: document["x-kubernetes-patch-merge-key"].as_str().map(str::to_owned),
        merge: strategies.split(',').any(|strategy| strategy == "merge"),
        retain_keys: strategies.split(',').any(|strategy| strategy == "retainKeys"),
    }
}
