//! Managed fields: who set which field, for server-side apply.

mod fields;
mod record;

pub(crate) use fields::{FieldSet, Parts, compare, of_value, part_schema, parts};
pub(crate) use record::{Manager, read, write};

use serde_json::Value;

use super::object;
use super::pipeline::Write;

/// A new object belongs, as far as it goes, to who created it.
pub(crate) fn on_create(write: &Write<'_>, object: &mut Value) {
    let Some(schema) = write.call.resource.schema.as_ref() else {
        return;
    };
    let mut set = of_value(schema.root(), object);
    set.strip_system_fields();
    strip_other_part(write, &mut set);
    let manager = Manager::of(write);
    record::write(object, vec![(manager, set)]);
}

/// A change makes its author the owner of what it set, and takes what it changed from the others.
pub(crate) fn on_update(write: &Write<'_>, current: &Value, object: &mut Value) {
    if write.operation == "Apply" {
        // Apply wrote its own record.
        return;
    }
    let Some(schema) = write.call.resource.schema.as_ref() else {
        return;
    };
    let sent = &object["metadata"]["managedFields"];
    // A client may reset the record, or rewrite it (kubectl does so when it moves to server-side apply).
    let mut managers = match sent.as_array() {
        Some(entries) if entries.is_empty() || entries.iter().all(|entry| entry == &serde_json::json!({})) => {
            Vec::new()
        }
        Some(_) => read(object),
        None => read(current),
    };
    let change = compare(schema.root(), current, object);
    let mut changed = change.set;
    changed.strip_system_fields();
    strip_other_part(write, &mut changed);
    for (_, set) in &mut managers {
        set.subtract(&change.removed);
        set.subtract(&changed);
    }
    if !changed.is_empty() {
        let manager = Manager::of(write);
        match managers.iter_mut().find(|(known, _)| known.same(&manager)) {
            Some((known, set)) => {
                set.union(&changed);
                known.time = manager.time;
            }
            None => managers.push((manager, changed)),
        }
    }
    managers.retain(|(_, set)| !set.is_empty());
    record::write(object, managers);
}

/// The status belongs to who writes the subresource, everything else to who writes the object.
pub(crate) fn strip_other_part(write: &Write<'_>, set: &mut FieldSet) {
    if !write.call.resource.status {
        return;
    }
    if write.call.subresource() == "status" {
        set.children
            .retain(|name, _| matches!(name.as_str(), "f:status" | "f:metadata"));
    } else {
        set.children.remove("f:status");
    }
}

/// Whether two states differ in nothing but revision and the record of managers.
pub(crate) fn unchanged(before: &Value, after: &Value) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        let metadata = object::metadata_mut(&mut value);
        metadata.remove("resourceVersion");
        if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            for entry in entries {
                object::set_or_remove(entry, "time", Value::Null);
            }
        }
        value
    };
    bare(before) == bare(after)
}
