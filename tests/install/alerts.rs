//! The alerts: sound, tested on made-up series, and each with a page that says what to do.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

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

/// Debian builds Prometheus without the discovery of Kubernetes: that part is left out of what is checked. The files of a
/// pod's service account are another one here.
#[test]
fn promtool_accepts_the_configuration() {
    let Some(promtool) = find("promtool") else { return };
    let account = "/var/run/secrets/kubernetes.io/serviceaccount/";
    let here = format!("{}/tests/install/", root().display());
    let text = fs::read_to_string(root().join("deploy/prometheus/prometheus.yml")).unwrap();
    let text = text.replace(&format!("{account}token"), &format!("{here}main.rs"));
    let text = text.replace(&format!("{account}ca.crt"), &format!("{here}main.rs"));
    let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
    configuration["rule_files"] = serde_json::json!([root().join("deploy/alerts/rules.yml")]);
    for job in configuration["scrape_configs"].as_array_mut().unwrap() {
        assert!(job.as_object_mut().unwrap().remove("kubernetes_sd_configs").is_some());
    }
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("prometheus.json");
    fs::write(&file, configuration.to_string()).unwrap();
    run(&promtool, &["check", "config", file.to_str().unwrap()]);
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
