//! ResourceQuota: what a namespace may hold, counted when something is added.

use std::collections::BTreeMap;

use parking_lot::MutexGuard;
use serde_json::{Map, Value};

use crate::apiserver::api::Api;
use crate::apiserver::builtin;
use crate::apiserver::object;
use crate::apiserver::quantity::Quantity;
use crate::apiserver::registry::Resource;
use crate::apiserver::status::{ApiError, ApiResult};
use crate::apiserver::store::{ResourceKey, Stored};

type Usage = BTreeMap<String, Quantity>;

/// Refuses a new object that a quota has no room for. While the answer is held, nobody else is let in.
pub(crate) fn hold<'a>(api: &'a Api, resource: &Resource, object: &Value) -> ApiResult<MutexGuard<'a, ()>> {
    check(api, resource, object, None)
}

/// The same for a pod whose resources change: only the difference counts.
pub(crate) fn hold_change<'a>(
    api: &'a Api,
    resource: &Resource,
    before: &Value,
    after: &Value,
) -> ApiResult<MutexGuard<'a, ()>> {
    check(api, resource, after, Some(before))
}

fn check<'a>(
    api: &'a Api,
    resource: &Resource,
    object: &Value,
    before: Option<&Value>,
) -> ApiResult<MutexGuard<'a, ()>> {
    let guard = api.admission.quota.lock();
    let (quotas, _) = api
        .store
        .list(&api.core("resourcequotas"), Some(object::namespace(object)));
    for quota in quotas {
        if !in_scope(&quota.value["spec"], resource, object) {
            continue;
        }
        let hard = quantities(&quota.value["spec"]["hard"]);
        unspecified(resource, object, &quota, &hard)?;
        let mut wanted = usage_of(&resource.key, object);
        for (name, amount) in before.map(|before| usage_of(&resource.key, before)).unwrap_or_default() {
            let entry = wanted.entry(name).or_insert(Quantity::ZERO);
            *entry = entry.minus(amount);
        }
        let used = used(api, &quota);
        exceeded(resource, object, &quota, &hard, &used, &wanted)?;
    }
    Ok(guard)
}

fn exceeded(
    resource: &Resource,
    object: &Value,
    quota: &Stored,
    hard: &Usage,
    used: &Usage,
    wanted: &Usage,
) -> ApiResult<()> {
    let amount = |map: &Usage, name: &String| map.get(name).copied().unwrap_or(Quantity::ZERO);
    let over: Vec<&String> = hard
        .keys()
        .filter(|name| {
            let more = amount(wanted, name);
            more.nanos > 0 && amount(used, name).plus(more).nanos > amount(hard, name).nanos
        })
        .collect();
    if over.is_empty() {
        return Ok(());
    }
    let list = |map: &Usage| {
        over.iter()
            .map(|name| format!("{name}={}", amount(map, name)))
            .collect::<Vec<_>>()
            .join(",")
    };
    let why = format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        object::name(&quota.value),
        list(wanted),
        list(used),
        list(hard)
    );
    Err(ApiError::forbidden(
        &resource.group,
        &resource.plural,
        object::name(object),
        &why,
    ))
}

