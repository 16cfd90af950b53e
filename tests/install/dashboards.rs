//! The dashboards: whole, and consistent with what they are provisioned for.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::tools::root;

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
