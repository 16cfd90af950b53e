//! The whole way of a user: apply, check, look at it in Prometheus, delete. On the playground, with real kubectl, real
//! Envoy and real Prometheus.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use valence_playground::load::{Settings, Shape};
use valence_playground::{Options, Playground};

use crate::dashboards::{expressions, variables};
use crate::prometheus::{Job, Prometheus};
use crate::tools::{find, root};

const WORKLOAD: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {valence.io/injection: enabled}}
---
apiVersion: optimizer.valence.io/v1alpha1
kind: ServiceLevelObjective
metadata: {name: slo-webapps, namespace: shop}
spec:
  selector: {slo: slo-webapps}
  objectives:
  - type: HTTP
    http: {latency: {percentile: 99, responseTime: 250ms}, throughput: 1200}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: todo, namespace: shop, labels: {slo: slo-webapps}}
spec:
  replicas: 2
  selector: {matchLabels: {app: todo}}
  template:
    metadata: {labels: {app: todo}}
    spec:
      containers:
      - name: app
        image: ghcr.io/valencenet/playground:0.1.0
        args: [application, --start-time=500ms, --warm-up=500ms]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 3}}}
        resources:
          requests: {cpu: 500m, memory: 256Mi}
          limits: {cpu: '1', memory: 512Mi}
---
apiVersion: v1
kind: Service
metadata: {name: todo, namespace: shop}
spec: {selector: {app: todo}, ports: [{name: http, port: 80, targetPort: http}]}
";

struct Tools {
    kubectl: PathBuf,
    prometheus: PathBuf,
    kubeconfig: PathBuf,
}

impl Tools {
    fn run(&self, program: &Path, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .current_dir(root())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.run(&self.kubectl, arguments);
        assert!(succeeded, "kubectl {}: {text}", arguments.join(" "));
        text
    }