/// A quota on requests or limits insists that every container names them.
fn unspecified(resource: &Resource, object: &Value, quota: &Stored, hard: &Usage) -> ApiResult<()> {
    if !resource.is("", "pods") {
        return Ok(());
    }
    let mut missing = Vec::new();
    for name in hard.keys() {
        let (which, plain) = match name.split_once('.') {
            Some(("requests", plain)) => ("requests", plain),
            Some(("limits", plain)) => ("limits", plain),
            _ => ("requests", name.as_str()),
        };
        if !matches!(plain, "cpu" | "memory") {
            continue;
        }
        let lists = ["containers", "initContainers"].map(|list| object["spec"][list].as_array().into_iter().flatten());
        let without: Vec<&str> = lists
            .into_iter()
            .flatten()
            .filter(|container| container["resources"][which].get(plain).is_none())
            .filter_map(|container| container["name"].as_str())
            .collect();
        if !without.is_empty() {
            missing.push(format!("{name} for: {}", without.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!(
        "failed quota: {}: must specify {}",
        object::name(&quota.value),
        missing.join("; ")
    );
    Err(ApiError::forbidden("", "pods", object::name(object), &why))
}

/// What a quota's namespace uses now.
pub(crate) fn used(api: &Api, quota: &Stored) -> Usage {
    let spec = &quota.value["spec"];
    let mut used: Usage = quantities(&spec["hard"])
        .into_keys()
        .map(|name| (name, Quantity::ZERO))
        .collect();
    let served = api.registry.served();
    for key in counted(&used) {
        let Some(resource) = served.any_version(&key) else {
            continue;
        };
        let (objects, _) = api.store.list(&key, Some(object::namespace(&quota.value)));
        for stored in objects.iter().filter(|stored| in_scope(spec, &resource, &stored.value)) {
            for (name, amount) in usage_of(&key, &stored.value) {
                if let Some(entry) = used.get_mut(&name) {
                    *entry = entry.plus(amount);
                }
            }
        }
    }
    used
}

/// The resources whose objects count towards some of these names.
fn counted(names: &Usage) -> Vec<ResourceKey> {
    let mut keys = vec![ResourceKey::new("", "pods")];
    for name in names.keys() {
        let counted = name.strip_prefix("count/").unwrap_or(name);
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        let key = ResourceKey::new(group, plural);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// What one object counts for.
fn usage_of(key: &ResourceKey, object: &Value) -> Usage {
    let mut usage = Usage::new();
    let one = Quantity::whole(1);
    let (group, plural) = (&*key.group, &*key.plural);
    if group.is_empty() && plural == "pods" {
        if matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
            return usage;
        }
        let requirements = builtin::pod_requirements(&object["spec"]);
        for (name, amount) in requirements.requests {
            if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                usage.insert(name.clone(), amount);
            }
            usage.insert(format!("requests.{name}"), amount);
        }
        for (name, amount) in requirements.limits {
            usage.insert(format!("limits.{name}"), amount);
        }
    }
    let qualified = if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    };
    usage.insert(format!("count/{qualified}"), one);
    if group.is_empty() {
        usage.insert(plural.to_owned(), one);
        if plural == "services" {
            let nodes = matches!(object["spec"]["type"].as_str(), Some("NodePort" | "LoadBalancer"));
            if nodes {
                let ports = object["spec"]["ports"].as_array().map_or(0, Vec::len);
                usage.insert(
                    "services.nodeports".into(),
                    Quantity::whole(i64::try_from(ports).unwrap_or(0)),
                );
            }
            if object["spec"]["type"] == "LoadBalancer" {
                usage.insert("services.loadbalancers".into(), one);
            }
        }
    }
    usage
}

/// Scopes restrict a quota to some pods.
fn in_scope(spec: &Value, resource: &Resource, object: &Value) -> bool {
    let scopes = object::strings(&spec["scopes"]);
    scopes.iter().all(|scope| {
        let pod = resource.is("", "pods");
        let best_effort = || builtin::qos_class(&object["spec"]) == "BestEffort";
        let terminating = || object["spec"]["activeDeadlineSeconds"].is_number();
        match scope.as_str() {
            "BestEffort" => pod && best_effort(),
            "NotBestEffort" => pod && !best_effort(),
            "Terminating" => pod && terminating(),
            "NotTerminating" => pod && !terminating(),
            _ => false,
        }
    })
}

fn quantities(map: &Value) -> Usage {
    let entries = map.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), Quantity::from_value(value)?)))
        .collect()
}

/// Brings the status of every quota up to date.
pub(crate) fn refresh(api: &Api) {
    let key = api.core("resourcequotas");
    let (quotas, _) = api.store.list(&key, None);
    for quota in quotas {
        let used: Map<String, Value> = used(api, &quota)
            .into_iter()
            .map(|(name, amount)| (name, amount.to_string().into()))
            .collect();
        let mut next = quota.value.clone();
        next["status"] = serde_json::json!({ "hard": quota.value["spec"]["hard"], "used": used });
        if next != quota.value {
            // Somebody else's write is as good: the next round counts again.
            let _ = api.store.update(&key, next, quota.revision);
        }
    }
}
