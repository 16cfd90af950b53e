//! JSON as an API server written in Go sends it: the fields of its structures in the order in which they are declared, maps
//! by their keys, and what HTML could take for its own escaped.

use serde_json::{Map, Value};

/// Order of the fields, as far as the objects of this bench have them. A structure that disagrees with others has a list of
/// its own, and those of its fields that no other has are there alone.
const FIELDS: &[&str] = &[
    "group",
    "version",
    "kind",
    "resource",
    "apiVersion",
    "metadata",
    "request",
    "spec",
    "status",
    // ObjectMeta, and what else is named: containers, ports, volumes, variables.
    "name",
    "generateName",
    "namespace",
    "creationTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
    "managedFields",
    // UserInfo.
    "username",
    "uid",
    "groups",
    "extra",
    // Volumes.
    "configMap",
    "projected",
    "sources",
    "serviceAccountToken",
    "items",
    "defaultMode",
    "expirationSeconds",
    "key",
    "path",
    // Containers.
    "image",
    "containerPort",
    "protocol",
    "ports",
    "env",
    "value",
    "resources",
    "limits",
    "requests",
    "volumeMounts",
    "readOnly",
    "mountPath",
    "livenessProbe",
    "readinessProbe",
    "httpGet",
    "port",
    "scheme",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "runAsNonRoot",
    "fsGroup",
    "allowPrivilegeEscalation",
    // Tolerations.
    "operator",
    "effect",
    "tolerationSeconds",
];

const REQUEST: &[&str] = &[
    "uid",
    "kind",
    "resource",
    "requestKind",
    "requestResource",
    "name",
    "namespace",
    "operation",
    "userInfo",
    "object",
    "oldObject",
    "dryRun",
    "options",
];
const OWNER: &[&str] = &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
const MANAGER: &[&str] = &["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1"];
const POD_SPEC: &[&str] = &[
    "volumes",
    "containers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "serviceAccountName",
    "serviceAccount",
    "nodeName",
    "securityContext",
    "schedulerName",
    "tolerations",
    "priority",
    "enableServiceLinks",
    "preemptionPolicy",
];
/// Maps: by their keys.
const MAP: &[&str] = &[];

/// The text, with the line's end that follows every object.
pub fn bytes(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    write(value, "", &mut text);
    text.push('\n');
    text.into_bytes()
}

fn order(of: &str) -> &'static [&'static str] {
    match of {
        "request" => REQUEST,
        "ownerReferences" => OWNER,
        "managedFields" => MANAGER,
        "spec" => POD_SPEC,
        "labels" | "annotations" | "limits" | "requests" | "extra" => MAP,
        of if of.starts_with("f:") || of.starts_with("k:") || of == "fieldsV1" => MAP,
        _ => FIELDS,
    }
}

/// Writes a value that stands in the field `of`; elements of a list stand in the list's.
fn write(value: &Value, of: &str, text: &mut String) {
    match value {
        Value::Object(fields) => object(fields, order(of), text),
        Value::Array(elements) => {
            text.push('[');
            for (number, element) in elements.iter().enumerate() {
                text.push_str(if number > 0 { "," } else { "" });
                write(element, of, text);
            }
            text.push(']');
        }
        Value::String(string) => quoted(string, text),
        other => text.push_str(&other.to_string()),
    }
}

fn object(fields: &Map<String, Value>, order: &[&str], text: &mut String) {
    let mut sorted: Vec<_> = fields.iter().collect();
    let place = |key: &str| order.iter().position(|field| *field == key).unwrap_or(order.len());
    sorted.sort_by_key(|(key, _)| (place(key), key.as_str()));
    text.push('{');
    for (number, (key, value)) in sorted.into_iter().enumerate() {
        text.push_str(if number > 0 { "," } else { "" });
        quoted(key, text);
        text.push(':');
        write(value, key, text);
    }
    text.push('}');
}

fn quoted(string: &str, text: &mut String) {
    for character in Value::from(string).to_string().chars() {
        match character {
            '<' | '>' | '&' => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => text.push(other),
        }
    }
}
