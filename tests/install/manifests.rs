//! The manifests and every overlay.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use valence::cli::Valence;

use crate::schema::{objects, problems, title};
use crate::tools::{find, root, run};

/// What is in the repository and in every overlay, by name.
fn manifests() -> Vec<(String, Vec<Value>)> {
    let generated = ["valence.yaml", "tooling.yaml", "example-workloads.yaml"];
    let read = |name: &str| objects(&fs::read_to_string(root().join("deploy").join(name)).unwrap());
    let mut all: Vec<_> = generated.iter().map(|name| ((*name).to_owned(), read(name))).collect();
    if let Some(kubectl) = find("kubectl") {
        let mut overlays: Vec<_> = fs::read_dir(root().join("deploy/overlays"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        overlays.extend([root().join("deploy/tooling/self-signed-kubelets"), combined()]);
        for path in overlays {
            let manifest = run(&kubectl, &["kustomize", path.to_str().unwrap()]);
            all.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                objects(&manifest),
            ));
        }
    }
    all
}

/// Every component at once, as somebody's own kustomization.
fn combined() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("combined-{:?}", std::thread::current().id()));
    fs::create_dir_all(&folder).unwrap();
    let up = "../".repeat(folder.components().count() - 1);
    let deploy = format!(
        "{up}{}",
        root().join("deploy").display().to_string().trim_start_matches('/')
    );
    let components = [
        "prometheus",
        "grafana",
        "components/cert-manager",
        "components/servicemonitor",
        "components/readmit-services",
    ];
    let components: Vec<_> = components.iter().map(|name| format!("{deploy}/{name}")).collect();
    let kustomization = serde_json::json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [format!("{deploy}/base")], "components": components,
    });
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).unwrap();
    folder
}

fn installed() -> Vec<Value> {
    objects(&fs::read_to_string(root().join("deploy/valence.yaml")).unwrap())
}

fn named<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    all.iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap()
}

#[test]
fn every_object_fits_its_schema() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, objects) in manifests() {
        for object in objects {
            count += 1;
            wrong.extend(
                problems(&object)
                    .into_iter()
                    .map(|problem| format!("{name}: {}: {problem}", title(&object))),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "{count}");
}

#[test]
fn no_object_is_there_twice_and_each_has_its_namespace() {
    const CLUSTER: [&str; 6] = [
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "APIService",
    ];
    for (name, objects) in manifests() {
        let mut titles: Vec<_> = objects.iter().map(title).collect();
        titles.sort();
        let count = titles.len();
        titles.dedup();
        assert_eq!(titles.len(), count, "{name}");
        for object in objects {
            let bare = object["metadata"]["namespace"].is_null();
            assert_eq!(
                bare,
                CLUSTER.contains(&object["kind"].as_str().unwrap()),
                "{name}: {}",
                title(&object)
            );
        }
    }
}

#[test]
fn every_pod_passes_the_restricted_pod_security_standard() {
    for (name, objects) in manifests() {
        for object in objects
            .iter()
            .filter(|object| object["spec"]["template"]["spec"].is_object())
        {
            let pod = &object["spec"]["template"]["spec"];
            let title = format!("{name}: {}", title(object));
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{title}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{title}"
            );
            for key in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod[key].is_null(), "{title}");
            }
            for container in pod["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{title}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{title}");
                assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]), "{title}");
                assert!(container["resources"]["requests"]["memory"].is_string(), "{title}");
                let image = container["image"].as_str().unwrap();
                assert!(
                    image.contains(':') && !image.ends_with(":latest"),
                    "{title}: {image} is not pinned"
                );
            }
        }
    }
}

