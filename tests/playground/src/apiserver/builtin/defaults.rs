//! Defaults of built-in kinds, where tools and controllers depend on them.

use serde_json::{Map, Value, json};

use crate::apiserver::object;
use crate::apiserver::registry::Resource;

/// Fills in the defaults of a built-in kind.
pub(crate) fn defaults(resource: &Resource, object: &mut Value) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => with(object, "spec", pod_spec),
        ("", "services") => service(object),
        ("", "secrets") => default(object, "type", "Opaque"),
        ("", "endpoints") => endpoints(object),
        ("", "limitranges") => limit_range(object),
        ("apps", "deployments") => deployment(object),
        ("apps", "replicasets") => workload(object, true),
        ("apps", "statefulsets") => stateful_set(object),
        ("apps", "daemonsets") => daemon_set(object),
        ("batch", "jobs") => with(object, "spec", job),
        ("batch", "cronjobs") => cron_job(object),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler(object, resource.version == "v1"),
        ("discovery.k8s.io", "endpointslices") => each(object, "ports", |port| {
            default(port, "protocol", "TCP");
            default(port, "name", "");
        }),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations") => webhooks(object, true),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => webhooks(object, false),
        ("networking.k8s.io", "networkpolicies") => network_policy(object),
        _ => {}
    }
}

/// Sets a field that is absent.
fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Value::Object(map) = object {
        map.entry(field).or_insert_with(|| value.into());
    }
}

/// The object in a field, if there is one.
fn with(object: &mut Value, field: &str, change: impl FnOnce(&mut Value)) {
    if let Some(inner @ Value::Object(_)) = object.get_mut(field) {
        change(inner);
    }
}

/// Every item of the list in a field.
fn each(object: &mut Value, field: &str, change: impl FnMut(&mut Value)) {
    if let Some(Value::Array(items)) = object.get_mut(field) {
        items.iter_mut().for_each(change);
    }
}

fn workload(object: &mut Value, replicas: bool) {
    with(object, "spec", |spec| {
        if replicas {
            default(spec, "replicas", 1);
        }
        with(spec, "template", |template| with(template, "spec", pod_spec));
    });
}

fn deployment(object: &mut Value) {
    workload(object, true);
    with(object, "spec", |spec| {
        default(spec, "revisionHistoryLimit", 10);
        default(spec, "progressDeadlineSeconds", 600);
        default(spec, "strategy", json!({}));
        let strategy = &mut spec["strategy"];
        default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            default(strategy, "rollingUpdate", json!({}));
            default(&mut strategy["rollingUpdate"], "maxSurge", "25%");
            default(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
        }
    });
}

fn stateful_set(object: &mut Value) {
    workload(object, true);
    with(object, "spec", |spec| {
        default(spec, "podManagementPolicy", "OrderedReady");
        default(spec, "revisionHistoryLimit", 10);
        default(
            spec,
            "updateStrategy",
            json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } }),
        );
    });
}

fn daemon_set(object: &mut Value) {
    workload(object, false);
    with(object, "spec", |spec| {
        default(spec, "revisionHistoryLimit", 10);
        let rolling = json!({ "maxSurge": 0, "maxUnavailable": 1 });
        default(
            spec,
            "updateStrategy",
            json!({ "type": "RollingUpdate", "rollingUpdate": rolling }),
        );
    });
}

fn job(spec: &mut Value) {
    default(spec, "completions", 1);
    default(spec, "parallelism", 1);
    default(spec, "backoffLimit", 6);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    with(spec, "template", |template| with(template, "spec", pod_spec));
}

fn cron_job(object: &mut Value) {
    with(object, "spec", |spec| {
        default(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        with(spec, "jobTemplate", |template| {
            with(template, "spec", |spec| {
                with(spec, "template", |template| with(template, "spec", pod_spec))
            });
        });
    });
}

fn pod_spec(spec: &mut Value) {
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        default(spec, field, value);
    }
    // The old name of the field follows the new one.
    let (name, old) = (
        spec.get("serviceAccountName").cloned(),
        spec.get("serviceAccount").cloned(),
    );
    if let Some(name) = name.or(old) {
        spec["serviceAccountName"] = name.clone();
        spec["serviceAccount"] = name;
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list, |container| self::container(container, host_network));
    }
    each(spec, "volumes", volume);
}

fn container(container: &mut Value, host_network: bool) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .map(|(_, tag)| tag);
    let pinned = image.contains('@') || tag.is_some_and(|tag| tag != "latest");
    let policy = if pinned { "IfNotPresent" } else { "Always" };
    default(container, "imagePullPolicy", policy);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    requests_from_limits(&mut container["resources"]);
    each(container, "ports", |port| {
        default(port, "protocol", "TCP");
        if host_network {
            let number = port["containerPort"].clone();
            default(port, "hostPort", number);
        }
    });
    each(container, "env", |variable| {
        with(variable, "valueFrom", |source| {
            with(source, "fieldRef", |field| default(field, "apiVersion", "v1"))
        });
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        with(container, name, probe);
    }
    with(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            with(lifecycle, hook, |hook| with(hook, "httpGet", http_get));
        }
    });
}

