//! The dashboards: whole, and consistent with what they are provisioned for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use crate::schema::objects;
use crate::tools::{find, root, run};

const NAMES: [&str; 2] = ["recommendations", "valence"];

fn dashboard(name: &str) -> Value {
    let path = root()
        .join("deploy/grafana/dashboards")
        .join(name)
        .with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Every expression of every panel, with the dashboard's and the panel's titles.
pub fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for name in NAMES {
        let dashboard = dashboard(name);
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let title = format!(
                    "{}: {}",
                    dashboard["title"].as_str().unwrap(),
                    panel["title"].as_str().unwrap()
                );
                all.push((title, target["expr"].as_str().unwrap().to_owned()));
            }
        }
    }
    all
}

/// What the lists of the variables are made from.
pub fn variables() -> Vec<(String, String)> {
    let all = dashboard("recommendations")["templating"]["list"]
        .as_array()
        .unwrap()
        .clone();
    all.iter()
        .filter_map(|variable| {
            let query = variable["query"]["query"].as_str()?;
            let inner = query.strip_prefix("label_values(")?.strip_suffix(')')?;
            Some((
                variable["name"].as_str()?.to_owned(),
                inner.rsplit_once(", ")?.0.to_owned(),
            ))
        })
        .collect()
}

#[test]
fn panels_do_not_overlap_and_have_titles() {
    for name in NAMES {
        let dashboard = dashboard(name);
        let panels = dashboard["panels"].as_array().unwrap();
        let mut cells = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in panels {
            assert!(!panel["title"].as_str().unwrap().is_empty());
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}");
            let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{name}: {}", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(
                        cells.insert((x, y)),
                        "{name}: {} lies over another panel",
                        panel["title"]
                    );
                }
            }
        }
    }
    assert_eq!(dashboard("recommendations")["title"], "Valence Recommendations");
    assert!(expressions().len() > 40 && variables().len() == 3);
}

/// Units of Grafana that the panels use; a misspelt one is shown as plain text behind the number.
const UNITS: [&str; 10] = [
    "none",
    "short",
    "bytes",
    "percentunit",
    "reqps",
    "ops",
    "s",
    "dtdurations",
    "cps",
    "Bps",
];

/// Kinds of panels that Grafana ships.
const KINDS: [&str; 4] = ["row", "stat", "table", "timeseries"];

#[test]
fn panels_are_of_kinds_and_units_that_grafana_knows_and_ask_the_chosen_source() {
    let chosen = serde_json::json!({ "type": "prometheus", "uid": "${datasource}" });
    for name in NAMES {
        let dashboard = dashboard(name);
        assert!(
            (36..=42).contains(&dashboard["schemaVersion"].as_u64().unwrap()),
            "{name}"
        );
        assert!(dashboard["uid"].as_str().unwrap().len() <= 40 && dashboard["id"].is_null());
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert_eq!(variables[0]["type"], "datasource");
        let known: BTreeSet<_> = variables
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect();
        assert!(variables[1..].iter().all(|one| one["datasource"] == chosen), "{name}");
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            let kind = panel["type"].as_str().unwrap();
            assert!(KINDS.contains(&kind), "{name}: {title}: {kind}");
            if kind == "row" {
                continue;
            }
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
            assert!(UNITS.contains(&unit), "{name}: {title}: {unit}");
            assert_eq!(panel["datasource"], chosen, "{name}: {title}");
            let targets = panel["targets"].as_array().unwrap();
            let letters: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
            assert_eq!(letters.len(), targets.len(), "{name}: {title}: two queries of one name");
            for target in targets {
                assert_eq!(target["datasource"], chosen, "{name}: {title}");
                for used in target["expr"].as_str().unwrap().split('$').skip(1) {
                    let end = used
                        .find(|c: char| !c.is_alphanumeric() && c != '_')
                        .unwrap_or(used.len());
                    let own = used.starts_with("__");
                    assert!(own || known.contains(&used[..end]), "{name}: {title}: ${used}");
                }
            }
        }
    }
}

