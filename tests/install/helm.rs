//! The chart: what it renders for which values, and that it installs the same objects as the kustomize base.

use serde_json::Value;

use crate::schema::{objects, problems, title};
use crate::tools::{find, outcome, run};

const CHART: &str = "deploy/helm/valence";

fn rendered(namespace: &str, values: &[&str]) -> Option<Vec<Value>> {
    let helm = find("helm")?;
    let mut arguments = vec!["template", "valence", CHART, "--namespace", namespace];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    Some(objects(&run(&helm, &arguments)))
}

fn named<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    all.iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap()
}

fn arguments(all: &[Value]) -> Vec<String> {
    let operator = named(all, "Deployment", "optimization-operator");
    let arguments = &operator["spec"]["template"]["spec"]["containers"][0]["args"];
    serde_json::from_value(arguments.clone()).unwrap()
}

/// Without what only says who made the object.
fn bare(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("labels");
        if metadata
            .get("annotations")
            .is_some_and(|all| all["helm.sh/resource-policy"] == "keep")
        {
            metadata.remove("annotations");
        }
    }
    object
}

#[test]
fn the_chart_installs_the_objects_of_the_base() {
    let (Some(chart), Some(kubectl)) = (rendered("valence-system", &[]), find("kubectl")) else {
        return;
    };
    let base = objects(&run(&kubectl, &["kustomize", "deploy/base"]));
    // The namespace is for whoever installs the release.
    let base: Vec<_> = base
        .into_iter()
        .filter(|object| object["kind"] != "Namespace")
        .collect();
    let titles = |all: &[Value]| {
        let mut titles: Vec<_> = all.iter().map(title).collect();
        titles.sort();
        titles
    };
    assert_eq!(titles(&chart), titles(&base));
    for object in base {
        let name = object["metadata"]["name"].as_str().unwrap();
        let kind = object["kind"].as_str().unwrap();
        let twin = named(&chart, kind, name);
        if (kind, name) == ("Deployment", "optimization-operator") {
            // Its values may differ; its shape may not.
            for key in [
                "securityContext",
                "readinessProbe",
                "livenessProbe",
                "ports",
                "resources",
            ] {
                let container = |object: &Value| object["spec"]["template"]["spec"]["containers"][0][key].clone();
                assert_eq!(container(twin), container(&object), "{key}");
            }
        } else {
            assert_eq!(bare(twin.clone()), bare(object.clone()), "{}", title(&object));
        }
    }
}

#[test]
fn everything_turned_on_fits_its_schema_and_its_namespace() {
    let values = [
        "certManager.enabled=true",
        "monitoring.serviceMonitor=true",
        "monitoring.podMonitor=true",
        "monitoring.prometheusRule=true",
        "monitoring.dashboards=true",
        "monitoring.labels.release=prometheus",
    ];
    let Some(all) = rendered("elsewhere", &values) else {
        return;
    };
    for object in &all {
        assert!(problems(object).is_empty(), "{}: {:?}", title(object), problems(object));
        assert!(
            object["metadata"]["namespace"]
                .as_str()
                .is_none_or(|namespace| namespace == "elsewhere"),
            "{}",
            title(object)
        );
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "Helm",
            "{}",
            title(object)
        );
    }
    assert_eq!(
        named(&all, "ServiceMonitor", "optimization-operator")["metadata"]["labels"]["release"],
        "prometheus"
    );
    assert!(named(&all, "PrometheusRule", "valence")["spec"]["groups"].is_array());
    let dashboards = named(&all, "ConfigMap", "valence-dashboards")["data"]
        .as_object()
        .unwrap();
    assert_eq!(
        dashboards.keys().collect::<Vec<_>>(),
        ["recommendations.json", "valence.json"]
    );
    let configuration = named(&all, "MutatingWebhookConfiguration", "valence");
    assert_eq!(
        configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "elsewhere/valence-webhook"
    );
    for hook in configuration["webhooks"].as_array().unwrap() {
        assert_eq!(hook["clientConfig"]["service"]["namespace"], "elsewhere");
        let excluded = &hook["namespaceSelector"]["matchExpressions"][0]["values"];
        assert_eq!(
            *excluded,
            serde_json::json!(["kube-system", "kube-node-lease", "elsewhere"])
        );
    }
    assert!(arguments(&all).contains(&"--external-certificates".to_owned()));
}

