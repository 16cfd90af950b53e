//! Sets of fields, in the form of `FieldsV1`: a tree of path elements.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::apiserver::schema::{Kind, ListKind, Schema};

/// A set of paths. Keys are path elements as `FieldsV1` writes them: `f:name`, `k:{"name":"a"}`, `v:"value"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FieldSet {
    /// The path up to here is itself in the set.
    pub(crate) member: bool,
    pub(crate) children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    pub(crate) fn leaf() -> Self {
        Self {
            member: true,
            children: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    pub(crate) fn from_json(value: &Value) -> Self {
        let Some(map) = value.as_object() else {
            return Self::default();
        };
        let children: BTreeMap<String, Self> = map
            .iter()
            .filter(|(name, _)| *name != ".")
            .map(|(name, value)| {
                let mut child = Self::from_json(value);
                child.member |= child.children.is_empty();
                (name.clone(), child)
            })
            .collect();
        Self {
            member: map.contains_key("."),
            children,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Value::Object(Map::new()));
        }
        for (name, child) in self.children.iter().filter(|(_, child)| !child.is_empty()) {
            map.insert(name.clone(), child.to_json());
        }
        Value::Object(map)
    }

    pub(crate) fn union(&mut self, other: &Self) {
        self.member |= other.member;
        for (name, child) in &other.children {
            self.children.entry(name.clone()).or_default().union(child);
        }
    }

    /// Takes the members of `other` out.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (name, child) in &other.children {
            if let Some(own) = self.children.get_mut(name) {
                own.subtract(child);
                if own.is_empty() {
                    self.children.remove(name);
                }
            }
        }
    }

    /// Members of both.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut set = Self {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (name, child) in &self.children {
            if let Some(others) = other.children.get(name) {
                let both = child.intersection(others);
                if !both.is_empty() {
                    set.children.insert(name.clone(), both);
                }
            }
        }
        set
    }

    /// Fields that only the server sets belong to nobody.
    pub(crate) fn strip_system_fields(&mut self) {
        for name in ["f:apiVersion", "f:kind"] {
            self.children.remove(name);
        }
        if let Some(metadata) = self.children.get_mut("f:metadata") {
            metadata.member = false;
            for name in [
                "f:name",
                "f:namespace",
                "f:creationTimestamp",
                "f:selfLink",
                "f:uid",
                "f:clusterName",
                "f:generation",
                "f:managedFields",
                "f:resourceVersion",
                "f:deletionTimestamp",
                "f:deletionGracePeriodSeconds",
            ] {
                metadata.children.remove(name);
            }
            if metadata.is_empty() {
                self.children.remove("f:metadata");
            }
        }
    }

    /// The members, as dotted paths for people.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect(String::new(), &mut paths);
        paths
    }

    fn collect(&self, path: String, paths: &mut Vec<String>) {
        if self.member {
            paths.push(path.clone());
        }
        for (name, child) in &self.children {
            child.collect(format!("{path}{}", shown(name)), paths);
        }
    }
}

fn shown(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", key)) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let parts: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", parts.join(","))
        }
        Some((_, value)) => format!("[={value}]"),
        None => element.to_owned(),
    }
}

