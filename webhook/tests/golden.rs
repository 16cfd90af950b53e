//! Golden cases: `tests/golden/KIND/NAME.yaml` asks, `NAME.expected.yaml` answers.
//!
//! `UPDATE_GOLDEN=1 cargo test -p valence-webhook --test golden` writes the answers anew; they are read before they are
//! committed.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use support::case::{Asked, Case, Expected};
use support::{envoy, strict};
use valence_webhook::Endpoint;

fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = std::fs::read_dir(root).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let mut cases: Vec<_> = files.filter(|file| is_case(file)).collect();
    cases.sort();
    cases
}

fn is_case(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    name.ends_with(".yaml") && !name.ends_with(".expected.yaml")
}

fn load(file: &Path) -> Asked {
    let text = std::fs::read_to_string(file).unwrap();
    let case: Case = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Asked::new(case)
}

#[test]
fn answers_are_the_expected_ones() {
    let mut wrong = Vec::new();
    for file in cases() {
        let mut asked = load(&file);
        let object = asked.case.object.clone();
        let answer = asked.ask(&object).expected();
        let kept = file.with_extension("expected.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&kept, serde_saphyr::to_string(&answer).unwrap()).unwrap();
        }
        let expected: Expected = std::fs::read_to_string(&kept).map_or_else(
            |error| panic!("{}: {error}", kept.display()),
            |text| serde_saphyr::from_str(&text).unwrap(),
        );
        if answer != expected {
            wrong.push(format!("{}: {answer:#?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_second_admission_changes_nothing_more() {
    let mut wrong = Vec::new();
    for file in cases() {
        let mut asked = load(&file);
        let object = asked.case.object.clone();
        let once = asked.ask(&object).object;
        let twice = asked.ask(&once).patch;
        if twice != serde_json::json!([]) {
            wrong.push(format!("{}: {twice}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An upgrade of the cluster changes the form of sidecars; pods that are asked about again keep theirs.
#[test]
fn what_was_injected_in_one_form_is_left_alone_by_the_other() {
    let mut wrong = Vec::new();
    for file in cases() {
        let mut asked = load(&file);
        let object = asked.case.object.clone();
        let once = asked.ask(&object).object;
        if asked.case.endpoint() != Endpoint::Pods || once["metadata"]["annotations"]["valence.io/injected"].is_null() {
            continue;
        }
        asked.change_form();
        let twice = asked.ask(&once).patch;
        if twice != serde_json::json!([]) {
            wrong.push(format!("{}: {twice}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn patched_objects_are_what_kubernetes_accepts() {
    for file in cases() {
        let mut asked = load(&file);
        let object = asked.case.object.clone();
        if asked.case.about.contains("not understood") {
            continue;
        }
        let patched = asked.ask(&object).object;
        strict::deserialises(asked.case.endpoint(), &patched, &file.display().to_string());
        if asked.case.endpoint() == Endpoint::Pods && strict::is_restricted(&object) {
            assert!(strict::is_restricted(&patched), "{}", file.display());
        }
    }
}

#[test]
fn dry_runs_give_the_same_answer_and_tell_nobody() {
    for file in cases() {
        let mut asked = load(&file);
        let object = asked.case.object.clone();
        let real = asked.ask(&object);
        asked.case.dry_run = true;
        let dry = asked.ask(&object);
        assert_eq!(
            (real.patch, real.warnings),
            (dry.patch, dry.warnings),
            "{}",
            file.display()
        );
        assert_eq!(dry.notices, vec![]);
    }
}

#[test]
fn envoy_accepts_every_bootstrap() {
    let Some(binary) = envoy::binary("envoy_accepts_every_bootstrap") else {
        return;
    };
    let mut bootstraps = BTreeSet::new();
    for file in cases() {
        let mut asked = load(&file);
        let object = asked.case.object.clone();
        bootstraps.extend(asked.ask(&object).bootstraps());
    }
    assert!(!bootstraps.is_empty());
    for bootstrap in bootstraps {
        for address in ["127.0.0.1", "fd00::1"] {
            envoy::validate(&binary, &envoy::expanded(&bootstrap, address)).unwrap();
        }
    }
}
