//! Server-side apply: merges a configuration into an object, and keeps managers out of each other's fields.

use serde_json::{Map, Value};

use crate::apiserver::managed::{self, FieldSet, Manager, Parts, of_value, part_schema, parts};
use crate::apiserver::pipeline::Write;
use crate::apiserver::schema::Schema;
use crate::apiserver::status::{ApiError, ApiResult};

/// The state after applying `configuration` to `current`, with its managed fields.
pub(crate) fn server_side_apply(write: &Write<'_>, current: &Value, configuration: &Value) -> ApiResult<Value> {
    let shared = write
        .call
        .resource
        .schema
        .as_ref()
        .ok_or_else(ApiError::method_not_allowed)?;
    let schema = shared.root();
    let manager = Manager::of(write);
    let mut managers = managed::read(current);
    let mut applied = of_value(schema, configuration);
    applied.strip_system_fields();
    managed::strip_other_part(write, &mut applied);
    let previous = managers
        .iter()
        .find(|(known, _)| known.same(&manager))
        .map(|(_, set)| set.clone())
        .unwrap_or_default();

    let merged = merge(Some(schema), current, configuration);
    let conflicts = conflicts(schema, current, &merged, &applied, &managers, &manager);
    if !conflicts.is_empty() && !write.force {
        return Err(conflict_error(&conflicts));
    }
    for (known, set) in &mut managers {
        if let Some((_, fields)) = conflicts.iter().find(|(other, _)| other.same(known)) {
            set.subtract(fields);
        }
    }
    managers.retain(|(known, _)| !known.same(&manager));
    // What this manager applied before and no longer does goes, unless somebody else has it too.
    let mut orphaned = previous.clone();
    orphaned.subtract(&applied);
    for (_, set) in &managers {
        orphaned.subtract(set);
    }
    let mut object = remove(Some(schema), &merged, &orphaned, &managers, &applied);
    let time = match managed::read(current)
        .into_iter()
        .find(|(known, _)| known.same(&manager))
    {
        Some((known, set)) if set == applied => known.time,
        _ => manager.time.clone(),
    };
    managers.push((Manager { time, ..manager }, applied));
    managed::write(&mut object, managers);
    Ok(object)
}