#[test]
fn the_operator_may_do_no_more_than_it_needs() {
    let all = installed();
    let mut rules = Vec::new();
    for (kind, name) in [("ClusterRole", "valence"), ("Role", "valence")] {
        rules.extend(named(&all, kind, name)["rules"].as_array().unwrap().clone());
    }
    let holds = |rule: &Value, key: &str, value: &str| rule[key].as_array().unwrap().iter().any(|one| one == value);
    for rule in &rules {
        for key in ["apiGroups", "resources", "verbs"] {
            assert!(!holds(rule, key, "*"), "{rule}");
        }
        for resource in ["deployments", "pods", "services", "replicasets", "namespaces"] {
            let writes = ["update", "patch", "delete", "create", "deletecollection"]
                .iter()
                .any(|verb| holds(rule, "verbs", verb));
            assert!(!(writes && holds(rule, "resources", resource)), "{rule}");
        }
        let secret = holds(rule, "resources", "secrets")
            && !rule["verbs"].as_array().unwrap().iter().all(|verb| verb == "create");
        assert!(
            !secret || rule["resourceNames"] == serde_json::json!(["valence-webhook-certificates"]),
            "{rule}"
        );
    }
    assert!(
        rules
            .iter()
            .any(|rule| holds(rule, "resources", "deployments/scale") && rule["verbs"] == serde_json::json!(["patch"]))
    );
}

#[test]
fn webhooks_fail_open_and_are_sent_only_what_concerns_them() {
    let all = installed();
    let configuration = named(&all, "MutatingWebhookConfiguration", "valence");
    let hooks = configuration["webhooks"].as_array().unwrap();
    let paths: Vec<_> = hooks
        .iter()
        .map(|hook| hook["clientConfig"]["service"]["path"].as_str().unwrap())
        .collect();
    let served: Vec<_> = valence_webhook::Endpoint::ALL
        .iter()
        .map(|endpoint| endpoint.path())
        .collect();
    assert_eq!(paths, served);
    for (hook, endpoint) in hooks.iter().zip(valence_webhook::Endpoint::ALL) {
        assert_eq!(hook["name"], endpoint.webhook());
        assert_eq!(hook["failurePolicy"], "Ignore");
        assert_eq!(hook["reinvocationPolicy"], "IfNeeded");
        assert_eq!(hook["matchPolicy"], "Equivalent");
        assert_eq!(
            hook["sideEffects"], "NoneOnDryRun",
            "every endpoint publishes Events, and none in a dry run"
        );
        assert!(hook["timeoutSeconds"].as_u64().unwrap() <= 5);
        let skipped = hook["namespaceSelector"]["matchExpressions"][0]["values"]
            .as_array()
            .unwrap();
        assert!(
            skipped.iter().any(|name| name == "kube-system") && skipped.iter().any(|name| name == "valence-system")
        );
    }
}

#[test]
fn the_arguments_of_the_operator_are_ones_that_it_takes() {
    use clap::Parser;
    for object in manifests()
        .iter()
        .flat_map(|(_, objects)| objects)
        .filter(|object| object["metadata"]["name"] == "optimization-operator")
    {
        let Some(container) = object["spec"]["template"]["spec"]["containers"].get(0) else {
            continue;
        };
        let arguments = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one.as_str().unwrap());
        Valence::try_parse_from(std::iter::once("valence").chain(arguments)).unwrap();
        let port = |name: &str| {
            container["ports"]
                .as_array()
                .unwrap()
                .iter()
                .find(|port| port["name"] == name)
                .unwrap()["containerPort"]
                .clone()
        };
        assert_eq!(
            (port("webhook"), port("metrics"), port("page")),
            (8443.into(), 8080.into(), 8088.into())
        );
    }
}

#[test]
fn selectors_find_what_they_are_meant_to() {
    for (name, objects) in manifests() {
        let pods: Vec<_> = objects
            .iter()
            .map(|object| &object["spec"]["template"]["metadata"]["labels"])
            .filter(|labels| labels.is_object())
            .collect();
        for object in objects.iter().filter(|object| object["kind"] == "Service") {
            let selector = object["spec"]["selector"].as_object().unwrap();
            let found = pods
                .iter()
                .any(|labels| selector.iter().all(|(key, value)| labels[key] == *value));
            assert!(found, "{name}: {} selects no pod", title(object));
        }
    }
}
