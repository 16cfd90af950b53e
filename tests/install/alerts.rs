//! The alerts: sound, tested on made-up series, and each with a page that says what to do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::dashboards;
use crate::tools::{find, root, run};

fn rules() -> Vec<Value> {
    let text = fs::read_to_string(root().join("deploy/alerts/rules.yml")).unwrap();
    let file: Value = serde_saphyr::from_str(&text).unwrap();
    let groups = file["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_hold() {
    let Some(promtool) = find("promtool") else { return };
    run(&promtool, &["check", "rules", "deploy/alerts/rules.yml"]);
    let report = run(&promtool, &["test", "rules", "deploy/alerts/tests.yml"]);
    assert!(report.contains("SUCCESS"), "{report}");
}

/// Checks a configuration. Debian builds Prometheus without the discovery of Kubernetes: that part is left out of what is
/// checked. The files of a pod are another one here.
fn accepted(promtool: &std::path::Path, name: &str, text: &str) -> Value {
    let here = format!("{}/tests/install/main.rs", root().display());
    let files =
        ["serviceaccount/token", "serviceaccount/ca.crt"].map(|file| format!("/var/run/secrets/kubernetes.io/{file}"));
    let mut text = text.replace("/var/run/secrets/history/token", &here);
    for file in files {
        text = text.replace(&file, &here);
    }
    let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
    configuration["rule_files"] = serde_json::json!([root().join("deploy/alerts/rules.yml")]);
    for job in configuration["scrape_configs"].as_array_mut().unwrap() {
        assert!(job.as_object_mut().unwrap().remove("kubernetes_sd_configs").is_some());
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, configuration.to_string()).unwrap();
    run(promtool, &["check", "config", file.to_str().unwrap()]);
    configuration
}

#[test]
fn promtool_accepts_the_configuration() {
    let Some(promtool) = find("promtool") else { return };
    let text = fs::read_to_string(root().join("deploy/prometheus/prometheus.yml")).unwrap();
    let plain = accepted(&promtool, "prometheus.json", &text);
    assert!(plain.get("remote_write").is_none());
    // The recipe for a longer memory stands in it as comments.
    let with_history = accepted(&promtool, "prometheus-history.json", &text.replace("\n#:", "\n"));
    assert!(with_history["remote_read"][0]["url"].is_string());
    let sent = with_history["remote_write"][0]["write_relabel_configs"][0]["regex"]
        .as_str()
        .unwrap();
    let sent: Vec<&str> = sent.split('|').collect();
    assert!(sent.contains(&"valence_.+"));
    for (title, expression) in dashboards::expressions() {
        let names = expression.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
        let foreign: Vec<&str> = names
            .filter(|name| {
                ["envoy_", "kube_", "container_", "node_", "apiserver_"]
                    .iter()
                    .any(|start| name.starts_with(start))
            })
            .filter(|name| !sent.contains(name) && *name != "container_name")
            .collect();
        assert!(foreign.is_empty(), "{title} reads {foreign:?}, which no history has");
    }
}

#[test]
fn every_alert_has_a_runbook_and_a_test() {
    let tests = fs::read_to_string(root().join("deploy/alerts/tests.yml")).unwrap();
    let mut linked = BTreeSet::new();
    for rule in rules().iter().filter(|rule| rule["alert"].is_string()) {
        let name = rule["alert"].as_str().unwrap();
        let page = rule["annotations"]["runbook_url"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(root().join("docs/runbooks").join(&page))
            .unwrap_or_else(|_| panic!("{name} has no page {page}"));
        assert!(text.contains(name), "{page} does not speak of {name}");
        assert!(tests.contains(&format!("alertname: {name}")), "{name} has no test");
        assert!(
            ["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()),
            "{name}"
        );
        linked.insert(page);
    }
    let pages = fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        pages.filter(|page| page != "README.md").collect::<BTreeSet<_>>(),
        linked
    );
}