/// How a value is taken apart.
pub(crate) enum Parts<'a> {
    /// One whole.
    Leaf,
    Fields(&'a Map<String, Value>),
    /// Items with their path elements; the keys are complete and different.
    Items(Vec<(String, &'a Value)>),
}

/// Takes a value apart by its schema.
pub(crate) fn parts<'a>(schema: Option<Schema<'_>>, value: &'a Value) -> Parts<'a> {
    match (value, schema) {
        (Value::Object(map), Some(schema)) if !schema.node.atomic_map => {
            // What no schema describes is still merged field by field (custom resources that preserve unknown fields).
            if schema.node.kind == Kind::Any && schema.is_map() && !schema.node.preserve_unknown {
                Parts::Leaf
            } else {
                Parts::Fields(map)
            }
        }
        (Value::Object(map), None) => Parts::Fields(map),
        (Value::Array(items), Some(schema)) => match &schema.node.list {
            ListKind::Atomic => Parts::Leaf,
            ListKind::Set => distinct(items.iter().map(|item| (format!("v:{item}"), item)).collect()),
            ListKind::Map(keys) => {
                let keyed: Option<Vec<_>> = items
                    .iter()
                    .map(|item| Some((key_element(schema, keys, item)?, item)))
                    .collect();
                keyed.map_or(Parts::Leaf, distinct)
            }
        },
        _ => Parts::Leaf,
    }
}

fn distinct(items: Vec<(String, &Value)>) -> Parts<'_> {
    let mut seen = std::collections::HashSet::new();
    if items.iter().all(|(key, _)| seen.insert(key.clone())) {
        Parts::Items(items)
    } else {
        Parts::Leaf
    }
}

fn key_element(schema: Schema<'_>, keys: &[String], item: &Value) -> Option<String> {
    let mut map = Map::new();
    for key in keys {
        let default = || schema.items()?.field(key)?.node.default.clone();
        let value = item.get(key).cloned().or_else(default)?;
        map.insert(key.clone(), value);
    }
    Some(format!("k:{}", Value::Object(map)))
}

/// The schema of a part.
pub(crate) fn part_schema<'a>(schema: Option<Schema<'a>>, element: &str) -> Option<Schema<'a>> {
    match element.strip_prefix("f:") {
        Some(name) => schema?.field(name),
        None => schema?.items(),
    }
}

/// Every field that a value sets.
pub(crate) fn of_value(schema: Schema<'_>, value: &Value) -> FieldSet {
    build(Some(schema), value, true)
}

fn build(schema: Option<Schema<'_>>, value: &Value, root: bool) -> FieldSet {
    match parts(schema, value) {
        Parts::Leaf => FieldSet::leaf(),
        Parts::Fields(map) => {
            let mut set = FieldSet {
                member: map.is_empty() && !root,
                children: BTreeMap::new(),
            };
            for (name, value) in map {
                let element = format!("f:{name}");
                let child = build(part_schema(schema, &element), value, false);
                set.children.insert(element, child);
            }
            set
        }
        Parts::Items(items) => {
            let mut set = FieldSet {
                member: items.is_empty(),
                children: BTreeMap::new(),
            };
            for (element, item) in items {
                let mut child = build(part_schema(schema, &element), item, false);
                child.member = true;
                set.children.insert(element, child);
            }
            set
        }
    }
}

/// What differs between two states.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    /// Added or changed.
    pub(crate) set: FieldSet,
    pub(crate) removed: FieldSet,
}

/// Compares two states of an object.
pub(crate) fn compare(schema: Schema<'_>, before: &Value, after: &Value) -> Change {
    let mut change = Change::default();
    difference(Some(schema), before, after, &mut change.set, &mut change.removed);
    change
}

fn difference(schema: Option<Schema<'_>>, before: &Value, after: &Value, set: &mut FieldSet, removed: &mut FieldSet) {
    if before == after {
        return;
    }
    let (old, new) = match (parts(schema, before), parts(schema, after)) {
        (Parts::Fields(old), Parts::Fields(new)) => (elements_of(old), elements_of(new)),
        (Parts::Items(old), Parts::Items(new)) => (
            old.into_iter().collect::<BTreeMap<_, _>>(),
            new.into_iter().collect::<BTreeMap<_, _>>(),
        ),
        _ => {
            *set = build(schema, after, false);
            return;
        }
    };
    for (element, value) in &new {
        let inner = part_schema(schema, element);
        match old.get(element) {
            Some(earlier) => {
                let (mut child_set, mut child_removed) = (FieldSet::default(), FieldSet::default());
                difference(inner, earlier, value, &mut child_set, &mut child_removed);
                insert(set, element, child_set);
                insert(removed, element, child_removed);
            }
            None => {
                let mut child = build(inner, value, false);
                child.member |= !element.starts_with("f:");
                insert(set, element, child);
            }
        }
    }
    for (element, value) in &old {
        if !new.contains_key(element) {
            let mut child = build(part_schema(schema, element), value, false);
            child.member = true;
            insert(removed, element, child);
        }
    }
}

fn elements_of(map: &Map<String, Value>) -> BTreeMap<String, &Value> {
    map.iter().map(|(name, value)| (format!("f:{name}"), value)).collect()
}

fn insert(set: &mut FieldSet, element: &str, child: FieldSet) {
    if !child.is_empty() {
        set.children.insert(element.to_owned(), child);
    }
}
