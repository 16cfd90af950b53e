//! The endpoints controllers: which addresses and ports serve each Service. A named target port is resolved for each
//! pod by itself, so pods that bear the name on different containers and numbers serve side by side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServicePort,
};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use super::informer::Informers;
use super::objects::{is_ready, phase, unless_gone};
use super::queue::{Key, key};
use super::{each, each_many, run};
use crate::tasks::Tasks;

/// Starts the controller.
pub fn start(informers: &Arc<Informers>, tasks: &Tasks, client: Client) {
    let known = Arc::clone(informers);
    let queue = run("endpoints", tasks, move |key| {
        reconcile(client.clone(), Arc::clone(&known), key)
    });
    each(tasks, informers.services.subscribe(), &queue, |service| {
        Some(key(service))
    });
    let known = Arc::clone(informers);
    each_many(tasks, informers.pods.subscribe(), &queue, move |pod| {
        let serves = |service: &Service| service.namespace() == pod.namespace() && is_selected(service, pod);
        known
            .services
            .store()
            .state_filter(serves)
            .iter()
            .map(|service| key(service.as_ref()))
            .collect()
    });
}

fn is_selected(service: &Service, pod: &Pod) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty()
            && selector
                .iter()
                .all(|(name, value)| pod.labels().get(name) == Some(value))
    })
}

async fn reconcile(
    client: Client,
    informers: Arc<Informers>,
    (namespace, name): Key,
) -> anyhow::Result<Option<Duration>> {
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let Some(service) = services.get_opt(&name).await? else {
        remove(&client, &namespace, &name).await?;
        return Ok(None);
    };
    if service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref())
        .is_none_or(BTreeMap::is_empty)
    {
        return Ok(None);
    }
    let here = |pod: &Pod| pod.namespace().as_deref() == Some(namespace.as_str()) && is_selected(&service, pod);
    let mut pods = informers.pods.store().state_filter(here);
    pods.sort_by_key(|pod| pod.name_any());
    let groups = groups(&service, &pods);
    write_endpoints(&client, &service, &groups).await?;
    write_slices(&client, &service, &groups).await?;
    Ok(None)
}

/// A pod with the ports that the Service's ports resolve to on it.
type Group = (Vec<ResolvedPort>, Vec<Member>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ResolvedPort {
    name: Option<String>,
    number: i32,
    protocol: String,
    app_protocol: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Member {
    address: String,
    node: Option<String>,
    target: ObjectReference,
    ready: bool,
    terminating: bool,
}

/// The pods of a Service, grouped by what its ports resolve to on them.
fn groups(service: &Service, pods: &[Arc<Pod>]) -> Vec<Group> {
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.clone())
        .unwrap_or_default();
    let mut groups: BTreeMap<Vec<ResolvedPort>, Vec<Member>> = BTreeMap::new();
    for pod in pods {
        let Some(member) = member(pod) else { continue };
        let resolved: Vec<ResolvedPort> = ports.iter().filter_map(|port| resolve(port, pod)).collect();
        if !resolved.is_empty() {
            groups.entry(resolved).or_default().push(member);
        }
    }
    groups.into_iter().collect()
}

fn member(pod: &Pod) -> Option<Member> {
    let address = pod.status.as_ref()?.pod_ip.clone()?;
    if matches!(phase(pod), "Succeeded" | "Failed") {
        return None;
    }
    Some(Member {
        address,
        node: pod.spec.as_ref()?.node_name.clone(),
        target: ObjectReference {
            kind: Some("Pod".into()),
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            uid: pod.uid(),
            ..ObjectReference::default()
        },
        ready: is_ready(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
    })
}

/// The number that a Service's port has on a pod. A name is looked up among the containers, then among the sidecars.
fn resolve(port: &ServicePort, pod: &Pod) -> Option<ResolvedPort> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
    let number = match port.target_port.as_ref() {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) => match name.parse() {
            Ok(number) => number,
            Err(_) => named_port(pod, name, &protocol)?,
        },
    };
    Some(ResolvedPort {
        name: port.name.clone(),
        number,
        protocol,
        app_protocol: port.app_protocol.clone(),
    })
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let is_sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(is_sidecar);
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let mut matching = ports
        .filter(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol);
    matching.next().map(|port| port.container_port)
}

