//! What people see who use kubectl.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use valence_playground::tools::skipped;

use crate::admission::open_shop;
use crate::cluster::Cluster;
use crate::objects::deployment;
use crate::readmission::{DEPLOYMENT, recommend};

/// On PATH, or where our own tools are installed; without it the case says that it is skipped.
fn kubectl(case: &str) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain([own]);
    let found = folders.find_map(|folder| Some(folder.join("kubectl")).filter(|file| file.is_file()));
    if found.is_none() {
        skipped(case, "kubectl", "not on PATH");
    }
    found
}

struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(cluster: &Cluster, kubectl: &Path, arguments: &[&str], document: &Value) -> Output {
    let mut command = tokio::process::Command::new(kubectl);
    command
        .args(arguments)
        .env("KUBECONFIG", cluster.kubeconfig())
        // Discovery is not to be kept from one cluster to the next.
        .env("KUBECACHEDIR", cluster.kubeconfig().with_extension("cache"))
        .env_remove("KUBECTL_EXTERNAL_DIFF")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(document.to_string().as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

crate::on_both! {
    dry_runs_show_what_would_be_and_leave_no_trace
}

async fn dry_runs_show_what_would_be_and_leave_no_trace(cluster: Cluster) {
    let Some(kubectl) = kubectl("dry_runs_show_what_would_be_and_leave_no_trace") else {
        return;
    };
    let (stored, _) = open_shop(&cluster).await;
    recommend(&cluster, &stored, 5).await;
    let mut wanted = deployment();
    wanted["spec"]["replicas"] = json!(9);
    let before = cluster.get(DEPLOYMENT).await;
    let dry = ["apply", "--dry-run=server", "--output=json", "--filename=-"];
    let shown = run(&cluster, &kubectl, &dry, &wanted).await;
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stderr.contains("5 replicas instead of 9"), "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["spec"]["replicas"], 5);
    let diff = run(&cluster, &kubectl, &["diff", "--filename=-"], &wanted).await;
    assert_eq!(diff.code, Some(1), "there is a difference: {}", diff.stderr);
    let lines: Vec<&str> = diff.stdout.lines().map(str::trim_end).collect();
    assert!(
        lines.contains(&"-  replicas: 2") && lines.contains(&"+  replicas: 5"),
        "{}",
        diff.stdout
    );
    assert_eq!(cluster.get(DEPLOYMENT).await, before);
    let traces = || async {
        let events = cluster.get("/apis/events.k8s.io/v1/namespaces/shop/events").await;
        let metrics = cluster.metrics().await;
        let overrides = metrics
            .lines()
            .any(|line| line.starts_with("valence_admission_overrides_total{"));
        let told = events["items"].as_array().unwrap().iter();
        (overrides, told.filter(|event| event["reason"] == "Overridden").count())
    };
    assert_eq!(traces().await, (false, 0));
    let applied = run(&cluster, &kubectl, &["apply", "--filename=-"], &wanted).await;
    assert_eq!(applied.code, Some(0), "{}", applied.stderr);
    let after = cluster.get(DEPLOYMENT).await;
    assert_eq!(
        after["spec"]["replicas"], shown["spec"]["replicas"],
        "the dry run showed what is done"
    );
    for annotation in ["valence.io/original", "valence.io/effective"] {
        assert_eq!(
            after["metadata"]["annotations"][annotation],
            shown["metadata"]["annotations"][annotation]
        );
    }
    cluster
        .eventually("the override told once", || async {
            let found = traces().await;
            if found == (true, 1) {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        })
        .await;
}
