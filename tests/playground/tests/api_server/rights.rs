//! What ServiceAccounts may do.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use valence_playground::apiserver::User;

use crate::support::{Cluster, refusal};

const RBAC: &str = "rbac.authorization.k8s.io";

async fn apply(cluster: &Cluster, plural: &str, namespace: Option<&str>, object: Value) {
    let root = namespace.map_or_else(String::new, |namespace| format!("/namespaces/{namespace}"));
    let request = http::Request::post(format!("/apis/{RBAC}/v1{root}/{plural}"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    let client = cluster.server.client(&User::administrator()).unwrap();
    let _: Value = client.request(request).await.unwrap();
}

/// A role of this kind with these rules, and its binding to the account `reader` of the namespace `default`.
async fn grant(cluster: &Cluster, cluster_wide: bool, rules: Value) {
    let (role, binding, namespace) = match cluster_wide {
        true => ("ClusterRole", "ClusterRoleBinding", None),
        false => ("Role", "RoleBinding", Some("default")),
    };
    let plural = |kind: &str| format!("{}s", kind.to_lowercase());
    let version = format!("{RBAC}/v1");
    let object = json!({"apiVersion": version, "kind": role, "metadata": {"name": "reader"}, "rules": rules});
    apply(cluster, &plural(role), namespace, object).await;
    let object = json!({"apiVersion": version, "kind": binding, "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": RBAC, "kind": role, "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}]});
    apply(cluster, &plural(binding), namespace, object).await;
}

#[tokio::test]
async fn a_service_account_may_do_what_a_role_grants_and_nothing_else() {
    let cluster = Cluster::start().await;
    let reader = cluster
        .server
        .client(&User::service_account("default", "reader"))
        .unwrap();
    let everywhere: Api<Pod> = Api::all(reader.clone());
    let refused = refusal(everywhere.list(&ListParams::default()).await);
    assert_eq!(refused.code, 403);
    let who = "User \"system:serviceaccount:default:reader\" cannot list resource \"pods\" in API group \"\" at the cluster scope";
    assert!(refused.message.contains(who), "{}", refused.message);
    grant(
        &cluster,
        true,
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]),
    )
    .await;
    assert!(everywhere.list(&ListParams::default()).await.is_ok());
    let deleted = everywhere.delete("web", &DeleteParams::default()).await;
    assert_eq!(refusal(deleted).code, 403);
    let asked = cluster.server.asked();
    let of = |verb: &str| {
        asked
            .iter()
            .filter(|asked| asked.verb == verb)
            .map(|asked| asked.granted)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("list"), [false, true]);
    assert_eq!(of("delete"), [false]);
}

#[tokio::test]
async fn a_right_may_end_at_a_namespace_and_at_a_name() {
    let cluster = Cluster::start().await;
    let reader = cluster
        .server
        .client(&User::service_account("default", "reader"))
        .unwrap();
    let rules = json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["own"], "verbs": ["get", "list", "watch"]}]);
    grant(&cluster, false, rules).await;
    let own: Api<ConfigMap> = Api::namespaced(reader.clone(), "default");
    assert_eq!(
        refusal(own.get("own").await).code,
        404,
        "it may look, and there is none"
    );
    assert_eq!(refusal(own.get("other").await).code, 403);
    assert_eq!(refusal(own.list(&ListParams::default()).await).code, 403);
    let named = ListParams::default().fields("metadata.name=own");
    assert!(own.list(&named).await.is_ok());
    let others: Api<ConfigMap> = Api::namespaced(reader, "kube-system");
    assert_eq!(refusal(others.get("own").await).code, 403);
}
