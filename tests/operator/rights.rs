//! The roles in the manifests: enough, which every test checks at its end, and not more than that.

use std::collections::BTreeSet;

use serde_json::Value;
use valence_playground::apiserver::Asked;

/// What a life of scaling, restarts and release does not need, and who does.
const ELSEWHERE: [(&str, &str, &str); 9] = [
    // Only on a cluster that has the kind.
    ("autoscaling.k8s.io", "verticalpodautoscalers", "watch"),
    // Where the Deployment says that the model steers its autoscaler.
    ("autoscaling", "horizontalpodautoscalers", "get"),
    ("autoscaling", "horizontalpodautoscalers", "patch"),
    // Where the new size of a pod finds no place on its node.
    ("", "pods/eviction", "create"),
    // Where a Deployment was made anew, or is not selected for an hour.
    ("optimizer.valence.io", "recommendations", "delete"),
    // When a certificate is renewed.
    ("", "secrets", "update"),
    // An Event that is told again, after most of an hour.
    ("events.k8s.io", "events", "patch"),
    // Where the operator is told to have Services admitted again.
    ("", "services", "get"),
    // When the plan gives a running pod another size.
    ("", "pods/resize", "patch"),
];

/// Fails where a role grants what nobody asked for.
#[track_caller]
pub fn are_all_needed(asked: &[Asked]) {
    let asked: BTreeSet<_> = asked
        .iter()
        .map(|asked| (asked.group.clone(), asked.resource.clone(), asked.verb.clone()))
        .collect();
    let elsewhere = ELSEWHERE.map(|(group, resource, verb)| (group.to_owned(), resource.to_owned(), verb.to_owned()));
    let unused: Vec<_> = granted()
        .into_iter()
        .filter(|right| !asked.contains(right) && !elsewhere.contains(right))
        .collect();
    assert!(unused.is_empty(), "granted and never asked for: {unused:#?}");
}

/// Group, resource and verb of everything that the operator's roles grant.
fn granted() -> BTreeSet<(String, String, String)> {
    let objects = valence_playground::parse(include_str!("../../deploy/base/rbac.yaml")).unwrap();
    let rules = objects
        .iter()
        .flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default());
    let texts = |rule: &Value, field: &str| -> Vec<String> { serde_json::from_value(rule[field].clone()).unwrap() };
    let mut all = BTreeSet::new();
    for rule in rules {
        for group in texts(&rule, "apiGroups") {
            for resource in texts(&rule, "resources") {
                for verb in texts(&rule, "verbs") {
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    assert!(
        all.iter()
            .all(|(group, resource, verb)| ![group, resource, verb].contains(&&"*".to_owned())),
        "{all:?}"
    );
    all
}
