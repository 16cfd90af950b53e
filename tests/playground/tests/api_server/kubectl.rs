//! Stock `kubectl`, where it is on PATH.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use valence_playground::tools;

use crate::custom_resources::{definition, widget};
use crate::policies::Nodes;
use crate::support::{Cluster, Webhook, configure, deployment, patch};

/// What a command printed and whether it succeeded.
struct Output {
    success: bool,
    stdout: String,
    stderr: String,
}

/// A kubectl that goes on.
struct Following {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    /// Reads up to the line that contains this.
    async fn until(&mut self, wanted: &str) {
        let mut seen = Vec::new();
        while let Some(line) = self.line().await {
            if line.contains(wanted) {
                return;
            }
            seen.push(line);
        }
        panic!("kubectl ended before {wanted:?}: {seen:?}");
    }

    /// The next line; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        line.expect("kubectl prints nothing more and does not end").unwrap()
    }
}

fn available(test: &str) -> bool {
    let found = Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        tools::skipped(test, "kubectl", "not on PATH");
    }
    found
}

impl Cluster {
    fn start_kubectl(&self, arguments: &[&str]) -> Child {
        tokio::process::Command::new("kubectl")
            .args(arguments)
            .env("KUBECONFIG", self.server.kubeconfig())
            .env("HOME", &self.directory)
            .env("KUBE_EDITOR", "sed -i s/app:1/app:2/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Starts kubectl, to be read while it runs, and ended when dropped.
    fn following(&self, arguments: &[&str]) -> Following {
        let mut child = self.start_kubectl(arguments);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Following { _child: child, lines }
    }

    /// Runs kubectl, with an optional document on its standard input.
    async fn kubectl(&self, arguments: &[&str], input: Option<&Value>) -> Output {
        let mut child = self.start_kubectl(arguments);
        let mut stdin = child.stdin.take().unwrap();
        if let Some(document) = input {
            stdin.write_all(document.to_string().as_bytes()).await.unwrap();
        }
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Output {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The same for what must succeed.
    async fn kubectl_ok(&self, arguments: &[&str], input: Option<&Value>) -> String {
        let output = self.kubectl(arguments, input).await;
        assert!(output.success, "kubectl {arguments:?}: {}", output.stderr);
        output.stdout
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_is_applied_changed_and_deleted() {
    if !available("a_workload_is_applied_changed_and_deleted") {
        return;
    }
    let cluster = Cluster::start().await;
    let web = deployment("web");
    assert_eq!(
        cluster.kubectl_ok(&["apply", "-f", "-"], Some(&web)).await,
        "deployment.apps/web created\n"
    );
    assert_eq!(
        cluster.kubectl_ok(&["apply", "-f", "-"], Some(&web)).await,
        "deployment.apps/web unchanged\n"
    );
    let mut changed = web.clone();
    changed["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{ "name": "A", "value": "1" }]);
    assert_eq!(
        cluster.kubectl_ok(&["apply", "-f", "-"], Some(&changed)).await,
        "deployment.apps/web configured\n"
    );
    let diff = cluster.kubectl(&["diff", "-f", "-"], Some(&web)).await;
    assert!(
        diff.stdout.contains("-        - name: A"),
        "{} {}",
        diff.stdout,
        diff.stderr
    );
    cluster.kubectl_ok(&["edit", "deployment", "web"], None).await;
    cluster
        .kubectl_ok(&["scale", "deployment", "web", "--replicas=5"], None)
        .await;
    cluster
        .kubectl_ok(
            &["annotate", "deployment", "web", "valence.io/optimizer.configure=true"],
            None,
        )
        .await;
    cluster
        .kubectl_ok(&["label", "deployment", "web", "slo=slo-webapps"], None)
        .await;
    cluster
        .kubectl_ok(&["rollout", "restart", "deployment", "web"], None)
        .await;
    let read = async |path: &str| {
        let path = format!("jsonpath={{{path}}}");
        cluster
            .kubectl_ok(&["get", "deployment", "web", "-o", &path], None)
            .await
    };
    assert_eq!(read(".spec.template.spec.containers[0].image").await, "app:2");
    assert_eq!(read(".spec.replicas").await, "5");
    assert_eq!(read(".metadata.labels.slo").await, "slo-webapps");
    let described = cluster.kubectl_ok(&["describe", "deployment", "web"], None).await;
    assert!(
        described.contains("5 desired") && described.contains("app:2"),
        "{described}"
    );
    let table = cluster
        .kubectl_ok(&["get", "deployments", "-A", "-o", "wide"], None)
        .await;
    assert!(
        table.contains("web") && table.contains("0/5") && table.contains("IMAGES"),
        "{table}"
    );
    cluster
        .kubectl_ok(&["delete", "deployment", "web", "--timeout=20s"], None)
        .await;
    assert!(
        cluster
            .kubectl(&["get", "deployment", "web"], None)
            .await
            .stderr
            .contains("NotFound")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_resource_is_explained_listed_and_refused_by_field() {
    if !available("a_custom_resource_is_explained_listed_and_refused_by_field") {
        return;
    }
    let cluster = Cluster::start().await;
    cluster.kubectl_ok(&["apply", "-f", "-"], Some(&definition())).await;
    let wait = [
        "wait",
        "--for=condition=established",
        "crd/widgets.example.com",
        "--timeout=10s",
    ];
    cluster.kubectl_ok(&wait, None).await;
    let good = widget("one", json!({ "percentile": 99 }));
    cluster.kubectl_ok(&["apply", "-f", "-"], Some(&good)).await;
    assert!(
        cluster
            .kubectl_ok(&["apply", "-f", "-"], Some(&good))
            .await
            .contains("unchanged")
    );
    let listed = cluster.kubectl_ok(&["get", "gadgets"], None).await;
    assert!(listed.contains("PERCENTILE") && listed.contains("99"), "{listed}");
    assert!(
        cluster
            .kubectl_ok(&["get", "wd", "one", "-o", "yaml"], None)
            .await
            .contains("responseTime: 10ms")
    );
    let explained = cluster.kubectl_ok(&["explain", "widget.spec.percentile"], None).await;
    assert!(explained.contains("Which percentile is meant."), "{explained}");
    let explained = cluster.kubectl_ok(&["explain", "deployment.spec.replicas"], None).await;
    assert!(explained.contains("Number of desired pods."), "{explained}");
    let bad = widget("two", json!({ "percentile": 42, "responseTime": "fast" }));
    let refused = cluster.kubectl(&["apply", "-f", "-"], Some(&bad)).await;
    assert!(!refused.success);
    for part in [
        "spec.percentile: Unsupported value: 42",
        "spec.responseTime: Invalid value: \"fast\"",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let unknown = widget("three", json!({ "percentile": 99, "percentyle": 99 }));
    let refused = cluster.kubectl(&["apply", "-f", "-"], Some(&unknown)).await;
    assert!(
        refused.stderr.contains("unknown field \"spec.percentyle\""),
        "{}",
        refused.stderr
    );
    cluster
        .kubectl_ok(&["scale", "widget", "one", "--replicas=3"], None)
        .await;
    cluster.kubectl_ok(&["delete", "widget", "one"], None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_shows_conflicts() {
    if !available("server_side_apply_shows_conflicts") {
        return;
    }
    let cluster = Cluster::start().await;
    let mut web = deployment("web");
    let apply = ["apply", "--server-side", "-f", "-"];
    cluster.kubectl_ok(&apply, Some(&web)).await;
    web["spec"]["replicas"] = 9.into();
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let conflict = cluster.kubectl(&other, Some(&web)).await;
    assert!(
        conflict.stderr.contains("conflict with \"kubectl\": .spec.replicas"),
        "{}",
        conflict.stderr
    );
    let forced = [
        "apply",
        "--server-side",
        "--field-manager=other",
        "--force-conflicts",
        "-f",
        "-",
    ];
    cluster.kubectl_ok(&forced, Some(&web)).await;
    // From client-side to server-side apply.
    let api = deployment("api");
    cluster.kubectl_ok(&["apply", "-f", "-"], Some(&api)).await;
    cluster.kubectl_ok(&apply, Some(&api)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_that_admission_overrides_warns() {
    if !available("a_scale_that_admission_overrides_warns") {
        return;
    }
    let cluster = Cluster::start().await;
    let hook = Webhook::start(|_| {
        let mut response = patch(json!([{ "op": "add", "path": "/spec/replicas", "value": 4 }]));
        response["warnings"] = json!(["the objective needs 4 replicas, not 2"]);
        response
    })
    .await;
    configure(
        &cluster,
        vec![hook.entry("scale.example.com", &["deployments/scale"], &["UPDATE"])],
    )
    .await;
    cluster
        .kubectl_ok(&["apply", "-f", "-"], Some(&deployment("web")))
        .await;
    let scaled = cluster
        .kubectl(&["scale", "deployment", "web", "--replicas=2"], None)
        .await;
    assert!(
        scaled.stderr.contains("Warning: the objective needs 4 replicas, not 2"),
        "{}",
        scaled.stderr
    );
    let replicas = cluster
        .kubectl_ok(&["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"], None)
        .await;
    assert_eq!(replicas, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_watches() {
    if !available("get_watches") {
        return;
    }
    let cluster = Cluster::start().await;
    cluster
        .kubectl_ok(&["apply", "-f", "-"], Some(&deployment("web")))
        .await;
    // Of a single object kubectl drops the first event, changed meanwhile or not; a list it follows without a gap.
    let mut watching = cluster.following(&["get", "deployments", "--watch"]);
    watching.until("0/2").await;
    for replicas in [3, 4] {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        cluster
            .deployments()
            .patch("web", &PatchParams::default(), &patch)
            .await
            .unwrap();
        watching.until(&format!("0/{replicas}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_and_logs_are_shown() {
    if !available("usage_and_logs_are_shown") {
        return;
    }
    let cluster = Cluster::start().await;
    cluster.server.set_resource_usage(Arc::new(Nodes));
    cluster.server.set_container_logs(Arc::new(Nodes));
    cluster.kubectl_ok(&["run", "web", "--image=app:1"], None).await;
    let top = cluster.kubectl_ok(&["top", "pods"], None).await;
    assert!(top.contains("250m") && top.contains("64Mi"), "{top}");
    assert_eq!(
        cluster.kubectl_ok(&["logs", "web", "-c", "web"], None).await,
        "web/web says hello\n"
    );
    let mut following = cluster.following(&["logs", "web", "--follow"]);
    following.until("web/web says hello").await;
    cluster.pods().delete("web", &Default::default()).await.unwrap();
    assert_eq!(
        following.line().await,
        None,
        "what was shown is not shown again, and the end of the pod is the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_the_everyday_commands() {
    if !available("the_rest_of_the_everyday_commands") {
        return;
    }
    let cluster = Cluster::start().await;
    for arguments in [
        &["create", "namespace", "shop"][..],
        &["create", "configmap", "settings", "--from-literal=a=b", "-n", "shop"],
        &[
            "create",
            "secret",
            "generic",
            "token",
            "--from-literal=a=b",
            "-n",
            "shop",
        ],
        &["create", "deployment", "web", "--image=app:1", "-n", "shop"],
        &["expose", "deployment", "web", "--port=80", "-n", "shop"],
        &[
            "autoscale",
            "deployment",
            "web",
            "--max=4",
            "--cpu-percent=70",
            "-n",
            "shop",
        ],
        &[
            "set",
            "resources",
            "deployment",
            "web",
            "--requests=cpu=100m",
            "-n",
            "shop",
        ],
        &["run", "one", "--image=app:1", "-n", "shop"],
        &["get", "all,cm,secret,hpa,events", "-n", "shop", "-o", "wide"],
        &["api-resources", "--categories=all"],
        &["auth", "can-i", "create", "pods"],
        &["auth", "whoami"],
        &["cluster-info"],
        &["get", "--raw", "/readyz"],
        &[
            "patch",
            "deployment",
            "web",
            "-n",
            "shop",
            "--subresource=scale",
            "--type=merge",
            "-p",
            "{}",
        ],
        &["delete", "namespace", "shop", "--timeout=30s"],
    ] {
        cluster.kubectl_ok(arguments, None).await;
    }
}
