//! Webhook configurations, compiled once for each revision.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::core::cel::cel::Program;
use parking_lot::Mutex;
use serde_json::Value;

use super::expressions;
use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::store::{LabelSelector, ResourceKey, Stored};

/// A condition under which a webhook is asked, in CEL.
pub(super) struct Condition {
    pub(super) name: String,
    /// The error text when it does not compile.
    pub(super) program: Result<Program, String>,
}

/// One webhook.
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) rules: Vec<Value>,
    pub(super) namespaces: LabelSelector,
    pub(super) objects: LabelSelector,
    pub(super) conditions: Vec<Condition>,
    pub(super) client: Value,
    /// Rules stand for every version of what they name.
    pub(super) equivalent: bool,
    /// Failures refuse the request.
    pub(super) fails_closed: bool,
    pub(super) timeout: Duration,
    pub(super) reinvoked: bool,
    pub(super) side_effects: String,
}

type Compiled = Arc<Vec<Webhook>>;

/// Compiled configurations by uid.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<String, (u64, Compiled)>>);

/// All webhooks of a kind of configuration, in order of the configurations' names.
pub(super) fn webhooks(api: &Api, plural: &str) -> Vec<Compiled> {
    let key = ResourceKey::new("admissionregistration.k8s.io", plural);
    let (configurations, _) = api.store.list(&key, None);
    configurations
        .iter()
        .map(|configuration| compiled(&api.admission.configurations, configuration))
        .collect()
}

fn compiled(cache: &Cache, configuration: &Stored) -> Compiled {
    let uid = object::uid(&configuration.value).to_owned();
    let mut known = cache.0.lock();
    if let Some((revision, webhooks)) = known.get(&uid)
        && *revision == configuration.revision
    {
        return webhooks.clone();
    }
    let list = configuration.value["webhooks"].as_array().into_iter().flatten();
    let webhooks: Compiled = Arc::new(list.map(webhook).collect());
    known.insert(uid, (configuration.revision, webhooks.clone()));
    webhooks
}

fn webhook(value: &Value) -> Webhook {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let conditions = value["matchConditions"].as_array().into_iter().flatten();
    Webhook {
        name: text("name"),
        rules: value["rules"].as_array().cloned().unwrap_or_default(),
        namespaces: LabelSelector::from_object(&value["namespaceSelector"]),
        objects: LabelSelector::from_object(&value["objectSelector"]),
        conditions: conditions
            .map(|condition| Condition {
                name: condition["name"].as_str().unwrap_or_default().to_owned(),
                program: expressions::compile(condition["expression"].as_str().unwrap_or_default()),
            })
            .collect(),
        client: value["clientConfig"].clone(),
        equivalent: value["matchPolicy"] != "Exact",
        fails_closed: value["failurePolicy"] != "Ignore",
        timeout: Duration::from_secs(value["timeoutSeconds"].as_u64().unwrap_or(10)),
        reinvoked: value["reinvocationPolicy"] == "IfNeeded",
        side_effects: text("sideEffects"),
    }
}
