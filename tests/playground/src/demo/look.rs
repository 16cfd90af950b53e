//! Looks at the cluster as any client could, and at the load.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::controllers::objects::{is_active, is_ready};
use crate::kubelet::quantity::{Resources, parse};
use crate::load::Generator;

/// Where the workload lives.
pub const NAMESPACE: &str = "shop";
/// Name of the Deployment, its Service and its Recommendation.
pub const NAME: &str = "web";
/// The container that serves.
pub const CONTAINER: &str = "application";
/// The container that Valence puts beside it.
pub const SIDECAR: &str = "envoy";

/// What was decided for the workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Replicas.
    pub replicas: Option<i64>,
    /// Requests of the serving container.
    pub requests: Resources,
    /// Limits of the serving container.
    pub limits: Resources,
    /// State of the model.
    pub state: String,
    /// Why, in a sentence.
    pub reason: String,
    /// When.
    pub decided_at: String,
}

/// What is there at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Seconds since the load began.
    pub seconds: f64,
    /// Requests per second over the last seconds.
    pub offered: f64,
    /// 99th percentile over the last seconds, as the client sees it.
    pub p99: Option<Duration>,
    /// Share of requests within the objective over the last minute.
    pub within: f64,
    /// Replicas that the Deployment asks for.
    pub replicas: i64,
    /// Pods that are ready.
    pub ready: usize,
    /// Pods that are not leaving.
    pub pods: usize,
    /// Pods with the sidecar.
    pub injected: usize,
    /// Pods whose serving container has the recommended resources, different from those in the manifest.
    pub as_recommended: usize,
    /// Requests of the serving container in the newest pod.
    pub requests: Resources,
    /// Limits of the serving container in the newest pod.
    pub limits: Resources,
    /// The decision, once there is one.
    pub decision: Option<Decision>,
}

/// Looks once.
///
/// # Errors
/// Those of the API.
pub async fn look(client: &Client, load: &Generator, objective: Duration) -> kube::Result<Sight> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let deployment = deployments.get(NAME).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let mut pods = pods.list(&ListParams::default().labels("app=web")).await?.items;
    pods.retain(is_active);
    pods.sort_by_key(ResourceExt::creation_timestamp);
    let decision = decision(client).await?;
    let (recent, minute) = (load.last(15.0), load.last(60.0));
    let manifest = deployment
        .spec
        .template
        .spec
        .as_ref()
        .and_then(|spec| serving(&spec.containers));
    let newest = pods.last().and_then(|pod| serving(&pod.spec.as_ref()?.containers));
    Ok(Sight {
        seconds: load.elapsed(),
        offered: recent.rate(),
        p99: recent.latencies.quantile(0.99).map(Duration::from_secs_f64),
        within: 1.0 - minute.share_missed(objective),
        replicas: i64::from(deployment.spec.replicas.unwrap_or(1)),
        ready: pods.iter().filter(|pod| is_ready(pod)).count(),
        pods: pods.len(),
        injected: pods.iter().filter(|pod| has_sidecar(pod)).count(),
        as_recommended: pods
            .iter()
            .filter(|pod| follows(pod, decision.as_ref(), manifest))
            .count(),
        requests: Resources::requests(newest.and_then(|container| container.resources.as_ref())),
        limits: Resources::limits(newest.and_then(|container| container.resources.as_ref())),
        decision,
    })
}

fn serving(containers: &[Container]) -> Option<&Container> {
    containers.iter().find(|container| container.name == CONTAINER)
}

fn has_sidecar(pod: &Pod) -> bool {
    let Some(spec) = pod.spec.as_ref() else { return false };
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .any(|container| container.name == SIDECAR)
}

/// Whether the pod has what was recommended, and the manifest something else.
fn follows(pod: &Pod, decision: Option<&Decision>, manifest: Option<&Container>) -> bool {
    let (Some(decision), Some(spec)) = (decision, pod.spec.as_ref()) else {
        return false;
    };
    let Some(container) = serving(&spec.containers) else {
        return false;
    };
    let given = Resources::requests(container.resources.as_ref());
    let written = Resources::requests(manifest.and_then(|container| container.resources.as_ref()));
    given.cpu.is_some() && given == decision.requests && given != written
}

async fn decision(client: &Client) -> kube::Result<Option<Decision>> {
    let kind = GroupVersionKind::gvk("optimizer.valence.io", "v1alpha1", "Recommendation");
    let api: Api<DynamicObject> = Api::namespaced_with(
        client.clone(),
        NAMESPACE,
        &ApiResource::from_gvk_with_plural(&kind, "recommendations"),
    );
    Ok(api
        .get_opt(NAME)
        .await?
        .and_then(|recommendation| read(recommendation.data.get("status")?)))
}

fn read(status: &Value) -> Option<Decision> {
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    let containers = status["containers"].as_array().cloned().unwrap_or_default();
    let own = containers
        .into_iter()
        .find(|container| container["name"] == CONTAINER)
        .unwrap_or_default();
    let amount = |list: &str, name: &str| {
        let quantity = own[list][name].as_str()?.to_owned();
        parse(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(quantity))
    };
    let resources = |list: &str| Resources {
        cpu: amount(list, "cpu"),
        memory: amount(list, "memory"),
    };
    Some(Decision {
        replicas: status["replicas"].as_i64(),
        requests: resources("requests"),
        limits: resources("limits"),
        state: status["state"].as_str()?.to_owned(),
        reason: text("reason"),
        decided_at: text("decidedAt"),
    })
}

impl Decision {
    /// Whether numbers were recommended, and not only a state told.
    pub fn recommends(&self) -> bool {
        self.replicas.is_some() && self.requests.cpu.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str) -> Pod {
        let resources = json!({"requests": {"cpu": cpu, "memory": "256Mi"}});
        serde_json::from_value(json!({"spec": {"containers": [{"name": "application", "resources": resources}]}}))
            .unwrap()
    }

    fn decided() -> Decision {
        read(&json!({
            "state": "Confident", "reason": "because", "replicas": 3, "decidedAt": "2026-01-01T00:00:00Z",
            "containers": [
                {"name": "envoy", "requests": {"cpu": "10m"}},
                {"name": "application", "requests": {"cpu": "640m", "memory": "256Mi"}, "limits": {"cpu": "1280m"}},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_recommendation_is_read_for_the_serving_container() {
        let decision = decided();
        assert!(decision.recommends());
        assert_eq!(decision.requests.cpu, Some(0.64));
        assert_eq!(decision.limits.cpu, Some(1.28));
        assert!(!read(&json!({"state": "Cold"})).unwrap().recommends());
        assert_eq!(read(&json!({})), None);
    }

    #[test]
    fn a_pod_follows_only_when_it_has_what_the_manifest_does_not_say() {
        let manifest = pod("1").spec.unwrap().containers;
        let same = pod("640m").spec.unwrap().containers;
        assert!(follows(&pod("640m"), Some(&decided()), Some(&manifest[0])));
        assert!(!follows(&pod("1"), Some(&decided()), Some(&manifest[0])));
        assert!(!follows(&pod("640m"), Some(&decided()), Some(&same[0])));
        assert!(!follows(&pod("640m"), None, Some(&manifest[0])));
    }
}
