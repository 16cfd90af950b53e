//! Discovery: which groups, versions and resources there are.

use std::net::SocketAddr;

use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::http::{Response, response};
use super::object;
use super::registry::{Resource, Served};

/// `/version`. The minor version is the one whose behaviour this server follows.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.0+playground", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub(super) fn core_versions(address: SocketAddr) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string() }],
    })
}

/// `/apis`.
pub(super) fn groups(served: &Served) -> Value {
    let groups: Vec<Value> = served
        .groups()
        .iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_body(group, versions))
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/apis/GROUP`.
pub(super) fn group(served: &Served, name: &str) -> Option<Value> {
    let groups = served.groups();
    let (group, versions) = groups.iter().find(|(group, _)| group == name && !group.is_empty())?;
    let mut body = group_body(group, versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

fn group_body(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({ "groupVersion": format!("{group}/{version}"), "version": version });
    let entries: Vec<Value> = versions.iter().map(entry).collect();
    json!({ "name": group, "versions": entries, "preferredVersion": entries.first() })
}

/// `/api/VERSION` and `/apis/GROUP/VERSION`.
pub(super) fn resources(served: &Served, group: &str, version: &str) -> Option<Value> {
    let mut entries = Vec::new();
    for resource in served.of(group, version) {
        entries.push(entry(resource));
        for (name, group, version, kind, verbs) in subresources(resource) {
            let mut entry = json!({
                "name": format!("{}/{name}", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": kind, "verbs": verbs,
            });
            if group != resource.group {
                entry["group"] = group.into();
                entry["version"] = version.into();
            }
            entries.push(entry);
        }
    }
    let group_version = object::api_version(group, version);
    let list = json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries,
    });
    (!entries.is_empty()).then_some(list)
}

fn entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs(),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    entry
}

type Subresource = (&'static str, String, String, String, &'static [&'static str]);

/// Name, group, version and kind of the objects, and verbs.
fn subresources(resource: &Resource) -> Vec<Subresource> {
    const CHANGE: &[&str] = &["get", "patch", "update"];
    const CREATE: &[&str] = &["create"];
    const GET: &[&str] = &["get"];
    let own = |name, kind: &str, verbs| {
        (
            name,
            resource.group.clone(),
            resource.version.clone(),
            kind.to_owned(),
            verbs,
        )
    };
    let mut found = Vec::new();
    if resource.status {
        found.push(own("status", &resource.kind, CHANGE));
    }
    if resource.scale.is_some() {
        found.push((
            "scale",
            "autoscaling".to_owned(),
            "v1".to_owned(),
            "Scale".to_owned(),
            CHANGE,
        ));
    }
    for (name, kind) in &resource.subresources {
        match *name {
            "eviction" => found.push((
                "eviction",
                "policy".to_owned(),
                "v1".to_owned(),
                "Eviction".to_owned(),
                CREATE,
            )),
            "token" => {
                found.push((
                    "token",
                    "authentication.k8s.io".to_owned(),
                    "v1".to_owned(),
                    (*kind).to_owned(),
                    CREATE,
                ));
            }
            "log" => found.push(own("log", kind, GET)),
            "binding" => found.push(own("binding", kind, CREATE)),
            name => found.push(own(name, kind, CHANGE)),
        }
    }
    found
}

/// Everything at once, as clients since 1.26 ask for it.
pub(super) fn aggregated(served: &Served, core: bool) -> Response {
    let items: Vec<Value> = served
        .groups()
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| aggregated_version(served, group, version))
                .collect();
            json!({ "metadata": { "name": group, "creationTimestamp": null }, "versions": versions })
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut response = response::json(StatusCode::OK, &body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
    );
    response
}

fn aggregated_version(served: &Served, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = served
        .of(group, version)
        .map(|resource| aggregated_resource(resource))
        .collect();
    json!({ "version": version, "freshness": "Current", "resources": resources })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs(),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let subresources: Vec<Value> = subresources(resource)
        .iter()
        .map(|(name, group, version, name_of_kind, verbs)| {
            json!({ "subresource": name, "responseKind": kind(group, version, name_of_kind), "verbs": verbs })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
