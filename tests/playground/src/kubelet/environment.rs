//! The environment and the command line of a container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector, Secret,
};
use kube::{Api, Client, ResourceExt};
use thiserror::Error;

use super::quantity::{Resources, parse};

/// Why a container cannot be configured.
#[derive(Debug, Error)]
pub enum EnvironmentError {
    /// A ConfigMap or Secret, or a key of it, is not there.
    #[error("{0}")]
    Missing(String),
    /// A field that the downward API does not have.
    #[error("unsupported field {0} in the environment")]
    UnknownField(String),
    /// The API did not answer.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// What the downward API can tell of a pod.
pub struct Facts<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its address.
    pub pod_ip: String,
    /// The node's address.
    pub node_ip: String,
    /// What the node has, for containers without a limit.
    pub allocatable: Resources,
}

/// Resolves the environment of a container in order, so that later values can refer to earlier ones.
///
/// # Errors
/// When something referred to is not there.
pub async fn resolve(
    client: &Client,
    facts: &Facts<'_>,
    container: &Container,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let mut variables = imported(client, facts, container).await?;
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(client, facts, container, variable, &variables).await? {
            variables.insert(variable.name.clone(), value);
        }
    }
    Ok(variables)
}

async fn imported(
    client: &Client,
    facts: &Facts<'_>,
    container: &Container,
) -> Result<BTreeMap<String, String>, EnvironmentError> {
    let namespace = facts.pod.namespace().unwrap_or_default();
    let mut variables = BTreeMap::new();
    for source in container.env_from.iter().flatten() {
        let (data, optional) = if let Some(reference) = &source.config_map_ref {
            (
                config_map(client, &namespace, &reference.name).await?,
                reference.optional,
            )
        } else if let Some(reference) = &source.secret_ref {
            (secret(client, &namespace, &reference.name).await?, reference.optional)
        } else {
            continue;
        };
        let name = source.config_map_ref.as_ref().map(|reference| &reference.name);
        let name = name.or(source.secret_ref.as_ref().map(|reference| &reference.name));
        match data {
            Some(data) => {
                let prefix = source.prefix.clone().unwrap_or_default();
                variables.extend(data.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)));
            }
            None if optional == Some(true) => {}
            None => {
                return Err(EnvironmentError::Missing(format!(
                    "{:?} not found",
                    name.cloned().unwrap_or_default()
                )));
            }
        }
    }
    Ok(variables)
}

async fn config_map(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<BTreeMap<String, String>>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.map(|map| map.data.unwrap_or_default()))
}

async fn secret(client: &Client, namespace: &str, name: &str) -> kube::Result<Option<BTreeMap<String, String>>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let data = api.get_opt(name).await?.map(|secret| secret.data.unwrap_or_default());
    Ok(data.map(|data| data.into_iter().map(|(key, value)| (key, text(value.0))).collect()))
}

async fn value_of(
    client: &Client,
    facts: &Facts<'_>,
    container: &Container,
    variable: &EnvVar,
    earlier: &BTreeMap<String, String>,
) -> Result<Option<String>, EnvironmentError> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), earlier)));
    };
    if let Some(field) = &source.field_ref {
        return field_of(facts, field).map(Some);
    }
    if let Some(field) = &source.resource_field_ref {
        return resource_of(facts, container, field).map(Some);
    }
    keyed(client, &facts.pod.namespace().unwrap_or_default(), source).await
}

async fn keyed(client: &Client, namespace: &str, source: &EnvVarSource) -> Result<Option<String>, EnvironmentError> {
    let (data, name, key, optional) = if let Some(reference) = &source.config_map_key_ref {
        (
            config_map(client, namespace, &reference.name).await?,
            &reference.name,
            &reference.key,
            reference.optional,
        )
    } else if let Some(reference) = &source.secret_key_ref {
        (
            secret(client, namespace, &reference.name).await?,
            &reference.name,
            &reference.key,
            reference.optional,
        )
    } else {
        return Err(EnvironmentError::UnknownField("valueFrom".into()));
    };
    match data.and_then(|mut data| data.remove(key)) {
        Some(value) => Ok(Some(value)),
        None if optional == Some(true) => Ok(None),
        None => Err(EnvironmentError::Missing(format!(
            "couldn't find key {key} in {namespace}/{name}"
        ))),
    }
}