fn subsets(groups: &[Group], publish_all: bool) -> Vec<EndpointSubset> {
    let subset = |(ports, members): &Group| {
        let staying: Vec<&Member> = members
            .iter()
            .filter(|member| !member.terminating || publish_all)
            .collect();
        let addresses = |wanted: bool| -> Option<Vec<EndpointAddress>> {
            let chosen: Vec<EndpointAddress> = staying
                .iter()
                .filter(|member| (member.ready || publish_all) == wanted)
                .map(|member| EndpointAddress {
                    ip: member.address.clone(),
                    node_name: member.node.clone(),
                    target_ref: Some(member.target.clone()),
                    hostname: None,
                })
                .collect();
            (!chosen.is_empty()).then_some(chosen)
        };
        let subset = EndpointSubset {
            addresses: addresses(true),
            not_ready_addresses: addresses(false),
            ports: Some(ports.iter().map(endpoint_port).collect()),
        };
        (subset.addresses.is_some() || subset.not_ready_addresses.is_some()).then_some(subset)
    };
    groups.iter().filter_map(subset).collect()
}

fn endpoint_port(port: &ResolvedPort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone(),
        port: port.number,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn publishes_all(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

async fn write_endpoints(client: &Client, service: &Service, groups: &[Group]) -> anyhow::Result<()> {
    let namespace = service.namespace().unwrap_or_default();
    let api: Api<Endpoints> = Api::namespaced(client.clone(), &namespace);
    let subsets = Some(subsets(groups, publishes_all(service)));
    let name = service.name_any();
    match api.get_opt(&name).await? {
        Some(present) if present.subsets.clone().unwrap_or_default() == subsets.clone().unwrap_or_default() => {}
        Some(_) => {
            let patch = Patch::Merge(json!({"subsets": subsets}));
            api.patch(&name, &PatchParams::default(), &patch).await?;
        }
        None => {
            let labels = service.metadata.labels.clone();
            let metadata = ObjectMeta {
                name: Some(name),
                namespace: Some(namespace),
                labels,
                ..ObjectMeta::default()
            };
            api.create(&PostParams::default(), &Endpoints { metadata, subsets })
                .await?;
        }
    }
    Ok(())
}

/// The slices that a Service should have: one for each way its ports resolve.
fn slices(service: &Service, groups: &[Group]) -> Vec<EndpointSlice> {
    let publish_all = publishes_all(service);
    let slice = |(index, (ports, members)): (usize, &Group)| EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{}-{index}", service.name_any())),
            namespace: service.namespace(),
            labels: Some(BTreeMap::from([
                ("kubernetes.io/service-name".into(), service.name_any()),
                (
                    "endpointslice.kubernetes.io/managed-by".into(),
                    "endpointslice-controller.k8s.io".into(),
                ),
            ])),
            owner_references: service.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".into(),
        endpoints: Some(members.iter().map(|member| endpoint(member, publish_all)).collect()),
        ports: Some(ports.iter().map(slice_port).collect()),
    };
    groups.iter().enumerate().map(slice).collect()
}

fn endpoint(member: &Member, publish_all: bool) -> Endpoint {
    Endpoint {
        addresses: vec![member.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(publish_all || member.ready && !member.terminating),
            serving: Some(member.ready),
            terminating: Some(member.terminating),
        }),
        node_name: member.node.clone(),
        target_ref: Some(member.target.clone()),
        ..Endpoint::default()
    }
}