    fn valence(&self, arguments: &[&str]) -> (bool, String) {
        self.run(Path::new(env!("CARGO_BIN_EXE_valence")), arguments)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn install_look_and_remove() {
    let (Some(kubectl), Some(prometheus), Some(envoy)) = (find("kubectl"), find("prometheus"), find("envoy")) else {
        return;
    };
    let mut options = Options::default();
    options.images.envoy = Some(envoy);
    options.images.valence = Some(env!("CARGO_BIN_EXE_valence").into());
    let playground = Playground::start(options).await.unwrap();
    let kubeconfig = playground.kubeconfig().to_owned();
    let tools = Tools {
        kubectl,
        prometheus,
        kubeconfig,
    };

    before_anything_is_there(&tools);
    install(&tools);
    manage_a_workload(&playground, &tools).await;
    let load = playground.load(
        "shop",
        "todo",
        Settings {
            shape: Shape::Constant { rate: 25.0 },
            ..Settings::default()
        },
    );
    see(&playground, &tools).await;
    remove(&playground, &tools).await;
    let report = load.stop().await;
    assert_eq!(report.failed, 0, "{report:?}");
    playground.stop().await;
}

fn before_anything_is_there(tools: &Tools) {
    let (ready, text) = tools.valence(&["check", "--before"]);
    assert!(ready && text.contains("you may install Valence"), "{text}");
    let (works, text) = tools.valence(&["check"]);
    assert!(
        !works && text.contains("FAIL ServiceLevelObjective: not installed"),
        "{text}"
    );
    let (works, text) = tools.valence(&["status"]);
    assert!(
        !works && text.contains("Valence is not installed in this cluster"),
        "{text}"
    );
}

fn install(tools: &Tools) {
    tools.kubectl(&["apply", "-f", "deploy/valence.yaml"]);
    let (works, text) = tools.valence(&["check", "--wait", "60s"]);
    assert!(works, "{text}");
    assert!(
        text.contains("6 with a certificate authority") && text.contains("recommends"),
        "{text}"
    );
    assert!(
        text.contains("ok   pods: a pod tried in default comes back with the sidecar"),
        "{text}"
    );
    assert_eq!(
        tools.kubectl(&["get", "pods", "-n", "default", "-o", "name"]),
        "",
        "the trial left something behind"
    );
    // Nothing is changed by applying it again: what the operator wrote is left alone.
    let again = tools.kubectl(&["apply", "-f", "deploy/valence.yaml"]);
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    assert!(
        tools.valence(&["check"]).0,
        "applying again took the certificate authority away"
    );
}

async fn manage_a_workload(playground: &Playground, tools: &Tools) {
    playground.apply(WORKLOAD).await.unwrap();
    let pods = playground
        .pods_ready("shop", "app=todo", 2, Duration::from_secs(60))
        .await
        .unwrap();
    for pod in pods {
        assert!(
            serde_json::to_string(&pod).unwrap().contains("\"name\":\"envoy\""),
            "{pod:?}"
        );
    }
    let (_, text) = tools.valence(&["check", "--wait", "60s"]);
    assert!(text.contains("ok   shop/slo-webapps: selects 1 Deployment"), "{text}");
}

/// Every expression of the dashboards and every rule says something about a running Valence.
async fn see(playground: &Playground, tools: &Tools) {
    let operators = targets(
        playground,
        "valence-system",
        "app.kubernetes.io/component=operator",
        8080,
    )
    .await;
    let sidecars = targets(playground, "shop", "app=todo", 8181).await;
    let jobs = [
        Job {
            name: "valence",
            path: "/metrics",
            targets: operators,
        },
        Job {
            name: "sidecars",
            path: "/stats/prometheus",
            targets: sidecars,
        },
    ];
    let prometheus = Prometheus::start(&tools.prometheus, &jobs);
    let chosen = |expression: &str| {
        expression
            .replace("$namespace", "shop")
            .replace("$deployment", "todo")
            .replace("$container", "app")
    };
    let mut wanted: Vec<(String, String)> = expressions();
    wanted.extend(variables());
    let recorded = [
        "budget:ratio",
        "ratio:rate5m",
        "ratio:rate30m",
        "ratio:rate1h",
        "ratio:rate6h",
    ];
    let recorded = recorded.iter().chain(&["ratio_fast:threshold", "ratio_slow:threshold"]);
    wanted.extend(recorded.map(|name| ("recording rule".to_owned(), format!("valence:slo_error_{name}"))));
    let deadline = Instant::now() + Duration::from_secs(150);
    let mut silent = wanted
        .iter()
        .map(|(title, expression)| (title, chosen(expression)))
        .collect::<Vec<_>>();
    while !silent.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // Something to admit, so that its time can be told.
        let tick = format!("tick={}", silent.len());
        tools.kubectl(&["label", "--overwrite", "service/todo", "-n", "shop", &tick]);
        tools.kubectl(&["label", "service/todo", "-n", "shop", "tick-"]);
        let mut still = Vec::new();
        for (title, expression) in silent {
            match prometheus.query(&expression).await {
                Ok(result) if result.iter().any(is_finite) => {}
                _ => still.push((title, expression)),
            }
        }
        silent = still;
    }
    assert!(
        silent.is_empty(),
        "these say nothing: {silent:#?}\n{}",
        prometheus.log()
    );
    for rule in prometheus.rules().await.unwrap() {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert!(rule["state"].as_str().is_none_or(|state| state != "firing"), "{rule}");
    }
}

/// Not every value is a number: a quantile of nothing is not.
fn is_finite(sample: &Value) -> bool {
    sample["value"][1]
        .as_str()
        .and_then(|value| value.parse::<f64>().ok())
        .is_some_and(f64::is_finite)
}

async fn targets(
    playground: &Playground,
    namespace: &str,
    selector: &str,
    port: u16,
) -> Vec<(String, Vec<(&'static str, String)>)> {
    let pods = playground.pods(namespace, selector).await.unwrap();
    pods.iter()
        .map(|pod| {
            let address = pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
            (
                format!("{address}:{port}"),
                vec![("pod", pod.metadata.name.clone().unwrap())],
            )
        })
        .collect()
}

/// Removing Valence leaves the workload serving, sidecars and all.
async fn remove(playground: &Playground, tools: &Tools) {
    tools.kubectl(&[
        "delete",
        "--ignore-not-found",
        "--wait=false",
        "-f",
        "deploy/valence.yaml",
    ]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !playground
        .pods("valence-system", "app.kubernetes.io/component=operator")
        .await
        .unwrap_or_default()
        .is_empty()
    {
        assert!(Instant::now() < deadline, "the operator is still there");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (works, text) = tools.valence(&["check"]);
    assert!(!works && text.contains("not installed"), "{text}");
    playground
        .pods_ready("shop", "app=todo", 2, Duration::from_secs(10))
        .await
        .unwrap();
    // A pod that is made now starts, without the sidecar.
    tools.kubectl(&["rollout", "restart", "deploy/todo", "-n", "shop"]);
    playground
        .deployment_settled("shop", "todo", Duration::from_secs(60))
        .await
        .unwrap();
}
