//! Services by a label that the pods behind them carry.
//!
//! A namespace may hold hundreds of Services, of which a pod has one or two behind it. Each is found under one label of
//! its selector, which every pod that it selects carries.

use k8s_openapi::api::core::v1::Service;

/// A label as one text.
#[must_use]
pub fn mark(key: &str, value: &str) -> String {
    [key, "=", value].concat()
}

/// The label under which a Service is found: the one with the longest value, which few others have. `None` for one
/// that selects nothing.
#[must_use]
pub fn of_service(service: &Service) -> Option<String> {
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    let (key, value) = selector.iter().max_by_key(|(_, value)| value.len())?;
    Some(mark(key, value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use valence_webhook::Plans;

    use super::super::Cluster;

    #[test]
    fn services_are_found_for_the_pods_that_they_select() {
        let cluster = Cluster::default();
        let put = |name: &str, selector: serde_json::Value| {
            let service = json!({"metadata": {"name": name}, "spec": {"selector": selector}});
            cluster
                .services
                .put("shop", name, serde_json::from_value(service).unwrap());
        };
        let found = |labels: &[(&str, &str)]| {
            let mut found: Vec<_> = cluster
                .services_for("shop", labels)
                .iter()
                .map(|one| one.metadata.name.clone().unwrap())
                .collect();
            found.sort();
            found
        };
        put("web", json!({"app": "web", "part-of": "the-shop"}));
        put("all", json!({"part-of": "the-shop"}));
        put("other", json!({"app": "checkout"}));
        put("nobody", json!({}));
        put("nothing", json!(null));
        assert_eq!(found(&[("app", "web"), ("part-of", "the-shop")]), ["all", "web"]);
        assert_eq!(found(&[("app", "checkout"), ("version", "1")]), ["other"]);
        assert!(found(&[]).is_empty());
        put("other", json!({"app": "web"}));
        assert!(found(&[("app", "checkout")]).is_empty());
        assert_eq!(found(&[("app", "web")]), ["other"]);
    }
}
