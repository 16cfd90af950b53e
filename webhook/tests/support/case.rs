//! One golden case: a question in a cluster, and the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use valence_webhook::notices::{Notice, channel};
use valence_webhook::{Admission, Endpoint, Metrics, Settings};

use super::cluster::Cluster;

/// The question.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What the case is about.
    pub about: String,
    /// Which endpoint is asked.
    pub endpoint: String,
    /// `CREATE` or `UPDATE`.
    #[serde(default)]
    pub operation: Option<String>,
    #[serde(default)]
    pub cluster: Cluster,
    #[serde(default)]
    pub settings: Chosen,
    #[serde(default)]
    pub dry_run: bool,
    #[serde(default)]
    pub field_manager: Option<String>,
    pub object: Value,
    #[serde(default)]
    pub old_object: Option<Value>,
}

/// Settings that a case may choose.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Chosen {
    native_sidecars: Option<bool>,
    memory_limits_shrink_in_place: Option<bool>,
    sidecar_concurrency: Option<u32>,
    sidecar_image: Option<String>,
}

/// The answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<Value>,
}

/// An answer with what came of it.
pub struct Answered {
    pub warnings: Vec<String>,
    pub notices: Vec<Notice>,
    pub patch: Value,
    pub object: Value,
}

impl Case {
    pub fn endpoint(&self) -> Endpoint {
        let known = Endpoint::ALL
            .into_iter()
            .find(|endpoint| endpoint.label() == self.endpoint);
        known.unwrap_or_else(|| panic!("{}: no such endpoint", self.endpoint))
    }

    fn settings(&self) -> Settings {
        let usual = Settings::default();
        let chosen = &self.settings;
        Settings {
            native_sidecars: chosen.native_sidecars.unwrap_or(usual.native_sidecars),
            memory_limits_shrink_in_place: chosen
                .memory_limits_shrink_in_place
                .unwrap_or(usual.memory_limits_shrink_in_place),
            sidecar_concurrency: chosen.sidecar_concurrency,
            sidecar_image: chosen.sidecar_image.clone().unwrap_or(usual.sidecar_image),
            ..usual
        }
    }

    /// The review that asks about an object.
    pub fn review(&self, object: &Value) -> Value {
        // The API server takes these from the address of the request, so they are texts whatever the object says.
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        let usual = if self.old_object.is_some() { "UPDATE" } else { "CREATE" };
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
                "operation": self.operation.as_deref().unwrap_or(usual),
                "namespace": text("/metadata/namespace"),
                "name": text("/metadata/name"),
                "userInfo": {"username": "ann", "groups": ["system:authenticated"]},
                "dryRun": self.dry_run,
                "options": {"fieldManager": self.field_manager},
                "object": object,
                "oldObject": self.old_object,
            },
        })
    }
}

/// Cases share their cluster among the questions that are asked of it.
pub struct Asked {
    admission: Admission,
    receiver: tokio::sync::mpsc::Receiver<Notice>,
    pub case: Case,
}

impl Asked {
    pub fn new(mut case: Case) -> Self {
        let (sender, receiver) = channel(100);
        let mut cluster = std::mem::take(&mut case.cluster);
        if case.endpoint() == Endpoint::Deployments && cluster.deployments.is_empty() {
            // What is asked about is seen by the watch as well, before or a moment after.
            let seen = case.old_object.as_ref().unwrap_or(&case.object);
            let is_one = serde_json::from_value::<Deployment>(seen.clone()).is_ok();
            cluster.deployments.extend(is_one.then(|| seen.clone()));
        }
        let plans = Arc::new(cluster);
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let admission = Admission::new(plans, case.settings(), metrics, Arc::new(sender));
        Self {
            admission,
            receiver,
            case,
        }
    }

    /// Goes on as after an upgrade of the cluster, or the way back: sidecars have the other form.
    pub fn change_form(&mut self) {
        let settings = self.admission.settings();
        self.admission.reconfigure(Settings {
            native_sidecars: !settings.native_sidecars,
            ..Settings::clone(&settings)
        });
    }

    /// Asks with any bytes.
    pub fn answer(
        &self,
        endpoint: Endpoint,
        review: &[u8],
    ) -> Result<valence_webhook::Answer, valence_webhook::ReviewError> {
        self.admission.answer(endpoint, review)
    }

    /// Asks about an object and applies the answer to it.
    pub fn ask(&mut self, object: &Value) -> Answered {
        let endpoint = self.case.endpoint();
        let body = serde_json::to_vec(&self.case.review(object)).unwrap();
        let answer = self.admission.answer(endpoint, &body).unwrap();
        let body = self.admission.record(endpoint, answer, std::time::Instant::now());
        let response = serde_json::from_slice::<Value>(&body).unwrap()["response"].clone();
        assert_eq!(response["allowed"], true);
        let patch = decoded(&response);
        let mut patched = object.clone();
        let operations: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        json_patch::patch(&mut patched, &operations).unwrap();
        let warnings = serde_json::from_value(response["warnings"].clone()).unwrap_or_default();
        let notices = std::iter::from_fn(|| self.receiver.try_recv().ok()).collect();
        Answered {
            warnings,
            notices,
            patch,
            object: patched,
        }
    }
}

fn decoded(response: &Value) -> Value {
    use base64::Engine;
    let Some(patch) = response.get("patch") else {
        return json!([]);
    };
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = base64::prelude::BASE64_STANDARD
        .decode(patch.as_str().unwrap())
        .unwrap();
    serde_json::from_slice(&patch).unwrap()
}

impl Answered {
    /// The answer as it is kept in a file, with the long texts of the sidecar left out.
    pub fn expected(&self) -> Expected {
        let mut patch = self.patch.clone();
        shorten(&mut patch);
        let notice = |notice: &Notice| {
            format!(
                "{} {}/{} {}: {}",
                notice.kind,
                notice.namespace,
                notice.name,
                notice.reason.name(),
                notice.message
            )
        };
        Expected {
            warnings: self.warnings.clone(),
            notices: self.notices.iter().map(notice).collect(),
            patch: patch.as_array().unwrap().clone(),
        }
    }

    /// The bootstraps that the patch holds.
    pub fn bootstraps(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        collect(&self.patch, &mut found);
        found
    }
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.starts_with("{\"admin\"") => {
            found.insert(text.clone());
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Object(values) => values.values().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// Long texts are replaced by what is particular in them; they have tests of their own.
fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("{\"admin\"") => *text = summary(text),
        Value::String(text) if text.starts_with("use IO::Socket::UNIX") => *text = "(drain)".to_owned(),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(values) => values.values_mut().for_each(shorten),
        _ => {}
    }
}

fn summary(bootstrap: &str) -> String {
    let bootstrap: Value = serde_json::from_str(bootstrap).unwrap();
    let address =
        "/static_resources/clusters/0/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    let port = &bootstrap.pointer(address).unwrap()["port_value"];
    let listen = bootstrap
        .pointer("/static_resources/listeners/0/address/socket_address/address")
        .unwrap();
    let edges = bootstrap
        .pointer("/stats_config/histogram_bucket_settings/0/buckets")
        .unwrap();
    let edges: Vec<f64> = serde_json::from_value(edges.clone()).unwrap();
    let usual = valence_webhook::envoy::edges_milliseconds(&[]);
    let own: Vec<_> = edges.iter().filter(|edge| !usual.contains(edge)).collect();
    format!(
        "(bootstrap: {} to port {port}, edges {own:?} ms beside the usual)",
        listen.as_str().unwrap()
    )
}