/// Fields that another manager owns and that would change, for each such manager.
fn conflicts(
    schema: Schema<'_>,
    current: &Value,
    merged: &Value,
    applied: &FieldSet,
    managers: &[(Manager, FieldSet)],
    own: &Manager,
) -> Vec<(Manager, FieldSet)> {
    let changed = managed::compare(schema, current, merged).set.intersection(applied);
    let others = managers.iter().filter(|(known, _)| !known.same(own));
    others
        .map(|(known, set)| (known.clone(), set.intersection(&changed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect()
}

fn conflict_error(conflicts: &[(Manager, FieldSet)]) -> ApiError {
    let count: usize = conflicts.iter().map(|(_, fields)| fields.paths().len()).sum();
    let described: Vec<String> = conflicts
        .iter()
        .map(|(manager, fields)| {
            let paths: Vec<String> = fields.paths().iter().map(|path| format!("- {path}")).collect();
            format!("conflicts with {}:\n{}", who(manager), paths.join("\n"))
        })
        .collect();
    let plural = if count == 1 { "conflict" } else { "conflicts" };
    let mut error = if let ([(manager, _)], 1) = (conflicts, count) {
        let path = conflicts[0].1.paths().concat();
        ApiError::new(
            409,
            "Conflict",
            format!("Apply failed with 1 conflict: conflict with {}: {path}", who(manager)),
        )
    } else {
        ApiError::new(
            409,
            "Conflict",
            format!("Apply failed with {count} {plural}: {}", described.join("\n")),
        )
    };
    for (manager, fields) in conflicts {
        for path in fields.paths() {
            error = error.with_cause(
                "FieldManagerConflict",
                &path,
                &format!("conflict with {}", who(manager)),
            );
        }
    }
    error
}

fn who(manager: &Manager) -> String {
    let mut text = format!("\"{}\"", manager.name);
    if !manager.subresource.is_empty() {
        text.push_str(&format!(" with subresource \"{}\"", manager.subresource));
    }
    if manager.operation == "Update" {
        text.push_str(&format!(" using {}", manager.api_version));
    }
    text
}

/// Lays `configuration` over `current`: maps and keyed lists are merged, everything else is replaced.
fn merge(schema: Option<Schema<'_>>, current: &Value, configuration: &Value) -> Value {
    match (parts(schema, current), parts(schema, configuration)) {
        (Parts::Fields(old), Parts::Fields(new)) => {
            let mut map = old.clone();
            for (name, value) in new {
                let inner = part_schema(schema, &format!("f:{name}"));
                let merged = match old.get(name) {
                    Some(earlier) => merge(inner, earlier, value),
                    None => value.clone(),
                };
                map.insert(name.clone(), merged);
            }
            Value::Object(map)
        }
        (Parts::Items(old), Parts::Items(new)) => merge_items(schema, &old, &new),
        _ => configuration.clone(),
    }
}

/// Items of the configuration in its order; those that only the server has stay where they are among the others.
fn merge_items(schema: Option<Schema<'_>>, old: &[(String, &Value)], new: &[(String, &Value)]) -> Value {
    let mut items: Vec<Value> = Vec::new();
    let mut rest = new.iter().peekable();
    let add = |items: &mut Vec<Value>, element: &String, value: &Value| {
        let earlier = old.iter().find(|(known, _)| known == element);
        items.push(match earlier {
            Some((_, earlier)) => merge(part_schema(schema, element), earlier, value),
            None => value.clone(),
        });
    };
    for (element, value) in old {
        if new.iter().any(|(known, _)| known == element) {
            // Everything of the configuration up to this item comes first, so that its order holds.
            if rest.clone().any(|(known, _)| known == element) {
                for (known, value) in rest.by_ref() {
                    add(&mut items, known, value);
                    if known == element {
                        break;
                    }
                }
            }
        } else {
            items.push((*value).clone());
        }
    }
    for (element, value) in rest {
        add(&mut items, element, value);
    }
    Value::Array(items)
}

/// Removes fields that nobody wants any longer; an object that becomes empty by it goes when nobody owns it.
fn remove(
    schema: Option<Schema<'_>>,
    value: &Value,
    orphaned: &FieldSet,
    managers: &[(Manager, FieldSet)],
    applied: &FieldSet,
) -> Value {
    let owned: Vec<&FieldSet> = managers.iter().map(|(_, set)| set).chain([applied]).collect();
    prune(schema, value, orphaned, &owned).unwrap_or_else(|| Value::Object(Map::new()))
}

fn prune(schema: Option<Schema<'_>>, value: &Value, orphaned: &FieldSet, owned: &[&FieldSet]) -> Option<Value> {
    if orphaned.is_empty() {
        return Some(value.clone());
    }
    let child = |element: &str, value: &Value| {
        let Some(gone) = orphaned.children.get(element) else {
            return Some(value.clone());
        };
        let owners: Vec<&FieldSet> = owned.iter().filter_map(|set| set.children.get(element)).collect();
        let wanted = owners.iter().any(|set| !set.is_empty());
        if gone.member && !wanted {
            return None;
        }
        let kept = prune(part_schema(schema, element), value, gone, &owners)?;
        let emptied = match (&kept, value) {
            (Value::Object(now), Value::Object(before)) => now.is_empty() && !before.is_empty(),
            (Value::Array(now), Value::Array(before)) => now.is_empty() && !before.is_empty(),
            _ => false,
        };
        (!emptied || wanted).then_some(kept)
    };
    match parts(schema, value) {
        Parts::Leaf => Some(value.clone()),
        Parts::Fields(map) => {
            let kept = map
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), child(&format!("f:{name}"), value)?)));
            Some(Value::Object(kept.collect()))
        }
        Parts::Items(items) => Some(Value::Array(
            items
                .into_iter()
                .filter_map(|(element, value)| child(&element, value))
                .collect(),
        )),
    }
}
