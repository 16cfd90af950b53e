//! What a ServiceAccount may do: RBAC, as Kubernetes' own authoriser reads it.
//!
//! Only ServiceAccounts outside of `kube-system` are asked for their rights. The controllers of this cluster, its nodes and
//! its administrator have every right.

use std::collections::BTreeSet;

use http::Method;
use parking_lot::Mutex;
use serde_json::Value;

use super::api::Api;
use super::http::{Request, Target};
use super::status::{ApiError, ApiResult};
use super::store::{ObjectKey, ResourceKey};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What somebody asked for, and whether they may.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The user.
    pub user: String,
    /// For example `get`, `list`, `deletecollection`.
    pub verb: String,
    /// Group of the resource; empty for the core group.
    pub group: String,
    /// For example `pods` or `pods/resize`.
    pub resource: String,
    /// Whether a role grants it.
    pub granted: bool,
}

/// Everything that was asked for by those who are asked for their rights, each kind of request once.
#[derive(Default)]
pub(super) struct Log(Mutex<BTreeSet<Asked>>);

impl Log {
    pub(super) fn all(&self) -> Vec<Asked> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Refuses what no role grants.
pub(super) fn check(api: &Api, request: &Request, target: &Target) -> ApiResult<()> {
    let Some(account) = asked_account(&request.user.name) else {
        return Ok(());
    };
    // Anybody may ask who they are and what they may do.
    if target.plural.starts_with("selfsubject") {
        return Ok(());
    }
    let wish = Wish::of(request, target);
    let granted = is_granted(api, account, &wish);
    api.asked.0.lock().insert(Asked {
        user: request.user.name.clone(),
        verb: wish.verb.to_owned(),
        group: target.group.clone(),
        resource: wish.resource.clone(),
        granted,
    });
    if granted {
        return Ok(());
    }
    let place = target.namespace.as_ref().map_or_else(
        || "at the cluster scope".to_owned(),
        |namespace| format!("in the namespace \"{namespace}\""),
    );
    let why = format!(
        "User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {place}",
        request.user.name, wish.verb, wish.resource, target.group
    );
    Err(ApiError::forbidden(&target.group, &target.plural, &wish.name, &why))
}

/// Namespace and name of a ServiceAccount that is asked for its rights.
fn asked_account(user: &str) -> Option<(&str, &str)> {
    let account = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (account.0 != "kube-system").then_some(account)
}

struct Wish<'a> {
    verb: &'static str,
    group: &'a str,
    resource: String,
    namespace: Option<&'a str>,
    name: String,
}

impl<'a> Wish<'a> {
    fn of(request: &Request, target: &'a Target) -> Self {
        let named = target.name.is_some();
        let verb = match request.method {
            Method::GET if named => "get",
            Method::GET if request.flag("watch") => "watch",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if named => "delete",
            _ => "deletecollection",
        };
        // A list of one name counts as a request for that name.
        let chosen = request
            .query("fieldSelector")
            .and_then(|fields| fields.strip_prefix("metadata.name="));
        let name = target.name.as_deref().or(chosen).unwrap_or_default().to_owned();
        let resource = match &target.subresource {
            Some(subresource) => format!("{}/{subresource}", target.plural),
            None => target.plural.clone(),
        };
        // A Namespace is within itself.
        let within = (target.group.is_empty() && target.plural == "namespaces")
            .then_some(target.name.as_deref())
            .flatten();
        Self {
            verb,
            group: &target.group,
            resource,
            namespace: target.namespace.as_deref().or(within),
            name,
        }
    }

    fn is_within(&self, rule: &Value) -> bool {
        let holds = |field: &str, wanted: &str| strings(rule, field).any(|one| one == wanted || one == "*");
        let names = &rule["resourceNames"];
        holds("verbs", self.verb)
            && holds("apiGroups", self.group)
            && holds("resources", &self.resource)
            && (names.as_array().is_none_or(Vec::is_empty)
                || strings(rule, "resourceNames").any(|name| name == self.name))
    }
}

fn is_granted(api: &Api, account: (&str, &str), wish: &Wish<'_>) -> bool {
    let everywhere = bound(api, "clusterrolebindings", None, account);
    let here = wish
        .namespace
        .map(|namespace| bound(api, "rolebindings", Some(namespace), account));
    let roles = everywhere.into_iter().chain(here.into_iter().flatten());
    roles.into_iter().any(|role| {
        let rules = role["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().any(|rule| wish.is_within(rule))
    })
}

/// The roles that bindings of a kind give to an account.
fn bound(api: &Api, bindings: &str, namespace: Option<&str>, account: (&str, &str)) -> Vec<Value> {
    let (bindings, _) = api.store.list(&ResourceKey::new(GROUP, bindings), namespace);
    let of_account = bindings.iter().filter(|binding| {
        let subjects = binding.value["subjects"].as_array();
        subjects.into_iter().flatten().any(|subject| {
            subject["kind"] == "ServiceAccount" && subject["namespace"] == account.0 && subject["name"] == account.1
        })
    });
    let roles = of_account.filter_map(|binding| {
        let reference = &binding.value["roleRef"];
        let (plural, namespace) = match reference["kind"].as_str()? {
            "Role" => ("roles", namespace.unwrap_or_default()),
            _ => ("clusterroles", ""),
        };
        let key = ObjectKey::new(namespace, reference["name"].as_str()?);
        Some(api.store.get(&ResourceKey::new(GROUP, plural), &key)?.value.clone())
    });
    roles.collect()
}

fn strings<'v>(rule: &'v Value, field: &str) -> impl Iterator<Item = &'v str> {
    rule[field].as_array().into_iter().flatten().filter_map(Value::as_str)
}
