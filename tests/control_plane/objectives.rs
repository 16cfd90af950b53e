//! Definitions and what they refuse.

use serde_json::json;

use crate::cluster::{Cluster, container};
use crate::objects::{deployment, namespace, objective, pod};

crate::on_both! {
    a_bad_objective_is_refused_by_field
    both_forms_of_a_selector_match
}

/// The two control planes word the refusal differently; the field and the value are in both.
async fn a_bad_objective_is_refused_by_field(cluster: Cluster) {
    cluster.apply(&namespace()).await;
    for (field, value) in [("percentile", json!(42)), ("responseTime", json!("fast"))] {
        let mut bad = objective();
        bad["spec"]["objectives"][0]["http"]["latency"][field] = value.clone();
        let refused = cluster.create(&bad).await;
        assert_eq!(refused.code, 422, "{refused:?}");
        let message = refused.body["message"].as_str().unwrap();
        assert!(
            message.contains(&format!("spec.objectives[0].http.latency.{field}")),
            "{message}"
        );
        assert!(message.contains(value.to_string().trim_matches('"')), "{message}");
    }
    cluster.create(&objective()).await.accepted();
}

/// Not only accepted: each makes the pods of the Deployment get their sidecar, and a third that matches nothing does not.
async fn both_forms_of_a_selector_match(cluster: Cluster) {
    cluster.apply(&namespace()).await;
    let replica_set = cluster.apply(&deployment()).await;
    let replica_set = cluster.apply(&crate::objects::replica_set(&replica_set)).await;
    let pod = pod(&replica_set, "web-1-a");
    let forms = [
        json!({"slo": "slo-webapps"}),
        json!({"matchLabels": {"slo": "slo-webapps"}}),
        json!({"matchExpressions": [{"key": "slo", "operator": "In", "values": ["slo-webapps"]}]}),
    ];
    for selector in forms {
        let mut matching = objective();
        matching["spec"]["selector"] = selector;
        let path = crate::cluster::item(&matching);
        cluster.create(&matching).await.accepted();
        cluster.would_inject(&pod).await;
        cluster.delete(&path).await.accepted();
        cluster
            .eventually("no sidecar without an objective", || async {
                let shown = cluster.create_dry(&pod).await.accepted();
                let bare = container(&shown, "envoy").is_none();
                bare.then_some(()).ok_or(shown.to_string())
            })
            .await;
    }
}