#[test]
fn every_variable_is_used() {
    for name in NAMES {
        let whole = dashboard(name);
        let mut without = whole.clone();
        without["templating"] = Value::Null;
        let panels = without.to_string();
        let variables = whole["templating"]["list"].as_array().unwrap();
        for (index, variable) in variables.iter().enumerate() {
            let variable = variable["name"].as_str().unwrap();
            let later = Value::from(variables[index + 1..].to_vec()).to_string();
            let used =
                |text: &str| text.contains(&format!("${variable}")) || text.contains(&format!("${{{variable}}}"));
            assert!(used(&panels) || used(&later), "{name}: nothing uses ${variable}");
        }
    }
}

/// What Grafana reads from files is where the Deployment mounts it, and what it asks is a Service that is there.
#[test]
fn what_grafana_is_given_is_where_it_looks() {
    let all = objects(&fs::read_to_string(root().join("deploy/valence.yaml")).unwrap());
    let named = |kind: &str, name: &str| {
        let found = all
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{kind}/{name}"))
    };
    let pod = &named("Deployment", "grafana")["spec"]["template"]["spec"];
    // Every file that is mounted, with its text.
    let mut files = BTreeMap::new();
    for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
        let volumes = pod["volumes"].as_array().unwrap();
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let Some(source) = volume["configMap"]["name"].as_str() else {
            continue;
        };
        let path = mount["mountPath"].as_str().unwrap();
        let data = named("ConfigMap", source)["data"].as_object().unwrap();
        match mount["subPath"].as_str() {
            Some(key) => drop(files.insert(path.to_owned(), data[key].as_str().unwrap())),
            None => files.extend(
                data.iter()
                    .map(|(key, text)| (format!("{path}/{key}"), text.as_str().unwrap())),
            ),
        }
    }
    let read = |path: &str| -> Value { serde_saphyr::from_str(files[path]).unwrap() };
    let provider = read("/etc/grafana/provisioning/dashboards/provider.yaml");
    let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
    for name in NAMES {
        let text = files[&format!("{folder}/{name}.json")];
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), dashboard(name));
    }
    let environment = pod["containers"][0]["env"].as_array().unwrap();
    let home = environment
        .iter()
        .find(|one| one["name"] == "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH");
    assert!(files.contains_key(home.unwrap()["value"].as_str().unwrap()));
    let source = &read("/etc/grafana/provisioning/datasources/datasource.yaml")["datasources"][0];
    assert_eq!(
        (source["type"].as_str(), source["isDefault"].as_bool()),
        (Some("prometheus"), Some(true))
    );
    let url = source["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let (host, port) = url.split_once(':').unwrap();
    let service = named("Service", host.split('.').next().unwrap());
    assert_eq!(
        host,
        format!("{}.valence-system.svc", service["metadata"]["name"].as_str().unwrap())
    );
    let ports = service["spec"]["ports"].as_array().unwrap();
    let port: u16 = port.parse().unwrap();
    assert!(ports.iter().any(|one| one["port"] == port), "{service}");
}

#[test]
fn promtool_reads_every_expression() {
    let Some(promtool) = find("promtool") else { return };
    let all = expressions().into_iter().chain(variables());
    let rules = all.enumerate().map(|(index, (_, expression))| {
        let expression = expression.replace("$__rate_interval", "1m").replace("$__range", "1h");
        serde_json::json!({ "record": format!("panel:{index}"), "expr": expression })
    });
    let file = serde_json::json!({ "groups": [{ "name": "panels", "rules": rules.collect::<Vec<_>>() }] });
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("panels.json");
    fs::write(&path, file.to_string()).unwrap();
    run(&promtool, &["check", "rules", "--lint=none", path.to_str().unwrap()]);
}
