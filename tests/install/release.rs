//! The chart on a control plane: installed, upgraded, rolled back and removed by real helm.

use std::path::Path;
use std::process::Command;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use valence_playground::{Options, Playground};

use crate::tools::{find, root};

const CHART: &str = "deploy/helm/valence";
const IN_TIME: [&str; 3] = ["--wait", "--timeout", "3m"];

fn run(playground: &Playground, program: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("KUBECONFIG", playground.kubeconfig())
        .current_dir(root());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", arguments.join(" "));
    said
}

/// The arguments of the operator that is installed.
async fn arguments(playground: &Playground) -> Vec<String> {
    let api: Api<Deployment> = Api::namespaced(playground.client(), "valence-system");
    let operator = api.get("optimization-operator").await.unwrap();
    let pod = operator.spec.template.spec.unwrap();
    pod.containers[0].args.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_rolls_back_and_removes() {
    let Some(helm) = find("helm") else { return };
    let mut options = Options::default();
    options.images.valence = Some(env!("CARGO_BIN_EXE_valence").into());
    let playground = Playground::start(options).await.unwrap();
    let helm = |command: &[&str], more: &[&str]| {
        let all = [command, &["--namespace", "valence-system"], more].concat();
        run(&playground, &helm, &all)
    };
    let off = "--page-port=0".to_owned();

    helm(&["install", "valence", CHART, "--create-namespace"], &IN_TIME);
    assert!(!arguments(&playground).await.contains(&off));
    let checked = run(
        &playground,
        Path::new(env!("CARGO_BIN_EXE_valence")),
        &["check", "--wait", "1m"],
    );
    assert!(checked.contains("operator: 2 of 2 pods ready"), "{checked}");

    let values = ["--set", "operator.page=false", "--set", "replicas=1"];
    helm(&["upgrade", "valence", CHART], &[&values[..], &IN_TIME].concat());
    assert!(arguments(&playground).await.contains(&off));
    helm(&["rollback", "valence", "1"], &IN_TIME);
    assert!(!arguments(&playground).await.contains(&off));

    let removed = helm(&["uninstall", "valence"], &[]);
    assert!(removed.contains("kept due to the resource policy"), "{removed}");
    let hooks: Api<MutatingWebhookConfiguration> = Api::all(playground.client());
    assert!(hooks.get_opt("valence").await.unwrap().is_none());
    let definitions: Api<CustomResourceDefinition> = Api::all(playground.client());
    let kept = definitions.get_opt("servicelevelobjectives.optimizer.valence.io").await;
    assert!(kept.unwrap().is_some(), "the objectives of users go with the release");
    playground.stop().await;
}