fn slice_port(port: &ResolvedPort) -> SlicePort {
    SlicePort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

async fn write_slices(client: &Client, service: &Service, groups: &[Group]) -> anyhow::Result<()> {
    let namespace = service.namespace().unwrap_or_default();
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
    let present = slices_of(&api, &service.name_any()).await?;
    let wanted = slices(service, groups);
    for slice in &wanted {
        let name = slice.name_any();
        match present.iter().find(|present| present.name_any() == name) {
            Some(present) if present.endpoints == slice.endpoints && present.ports == slice.ports => {}
            Some(_) => {
                let patch = Patch::Merge(json!({"endpoints": slice.endpoints, "ports": slice.ports}));
                api.patch(&name, &PatchParams::default(), &patch).await?;
            }
            None => {
                api.create(&PostParams::default(), slice).await?;
            }
        }
    }
    for stale in present
        .iter()
        .filter(|slice| !wanted.iter().any(|wanted| wanted.name_any() == slice.name_any()))
    {
        unless_gone(api.delete(&stale.name_any(), &DeleteParams::default()).await)?;
    }
    Ok(())
}

async fn slices_of(api: &Api<EndpointSlice>, service: &str) -> anyhow::Result<Vec<EndpointSlice>> {
    let ours = format!(
        "kubernetes.io/service-name={service},endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io"
    );
    Ok(api.list(&ListParams::default().labels(&ours)).await?.items)
}

async fn remove(client: &Client, namespace: &str, name: &str) -> anyhow::Result<()> {
    let endpoints: Api<Endpoints> = Api::namespaced(client.clone(), namespace);
    unless_gone(endpoints.delete(name, &DeleteParams::default()).await)?;
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    for slice in slices_of(&api, name).await? {
        unless_gone(api.delete(&slice.name_any(), &DeleteParams::default()).await)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn service(target: serde_json::Value) -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": target}]},
        }))
        .unwrap()
    }

    fn pod(name: &str, ready: bool, spec: serde_json::Value) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"}},
                "spec": spec,
                "status": {
                    "phase": "Running", "podIP": format!("127.0.0.{}", name.len()),
                    "conditions": [{"type": "Ready", "status": status}],
                },
            }))
            .unwrap(),
        )
    }

    fn plain() -> serde_json::Value {
        json!({"containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}]})
    }

    fn injected() -> serde_json::Value {
        json!({
            "containers": [{"name": "app", "ports": [{"containerPort": 8080}]}],
            "initContainers": [
                {"name": "setup", "ports": [{"name": "http", "containerPort": 1}]},
                {"name": "envoy", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 8081}]},
            ],
        })
    }

    #[test]
    fn a_named_port_is_resolved_for_each_pod() {
        let pods = [pod("a", true, plain()), pod("bb", true, injected())];
        let groups = groups(&service(json!("http")), &pods);
        let numbers: Vec<i32> = groups.iter().map(|(ports, _)| ports[0].number).collect();
        assert_eq!(numbers, [8080, 8081]);
        let subsets = subsets(&groups, false);
        assert_eq!(subsets[0].addresses.as_ref().unwrap()[0].ip, "127.0.0.1");
        assert_eq!(subsets[1].addresses.as_ref().unwrap()[0].ip, "127.0.0.2");
        assert_eq!(slices(&service(json!("http")), &groups).len(), 2);
    }

    #[test]
    fn a_pod_without_the_name_serves_nothing() {
        let pods = [pod("a", true, plain())];
        assert!(groups(&service(json!("grpc")), &pods).is_empty());
    }

    #[test]
    fn unready_and_leaving_pods_are_told_apart() {
        let mut leaving = (*pod("ccc", true, plain())).clone();
        leaving.metadata.deletion_timestamp = Some(super::super::objects::now());
        let pods = [pod("a", true, plain()), pod("bb", false, plain()), Arc::new(leaving)];
        let groups = groups(&service(json!(8080)), &pods);
        let subset = &subsets(&groups, false)[0];
        assert_eq!(subset.addresses.as_ref().unwrap().len(), 1);
        assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 1);
        let slice = &slices(&service(json!(8080)), &groups)[0];
        let conditions: Vec<_> = slice
            .endpoints
            .iter()
            .flatten()
            .map(|endpoint| endpoint.conditions.clone().unwrap())
            .collect();
        assert_eq!(
            conditions.iter().map(|c| c.ready.unwrap()).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert_eq!(conditions[2].terminating, Some(true));
        assert_eq!(conditions[2].serving, Some(true));
    }
}