/// A limit without a request is also the request.
fn requests_from_limits(resources: &mut Value) {
    let map = |field: &str| {
        resources
            .get(field)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (limits, mut requests) = (map("limits"), map("requests"));
    if limits.is_empty() {
        return;
    }
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
    resources["requests"] = Value::Object(requests);
}

fn probe(probe: &mut Value) {
    default(probe, "timeoutSeconds", 1);
    default(probe, "periodSeconds", 10);
    default(probe, "successThreshold", 1);
    default(probe, "failureThreshold", 3);
    with(probe, "httpGet", http_get);
    with(probe, "grpc", |grpc| default(grpc, "service", ""));
}

fn http_get(action: &mut Value) {
    default(action, "path", "/");
    default(action, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    const MODE: i64 = 0o644;
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        with(volume, source, |source| default(source, "defaultMode", MODE));
    }
    with(volume, "hostPath", |source| default(source, "type", ""));
    if volume.as_object().is_some_and(|map| map.len() == 1) {
        default(volume, "emptyDir", json!({}));
    }
}

fn service(object: &mut Value) {
    with(object, "spec", |spec| {
        default(spec, "type", "ClusterIP");
        default(spec, "sessionAffinity", "None");
        if spec["type"] != "ExternalName" {
            default(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        if spec["type"] == "LoadBalancer" {
            default(spec, "allocateLoadBalancerNodePorts", true);
        }
        each(spec, "ports", |port| {
            default(port, "protocol", "TCP");
            let number = port["port"].clone();
            default(port, "targetPort", number);
        });
    });
}

fn endpoints(object: &mut Value) {
    each(object, "subsets", |subset| {
        each(subset, "ports", |port| default(port, "protocol", "TCP"))
    });
}

fn limit_range(object: &mut Value) {
    with(object, "spec", |spec| {
        each(spec, "limits", |item| {
            if item["type"] != "Container" {
                return;
            }
            // Absent defaults come from max, absent default requests from default, else from min.
            let max = item.get("max").and_then(Value::as_object).cloned().unwrap_or_default();
            let limits = merged(item.get("default").and_then(Value::as_object), &max);
            let min = item.get("min").and_then(Value::as_object).cloned().unwrap_or_default();
            let requests = merged(item.get("defaultRequest").and_then(Value::as_object), &limits);
            let requests = merged(Some(&requests), &min);
            for (field, map) in [("default", limits), ("defaultRequest", requests)] {
                let value = if map.is_empty() {
                    Value::Null
                } else {
                    Value::Object(map)
                };
                object::set_or_remove(item, field, value);
            }
        });
    });
}

fn merged(first: Option<&Map<String, Value>>, rest: &Map<String, Value>) -> Map<String, Value> {
    let mut all = first.cloned().unwrap_or_default();
    for (name, value) in rest {
        all.entry(name).or_insert_with(|| value.clone());
    }
    all
}

fn autoscaler(object: &mut Value, first_version: bool) {
    with(object, "spec", |spec| {
        default(spec, "minReplicas", 1);
        if !first_version {
            let target = json!({ "type": "Utilization", "averageUtilization": 80 });
            default(
                spec,
                "metrics",
                json!([{ "type": "Resource", "resource": { "name": "cpu", "target": target } }]),
            );
        }
    });
}

fn webhooks(object: &mut Value, mutating: bool) {
    each(object, "webhooks", |webhook| {
        default(webhook, "failurePolicy", "Fail");
        default(webhook, "matchPolicy", "Equivalent");
        default(webhook, "namespaceSelector", json!({}));
        default(webhook, "objectSelector", json!({}));
        default(webhook, "timeoutSeconds", 10);
        if mutating {
            default(webhook, "reinvocationPolicy", "Never");
        }
        each(webhook, "rules", |rule| default(rule, "scope", "*"));
        with(webhook, "clientConfig", |client| {
            with(client, "service", |service| default(service, "port", 443));
        });
    });
}

fn network_policy(object: &mut Value) {
    with(object, "spec", |spec| {
        let egress = spec.get("egress").is_some();
        default(
            spec,
            "policyTypes",
            if egress {
                json!(["Ingress", "Egress"])
            } else {
                json!(["Ingress"])
            },
        );
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::apiserver::registry::Registry;

    #[test]
    fn a_deployment_gets_its_defaults_once() {
        let resource = Registry::new().served().get("apps", "v1", "deployments").unwrap();
        let mut object = json!({ "spec": { "selector": {}, "template": { "spec": { "containers": [{
            "name": "a", "image": "nginx", "ports": [{ "containerPort": 80 }],
            "resources": { "limits": { "cpu": "1" } }, "readinessProbe": { "httpGet": { "port": 80 } },
        }] } } } });
        defaults(&resource, &mut object);
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(object["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/");
        let once = object.clone();
        defaults(&resource, &mut object);
        assert_eq!(object, once);
    }
}
