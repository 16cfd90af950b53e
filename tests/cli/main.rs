//! The commands, run as a user runs them, against a cluster that holds `fixture.yaml`; and what `docs/cli.md` shows of
//! them, which must be what they print. `VALENCE_DOCS=write cargo test --test cli` writes it anew.
#![allow(clippy::unwrap_used)]

mod documented;
mod documents;
mod plugin;

use std::path::Path;
use std::process::{Command, Output};

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use valence_playground::{Options, Playground, tools};

const FIXTURE: &str = include_str!("fixture.yaml");

/// A cluster with the definitions and the fixture, statuses included.
pub async fn cluster() -> Playground {
    let playground = Playground::start(Options::default()).await.unwrap();
    for definition in valence::api::definitions::all() {
        playground
            .apply_objects(vec![serde_json::to_value(definition).unwrap()])
            .await
            .unwrap();
    }
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(FIXTURE).unwrap();
    for mut object in objects {
        let status = object.as_object_mut().unwrap().remove("status");
        playground.apply_objects(vec![object.clone()]).await.unwrap();
        if let Some(status) = status {
            put_status(&playground, &object, status).await;
        }
    }
    playground
}

async fn put_status(playground: &Playground, object: &serde_json::Value, status: serde_json::Value) {
    let kind = GroupVersionKind::gvk("optimizer.valence.io", "v1alpha1", object["kind"].as_str().unwrap());
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = Api::namespaced_with(playground.client(), "shop", &resource);
    let patch = Patch::Merge(serde_json::json!({ "status": status }));
    let name = object["metadata"]["name"].as_str().unwrap();
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// Runs a line of shell in the repository, with `valence` and the cluster at hand.
pub fn shell(line: &str, kubeconfig: &Path) -> Output {
    let folder = Path::new(env!("CARGO_BIN_EXE_valence")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    Command::new("bash")
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("KUBECONFIG", kubeconfig)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_on_the_standard_output_and_complaints_are_not() {
    let playground = cluster().await;
    let run = |line: &str| {
        let output = shell(line, playground.kubeconfig());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run("valence status -n shop -o json");
    assert_eq!((code, err.as_str()), (0, ""));
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[1]["name"], "todo");
    assert_eq!(rows[1]["replicas"], 3);
    let (code, out, err) = run("valence status -n empty -o yaml");
    assert_eq!((code, out.trim()), (0, "[]"));
    assert!(err.contains("namespace empty"), "{err}");
    let (code, out, err) = run("valence explain deploy/none -n shop");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no Deployment shop/none"), "{err}");
    let (code, out, err) = run("valence explain pod/todo -n shop");
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("Deployments only"), "{err}");
    let (code, out, _) = run("valence check");
    assert_eq!(code, 1);
    assert!(out.contains("FAIL operator"), "{out}");
    let (code, out, err) = run("KUBECONFIG=/nonexistent valence status");
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: no cluster can be reached"), "{err}");
    let (code, _, err) = run("valence crds | head -1");
    assert_eq!((code, err.as_str()), (0, ""));
    playground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_what_kubectl_takes() {
    let playground = cluster().await;
    let line = "valence export deploy/todo -n shop --form manifest | kubectl apply --dry-run=server -f -";
    let output = shell(
        &format!("PATH=$PWD/.tools/bin:$PATH; command -v kubectl >/dev/null || exit 77; {line}"),
        playground.kubeconfig(),
    );
    if output.status.code() == Some(77) {
        let test = "what_is_exported_is_what_kubectl_takes";
        tools::skipped(test, "kubectl", ".ci/tools.sh kubectl installs it");
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("deployment.apps/todo configured (server dry run)"),
        "{text}"
    );
    playground.stop().await;
}

#[test]
fn every_command_has_completions_for_every_shell() {
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = shell(&format!("valence completions {name}"), Path::new(""));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for command in ["status", "explain", "check", "inject", "export", "slo", "crds"] {
            assert!(text.contains(command), "{name}: {command}");
        }
    }
}
