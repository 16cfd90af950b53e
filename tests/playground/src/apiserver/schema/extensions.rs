//! What the published schemas of built-in kinds say about merging lists, for the fields where it is not "replace".

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Definition (below `io.k8s.api`), field, keys of the list map (empty: a set), merge key, patch strategy.
type Entry = (
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const MERGED_LISTS: &[Entry] = &[
    ("core.v1.PodSpec", "containers", &["name"], "name", "merge"),
    ("core.v1.PodSpec", "initContainers", &["name"], "name", "merge"),
    ("core.v1.PodSpec", "ephemeralContainers", &["name"], "name", "merge"),
    ("core.v1.PodSpec", "volumes", &["name"], "name", "merge,retainKeys"),
    ("core.v1.PodSpec", "imagePullSecrets", &["name"], "name", "merge"),
    ("core.v1.PodSpec", "hostAliases", &["ip"], "ip", "merge"),
    (
        "core.v1.PodSpec",
        "topologySpreadConstraints",
        &["topologyKey", "whenUnsatisfiable"],
        "topologyKey",
        "merge",
    ),
    ("core.v1.PodSpec", "schedulingGates", &["name"], "name", "merge"),
    (
        "core.v1.PodSpec",
        "resourceClaims",
        &["name"],
        "name",
        "merge,retainKeys",
    ),
    (
        "core.v1.Container",
        "ports",
        &["containerPort", "protocol"],
        "containerPort",
        "merge",
    ),
    ("core.v1.Container", "env", &["name"], "name", "merge"),
    (
        "core.v1.Container",
        "volumeMounts",
        &["mountPath"],
        "mountPath",
        "merge",
    ),
    (
        "core.v1.Container",
        "volumeDevices",
        &["devicePath"],
        "devicePath",
        "merge",
    ),
    (
        "core.v1.EphemeralContainer",
        "ports",
        &["containerPort", "protocol"],
        "containerPort",
        "merge",
    ),
    ("core.v1.EphemeralContainer", "env", &["name"], "name", "merge"),
    (
        "core.v1.EphemeralContainer",
        "volumeMounts",
        &["mountPath"],
        "mountPath",
        "merge",
    ),
    (
        "core.v1.EphemeralContainer",
        "volumeDevices",
        &["devicePath"],
        "devicePath",
        "merge",
    ),
    ("core.v1.ResourceRequirements", "claims", &["name"], "", ""),
    ("core.v1.PodStatus", "conditions", &["type"], "type", "merge"),
    ("core.v1.PodStatus", "podIPs", &["ip"], "ip", "merge"),
    ("core.v1.PodStatus", "hostIPs", &[], "ip", "merge"),
    ("core.v1.ServiceSpec", "ports", &["port", "protocol"], "port", "merge"),
    ("core.v1.ServiceStatus", "conditions", &["type"], "type", "merge"),
    ("core.v1.ServiceAccount", "secrets", &["name"], "name", "merge"),
    ("core.v1.NodeSpec", "podCIDRs", &[], "", "merge"),
    ("core.v1.NodeStatus", "conditions", &["type"], "type", "merge"),
    ("core.v1.NodeStatus", "addresses", &["type"], "type", "merge"),
    ("core.v1.NamespaceStatus", "conditions", &["type"], "type", "merge"),
    (
        "core.v1.PersistentVolumeClaimStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "core.v1.ReplicationControllerStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    ("apps.v1.DeploymentStatus", "conditions", &["type"], "type", "merge"),
    ("apps.v1.ReplicaSetStatus", "conditions", &["type"], "type", "merge"),
    ("apps.v1.StatefulSetStatus", "conditions", &["type"], "type", "merge"),
    ("apps.v1.DaemonSetStatus", "conditions", &["type"], "type", "merge"),
    (
        "autoscaling.v2.HorizontalPodAutoscalerStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "policy.v1.PodDisruptionBudgetStatus",
        "conditions",
        &["type"],
        "type",
        "merge",
    ),
    (
        "admissionregistration.v1.MutatingWebhookConfiguration",
        "webhooks",
        &["name"],
        "name",
        "merge",
    ),
    (
        "admissionregistration.v1.MutatingWebhook",
        "matchConditions",
        &["name"],
        "name",
        "merge",
    ),
    (
        "admissionregistration.v1.ValidatingWebhookConfiguration",
        "webhooks",
        &["name"],
        "name",
        "merge",
    ),
    (
        "admissionregistration.v1.ValidatingWebhook",
        "matchConditions",
        &["name"],
        "name",
        "merge",
    ),
];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Structs that are replaced as a whole by server-side apply. ObjectFieldSelector is one in Kubernetes; here it is merged,
/// so that the default of its `apiVersion` is not taken for a change.
const ATOMIC: &[&str] = &[
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ScopeSelector",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.discovery.v1.EndpointPort",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
];

/// Adds the `x-kubernetes-*` extensions that the definitions of k8s-openapi leave out.
pub(crate) fn annotate(definitions: &mut BTreeMap<String, Value>) {
    for (definition, field, keys, merge_key, strategy) in MERGED_LISTS {
        if let Some(definition) = definitions.get_mut(&format!("io.k8s.api.{definition}")) {
            list(definition, field, keys, merge_key, strategy);
        }
    }
    if let Some(metadata) = definitions.get_mut(&format!("{META}.ObjectMeta")) {
        list(metadata, "ownerReferences", &["uid"], "uid", "merge");
        list(metadata, "finalizers", &[], "", "merge");
    }
    for name in ATOMIC {
        if let Some(definition) = definitions.get_mut(*name) {
            definition["x-kubernetes-map-type"] = "atomic".into();
        }
    }
    for (definition, field) in [("core.v1.PodSpec", "nodeSelector"), ("core.v1.ServiceSpec", "selector")] {
        if let Some(definition) = definitions.get_mut(&format!("io.k8s.api.{definition}")) {
            definition["properties"][field]["x-kubernetes-map-type"] = "atomic".into();
        }
    }
    let any_json = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON";
    if let Some(Value::Object(json)) = definitions.get_mut(any_json) {
        json.remove("type");
    }
    if let Some(fields) = definitions.get_mut(&format!("{META}.FieldsV1")) {
        fields["x-kubernetes-preserve-unknown-fields"] = true.into();
    }
    if let Some(deployment) = definitions.get_mut("io.k8s.api.apps.v1.DeploymentSpec") {
        deployment["properties"]["strategy"]["x-kubernetes-patch-strategy"] = "retainKeys".into();
    }
    if let Some(port) = definitions.get_mut("io.k8s.api.core.v1.ContainerPort") {
        port["properties"]["protocol"]["default"] = "TCP".into();
    }
    if let Some(port) = definitions.get_mut("io.k8s.api.core.v1.ServicePort") {
        port["properties"]["protocol"]["default"] = "TCP".into();
    }
}

fn list(definition: &mut Value, field: &str, keys: &[&str], merge_key: &str, strategy: &str) {
    let Some(property) = definition["properties"].get_mut(field) else {
        return;
    };
    property["x-kubernetes-list-type"] = if keys.is_empty() { "set".into() } else { "map".into() };
    if !keys.is_empty() {
        property["x-kubernetes-list-map-keys"] = json!(keys);
    }
    if !merge_key.is_empty() {
        property["x-kubernetes-patch-merge-key"] = merge_key.into();
    }
    if !strategy.is_empty() {
        property["x-kubernetes-patch-strategy"] = strategy.into();
    }
}
