//! Services, as far as pods ask about them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::plans::names;

/// Whether a Service selects a pod, by a lookup of the pod's labels.
pub(crate) fn selects<'l>(service: &Service, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| label(key) == Some(value.as_str()))
    })
}

/// The name under which Services send to a port whose number they were written with: a new pod that does not name the
/// port would get nothing from them.
pub(crate) fn name_in_use(services: &[Arc<Service>], number: u16) -> Option<String> {
    services.iter().find_map(|service| {
        let record = service.metadata.annotations.as_ref()?.get(names::ORIGINAL)?;
        let original: serde_json::Value = serde_json::from_str(record).ok()?;
        let ports = service.spec.as_ref()?.ports.as_ref()?;
        ports.iter().find_map(|port| match &port.target_port {
            Some(IntOrString::String(name)) => {
                let written = original.get("targetPorts")?.get(port.port.to_string())?.as_i64()?;
                (written == i64::from(number)).then(|| name.clone())
            }
            _ => None,
        })
    })
}
