//! Which software a pod template describes.
//!
//! A template's own hash changes with `kubectl rollout restart` and with every request and limit that somebody writes into it;
//! neither makes the application another one. This one is made of what does.

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec};
use valence_webhook::names;

/// Prefix of annotations that are wishes of Valence's users, not of the application.
const OWN: &str = "valence.io/";

/// What `kubectl rollout restart` writes.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A hash of the software. It takes the whole template, of which the caches then keep little.
#[must_use]
pub fn of(mut template: PodTemplateSpec) -> String {
    if let Some(metadata) = &mut template.metadata {
        let annotations = metadata.annotations.take().unwrap_or_default();
        let others = annotations
            .into_iter()
            .filter(|(key, _)| key != RESTARTED_AT && !key.starts_with(OWN));
        metadata.annotations = Some(others.collect());
    }
    if let Some(spec) = &mut template.spec {
        spec.resources = None;
        without_values(&mut spec.containers);
        without_values(spec.init_containers.get_or_insert_default());
    }
    let written = serde_json::to_vec(&template).unwrap_or_default();
    format!("{:016x}", fnv1a(&written))
}

/// Without what admission writes: requests, limits and the sidecar.
fn without_values(containers: &mut Vec<Container>) {
    containers.retain(|container| container.name != names::SIDECAR_CONTAINER);
    containers.iter_mut().for_each(|container| container.resources = None);
}

/// FNV-1a of 64 bits: the same in every build, since checkpoints carry it (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn hash(template: Value) -> String {
        of(serde_json::from_value(template).unwrap())
    }

    fn template() -> Value {
        json!({
            "metadata": {"labels": {"app": "web"}, "annotations": {"checksum/config": "1"}},
            "spec": {"containers": [{"name": "app", "image": "shop/web:1", "env": [{"name": "MODE", "value": "fast"}],
                "resources": {"requests": {"cpu": "1"}}}]},
        })
    }

    /// The template with one value replaced.
    fn with(pointer: &str, key: &str, value: Value) -> Value {
        let mut template = template();
        template.pointer_mut(pointer).unwrap()[key] = value;
        template
    }

    #[test]
    fn known_value() {
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_restart_and_what_admission_writes_change_nothing() {
        let before = hash(template());
        for same in [
            with("/metadata/annotations", RESTARTED_AT, json!("2026-11-24T09:00:00Z")),
            with("/metadata/annotations", "valence.io/optimizer.configure", json!("true")),
            with("/spec/containers/0", "resources", json!({"limits": {"cpu": "2"}})),
            with(
                "/spec",
                "initContainers",
                json!([{"name": "envoy", "image": "envoyproxy/envoy:v1.38.3"}]),
            ),
        ] {
            assert_eq!(hash(same.clone()), before, "{same}");
        }
    }

    #[test]
    fn another_image_variable_or_annotation_is_another_software() {
        let before = hash(template());
        for other in [
            with("/spec/containers/0", "image", json!("shop/web:2")),
            with("/spec/containers/0", "env", json!([{"name": "MODE", "value": "slow"}])),
            with("/spec/containers/0", "args", json!(["--slow"])),
            with("/metadata/annotations", "checksum/config", json!("2")),
        ] {
            assert_ne!(hash(other.clone()), before, "{other}");
        }
    }
}