fn field_of(facts: &Facts<'_>, field: &ObjectFieldSelector) -> Result<String, EnvironmentError> {
    let pod = facts.pod;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    let value = match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_else(|| "default".into()),
        "status.podIP" | "status.podIPs" => facts.pod_ip.clone(),
        "status.hostIP" | "status.hostIPs" => facts.node_ip.clone(),
        _ => {
            let keyed = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
            let found = keyed("metadata.labels['").map(|key| pod.labels().get(&key).cloned());
            let found =
                found.or_else(|| keyed("metadata.annotations['").map(|key| pod.annotations().get(&key).cloned()));
            found
                .ok_or_else(|| EnvironmentError::UnknownField(path.to_owned()))?
                .unwrap_or_default()
        }
    };
    Ok(value)
}

fn resource_of(facts: &Facts<'_>, own: &Container, field: &ResourceFieldSelector) -> Result<String, EnvironmentError> {
    let named = field.container_name.as_ref().and_then(|name| {
        let spec = facts.pod.spec.as_ref()?;
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .find(|container| container.name == *name)
    });
    let resources = named.unwrap_or(own).resources.as_ref();
    let (limits, requests) = (Resources::limits(resources), Resources::requests(resources));
    let value = match field.resource.as_str() {
        "limits.cpu" => limits.cpu.or(facts.allocatable.cpu),
        "limits.memory" => limits.memory.or(facts.allocatable.memory),
        "requests.cpu" => requests.cpu,
        "requests.memory" => requests.memory,
        other => return Err(EnvironmentError::UnknownField(other.to_owned())),
    };
    let divisor = field
        .divisor
        .as_ref()
        .and_then(parse)
        .filter(|divisor| *divisor > 0.0)
        .unwrap_or(1.0);
    Ok(format!("{:.0}", (value.unwrap_or(0.0) / divisor).ceil()))
}

/// Replaces `$(NAME)` by the variable's value; `$$` is one dollar, an unknown name stays as it is.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let name = rest.strip_prefix('(').and_then(|open| open.split_once(')'));
        match name.and_then(|(name, after)| Some((variables.get(name)?, after))) {
            Some((value, after)) => {
                expanded.push_str(value);
                rest = after;
            }
            None => expanded.push('$'),
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn variables() -> BTreeMap<String, String> {
        BTreeMap::from([("POD_IP".into(), "127.1.2.3".into())])
    }

    #[test]
    fn references_are_expanded_and_doubled_dollars_are_not() {
        assert_eq!(expand("http://$(POD_IP):80", &variables()), "http://127.1.2.3:80");
        assert_eq!(
            expand("$$(POD_IP) $(NONE) $(open $x", &variables()),
            "$(POD_IP) $(NONE) $(open $x"
        );
    }

    #[test]
    fn the_downward_api_tells_fields_and_resources() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "node", "containers": [
                {"name": "app", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "64Mi"}}},
            ]},
        }))
        .unwrap();
        let facts = Facts {
            pod: &pod,
            pod_ip: "127.1.2.3".into(),
            node_ip: "127.1.0.1".into(),
            allocatable: Resources {
                cpu: Some(8.0),
                memory: Some(1e9),
            },
        };
        let field = |path: &str| {
            let selector = ObjectFieldSelector {
                field_path: path.into(),
                api_version: None,
            };
            field_of(&facts, &selector)
        };
        assert_eq!(field("status.podIP").unwrap(), "127.1.2.3");
        assert_eq!(field("metadata.labels['app']").unwrap(), "web");
        assert_eq!(field("metadata.annotations['none']").unwrap(), "");
        assert!(field("spec.colour").is_err());
        let own = &pod.spec.as_ref().unwrap().containers[0];
        let resource =
            |json: serde_json::Value| resource_of(&facts, own, &serde_json::from_value(json).unwrap()).unwrap();
        assert_eq!(resource(json!({"resource": "limits.cpu"})), "2");
        assert_eq!(resource(json!({"resource": "limits.cpu", "divisor": "1m"})), "1500");
        assert_eq!(resource(json!({"resource": "requests.memory", "divisor": "1Mi"})), "64");
        assert_eq!(resource(json!({"resource": "limits.memory"})), "1000000000");
    }
}
