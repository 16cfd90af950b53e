//! OpenAPI schemas, compiled: what built-in kinds and custom resources are validated, pruned, merged and defaulted by.

mod compile;
mod decode;
mod defaults;
mod extensions;
mod validate;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

pub(crate) use compile::{compile, definitions};
pub(crate) use decode::decode;
pub(crate) use defaults::apply_defaults;
pub(crate) use extensions::annotate;
pub(crate) use validate::{required, validate};

/// Place of a node in its arena.
pub(crate) type NodeId = usize;

/// The type that a value must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
    /// A resource quantity, written in its canonical form.
    Quantity,
}

/// How the items of a list are told apart when lists are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ListKind {
    #[default]
    Atomic,
    Set,
    /// By the values of these fields.
    Map(Vec<String>),
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// The field that identifies the items of a list of objects.
    pub(crate) merge_key: Option<String>,
    /// Lists are merged rather than replaced.
    pub(crate) merge: bool,
    /// `$retainKeys` is understood.
    pub(crate) retain_keys: bool,
}

/// One schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    pub(crate) properties: BTreeMap<String, (NodeId, Strategy)>,
    pub(crate) required: Vec<String>,
    pub(crate) additional: Option<NodeId>,
    pub(crate) items: Option<NodeId>,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded_resource: bool,
    pub(crate) default: Option<Value>,
    pub(crate) list: ListKind,
    pub(crate) atomic_map: bool,
    pub(crate) rules: Option<Box<Rules>>,
}

/// What a value must satisfy beyond its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) enumeration: Vec<Value>,
    pub(crate) pattern: Option<regex::Regex>,
    pub(crate) format: Option<String>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) all_of: Vec<NodeId>,
    pub(crate) any_of: Vec<NodeId>,
    pub(crate) one_of: Vec<NodeId>,
    pub(crate) not: Option<NodeId>,
}

/// Nodes that refer to each other.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    nodes: Vec<Node>,
    named: HashMap<String, NodeId>,
}

/// A schema that is shared between threads.
#[derive(Clone, Debug)]
pub(crate) struct SharedSchema {
    arena: Arc<Arena>,
    root: NodeId,
}

impl SharedSchema {
    pub(crate) fn root(&self) -> Schema<'_> {
        Schema {
            arena: &self.arena,
            node: &self.arena.nodes[self.root],
        }
    }
}

/// A node with the arena that it lives in.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a> {
    arena: &'a Arena,
    pub(crate) node: &'a Node,
}

impl<'a> Schema<'a> {
    fn at(self, id: NodeId) -> Self {
        Self {
            arena: self.arena,
            node: &self.arena.nodes[id],
        }
    }

    /// The schema of a field: a declared property, else that of the map's values.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        let id = self
            .node
            .properties
            .get(name)
            .map(|(id, _)| *id)
            .or(self.node.additional)?;
        Some(self.at(id))
    }

    /// The schema of the items of a list.
    pub(crate) fn items(self) -> Option<Self> {
        self.node.items.map(|id| self.at(id))
    }

    /// How a strategic merge patch treats a field.
    pub(crate) fn strategy(self, field: &str) -> Option<&'a Strategy> {
        self.node.properties.get(field).map(|(_, strategy)| strategy)
    }

    /// Whether the field names of this object are data rather than declared.
    pub(crate) fn is_map(self) -> bool {
        self.node.properties.is_empty()
    }
}

impl Arena {
    /// The definitions of an arena by name.
    pub(crate) fn named(self: &Arc<Self>, name: &str) -> Option<SharedSchema> {
        self.named.get(name).map(|root| SharedSchema {
            arena: self.clone(),
            root: *root,
        })
    }
}

/// `path.field`, or just the field at the top.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}
