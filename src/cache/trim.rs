//! What is left of an object that anybody with the rights of one namespace may write: the fields that are read, and never
//! more of one object than a bound. The caches of every replica hold all of them, asked for or not.

use std::cell::RefCell;
use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, Service, ServiceSpec};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Serialize;
use tracing::warn;
use valence_webhook::names;

/// Most that is kept of one object, in bytes of JSON. What is larger counts as one that says nothing.
pub const MOST_BYTES: usize = 64 << 10;

/// Longest annotation that is kept, in bytes: records and bounds of some tens of containers.
const LONGEST_ANNOTATION_BYTES: usize = 4 << 10;

/// The annotations that somebody reads.
const ANNOTATIONS: [&str; 17] = [
    names::INJECTION,
    names::CONFIGURE,
    names::MIN_REPLICAS,
    names::MAX_REPLICAS,
    names::MIN_CPU_REQUESTS,
    names::MAX_CPU_REQUESTS,
    names::MIN_MEMORY_REQUESTS,
    names::MAX_MEMORY_REQUESTS,
    names::PORT,
    names::PROTOCOL,
    names::INJECTED,
    names::ORIGINAL,
    names::EFFECTIVE,
    names::HORIZONTAL_POD_AUTOSCALER,
    names::VERTICAL_POD_AUTOSCALER,
    names::EXPOSE_METRICS,
    super::keep::REVISION,
];

/// Leaves the annotations that are read.
pub fn annotations(annotations: &mut Option<BTreeMap<String, String>>) {
    let Some(held) = annotations else { return };
    held.retain(|key, value| ANNOTATIONS.contains(&key.as_str()) && value.len() <= LONGEST_ANNOTATION_BYTES);
    if held.is_empty() {
        *annotations = None;
    }
}

/// Leaves the metadata that is read.
pub fn metadata(metadata: &mut ObjectMeta) {
    metadata.managed_fields = None;
    metadata.finalizers = None;
    annotations(&mut metadata.annotations);
}

/// Bytes of the JSON of an object.
pub fn bytes(object: &impl Serialize) -> usize {
    // Every object that a watch tells of is measured: they share the room for it. (A writer that only counts would take the
    // code that writes each kind a second time.)
    thread_local!(static JSON: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    JSON.with_borrow_mut(|json| {
        json.clear();
        json.shrink_to(MOST_BYTES);
        serde_json::to_writer(&mut *json, object).map_or(usize::MAX, |()| json.len())
    })
}

/// The object, or where it is too large one of its name that says nothing.
pub fn bounded<K>(object: K) -> K
where
    K: Resource<DynamicType = ()> + Default + Serialize,
{
    let bytes = bytes(&object);
    if bytes <= MOST_BYTES {
        return object;
    }
    let metadata = identity(object.meta());
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    warn!(kind = %K::kind(&()), namespace, name, bytes, "the object is too large to be looked at");
    let mut rest = K::default();
    *rest.meta_mut() = metadata;
    rest
}

/// What tells an object from others.
pub fn identity(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp.clone(),
        deletion_timestamp: metadata.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    }
}

/// Leaves of a Deployment what is read of it.
pub fn deployment(object: &mut Deployment) {
    if let Some(metadata) = &mut object.spec.template.metadata {
        self::metadata(metadata);
    }
    object.spec.template.spec = object.spec.template.spec.take().map(pod_spec);
}

fn pod_spec(spec: PodSpec) -> PodSpec {
    let containers = |containers: Vec<Container>| containers.into_iter().map(container).collect();
    PodSpec {
        containers: containers(spec.containers),
        init_containers: spec.init_containers.map(containers),
        host_network: spec.host_network,
        os: spec.os,
        node_selector: spec.node_selector,
        priority_class_name: spec.priority_class_name,
        resources: spec.resources,
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        active_deadline_seconds: spec.active_deadline_seconds,
        security_context: spec.security_context.map(|context| PodSecurityContext {
            run_as_user: context.run_as_user,
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn container(container: Container) -> Container {
    Container {
        name: container.name,
        ports: container.ports,
        resources: container.resources,
        resize_policy: container.resize_policy,
        restart_policy: container.restart_policy,
        liveness_probe: container.liveness_probe,
        readiness_probe: container.readiness_probe,
        startup_probe: container.startup_probe,
        lifecycle: container.lifecycle,
        ..Container::default()
    }
}

/// Leaves of a Service whom it selects and where it sends to.
pub fn service(object: &mut Service) {
    object.status = None;
    object.spec = object.spec.take().map(|spec| ServiceSpec {
        type_: spec.type_,
        selector: spec.selector,
        external_ips: spec.external_ips,
        ports: spec.ports,
        ..ServiceSpec::default()
    });
}

/// Leaves of a HorizontalPodAutoscaler what it scales, by what.
pub fn autoscaler(object: &mut HorizontalPodAutoscaler) {
    object.status = None;
    object.spec.behavior = None;
}

/// Leaves of a NetworkPolicy whom it selects, and the ports that it lets in.
pub fn network_policy(object: &mut NetworkPolicy) {
    let Some(spec) = &mut object.spec else { return };
    spec.egress = None;
    for rule in spec.ingress.iter_mut().flatten() {
        rule.from = None;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::cache::keep;
    use crate::cache::pods::PackedPod;

    fn fat_annotations() -> Value {
        json!({"example.com/fat": "x".repeat(250_000), names::ORIGINAL: "x".repeat(5_000), names::CONFIGURE: "true"})
    }

    fn deployment(labels: &Value) -> keep::KnownDeployment {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": labels, "annotations": fat_annotations()},
            "spec": {"selector": {}, "template": {"metadata": {"annotations": fat_annotations()}, "spec": {
                "affinity": {}, "containers": [{"name": "app", "image": "x".repeat(100_000), "ports": [{"containerPort": 8080}]}]}}},
        });
        keep::deployment(serde_json::from_value(object).unwrap(), None)
    }

    #[test]
    fn fat_annotations_are_not_kept() {
        let kept = deployment(&json!({"slo": "fast"})).object;
        assert!(bytes(&*kept) < 1_000, "{} bytes", bytes(&*kept));
        let annotations = kept.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), [names::CONFIGURE]);
        let containers = &kept.spec.template.spec.as_ref().unwrap().containers;
        assert_eq!(containers[0].ports.as_ref().unwrap()[0].container_port, 8080);
    }

    #[test]
    fn what_is_too_large_says_nothing() {
        let labels: serde_json::Map<_, _> = (0..5_000)
            .map(|number| (format!("label-{number}"), json!("a value")))
            .collect();
        let kept = deployment(&labels.clone().into()).object;
        assert!(bytes(&*kept) < 1_000 && kept.metadata.labels.is_none());
        assert_eq!(kept.metadata.uid.as_deref(), Some("u"));
        let ports: Vec<_> = (0..5_000)
            .map(|number| json!({"name": format!("port-{number}"), "port": number}))
            .collect();
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}});
        assert!(
            keep::service(serde_json::from_value(service).unwrap(), None)
                .spec
                .is_none()
        );
        let pod = json!({"metadata": {"name": "web-1", "uid": "p", "labels": labels}, "spec": {"containers": [{"name": "app"}]}});
        let kept = PackedPod::of(serde_json::from_value(pod).unwrap());
        assert_eq!(kept.label("label-7"), None);
        let kept = kept.unpack().unwrap();
        assert_eq!((kept.metadata.uid.as_deref(), kept.spec), (Some("p"), None));
    }
}