#[test]
fn values_reach_the_operator_and_its_arguments_are_ones_that_it_takes() {
    use clap::Parser;
    let values = [
        "replicas=3",
        "image.tag=1.2.3",
        "operator.page=false",
        "operator.evict=false",
        "operator.readmitServices=true",
        "operator.extraArguments[0]=--client-ca=/callers/ca.crt",
        "operator.extraVolumes[0].name=callers",
        "operator.extraVolumes[0].configMap.name=callers",
        "operator.extraVolumeMounts[0].name=callers",
        "operator.extraVolumeMounts[0].mountPath=/callers",
        "sidecar.ordinary=true",
        "sidecar.image=registry.example/envoy:v1.38.3",
        "operator.statsd=[fd00::1]:8125",
        "operator.logFormat=json",
        "operator.prices.coreHour=0.031",
        "operator.prices.gibHour=0.0042",
        "operator.prices.currency=EUR",
        "operator.nodeSelector.disk=fast",
        "webhook.failurePolicy=Fail",
        "networkPolicy.enabled=false",
        "crds.install=false",
    ];
    let Some(all) = rendered("valence-system", &values) else {
        return;
    };
    valence::cli::Valence::try_parse_from(std::iter::once("valence".to_owned()).chain(arguments(&all))).unwrap();
    assert_eq!(
        arguments(&all),
        [
            "run",
            "--scrape-interval=15s",
            "--decision-interval=15s",
            "--evict=false",
            "--log-format=json",
            "--page-port=0",
            "--price-per-core-hour=0.031",
            "--price-per-gib-hour=0.0042",
            "--currency=EUR",
            "--ordinary-sidecars",
            "--sidecar-image=registry.example/envoy:v1.38.3",
            "--readmit-services",
            "--client-ca=/callers/ca.crt"
        ]
    );
    let rules = &named(&all, "ClusterRole", "valence-services")["rules"];
    assert_eq!(
        *rules,
        serde_json::json!([{"apiGroups": [""], "resources": ["services"], "verbs": ["patch"]}])
    );
    assert!(named(&all, "ClusterRoleBinding", "valence-services")["subjects"][0]["name"] == "valence");
    let operator = named(&all, "Deployment", "optimization-operator");
    assert_eq!(operator["spec"]["replicas"], 3);
    let pod = &operator["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"]["disk"], "fast");
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "callers");
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["mountPath"], "/callers");
    assert_eq!(pod["containers"][0]["image"], "ghcr.io/valencenet/valence:1.2.3");
    let environment = pod["containers"][0]["env"].as_array().unwrap();
    assert!(
        environment
            .iter()
            .any(|variable| variable["name"] == "STATSD_URL" && variable["value"] == "[fd00::1]:8125")
    );
    assert!(
        !all.iter()
            .any(|object| object["kind"] == "NetworkPolicy" || object["kind"] == "CustomResourceDefinition")
    );
    assert_eq!(
        named(&all, "MutatingWebhookConfiguration", "valence")["webhooks"][0]["failurePolicy"],
        "Fail"
    );
}

#[test]
fn the_schema_of_the_values_refuses_what_is_wrong() {
    let Some(helm) = find("helm") else { return };
    run(&helm, &["lint", CHART]);
    for (value, field) in [
        ("replicas=0", "/replicas"),
        ("operator.scrapeInterval=soon", "/operator/scrapeInterval"),
        ("operator.statsd=host", "/operator/statsd"),
        ("operator.statsd=fd00::1:8125", "/operator/statsd"),
        ("operator.extraArguments[0]=client-ca", "/operator/extraArguments/0"),
        ("webhook.failurePolicy=Maybe", "/webhook/failurePolicy"),
        ("webhook.timeoutSeconds=60", "/webhook/timeoutSeconds"),
        ("sidecar.ordinary=perhaps", "/sidecar/ordinary"),
        ("operator.readmitServices=perhaps", "/operator/readmitServices"),
        ("operator.prices.coreHour=cheap", "/operator/prices/coreHour"),
        ("operatr.page=true", "operatr"),
    ] {
        let refused = outcome(&helm, &["template", "valence", CHART, "--set", value]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(field), "{value}: {said}");
    }
}

#[test]
fn the_notes_say_what_is_next() {
    let Some(helm) = find("helm") else { return };
    let notes = |values: &[&str]| {
        let mut arguments = vec!["install", "valence", CHART, "--dry-run=client", "--namespace", "other"];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        run(&helm, &arguments)
    };
    let usual = notes(&[]);
    assert!(
        usual.contains("valence check --wait 2m --system-namespace other") && usual.contains("8088"),
        "{usual}"
    );
    let odd = notes(&["operator.page=false", "webhook.failurePolicy=Fail", "crds.keep=false"]);
    assert!(
        !odd.contains("port-forward") && odd.contains("failurePolicy Fail") && odd.contains("removes every"),
        "{odd}"
    );
}
