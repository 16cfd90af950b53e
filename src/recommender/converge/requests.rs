//! The requests that ask for re-admission, each a dry run first.

use std::fmt::{self, Debug};
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;
use tracing::{debug, info};

use super::Standing;
use super::compare::asked_for;
use crate::recommender::lease::Leadership;
use crate::report::metrics::CycleMetrics;

/// Longest wait for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a request.
pub enum Outcome {
    /// Admission set the values and they took effect.
    Done,
    /// The dry run changed something and the request itself did not.
    NotAdmitted,
    /// Admission had nothing to change, or is not at work.
    Unchanged,
    /// The API server refused, and will again: asking is of no use.
    Refused(String),
    /// No answer, or one that another time may be different: a later cycle asks again.
    Failed(String),
}

impl Outcome {
    /// How far a workload is by it: `done` for `reason`, or still without an answer of admission `about` what was asked.
    pub fn standing(self, reason: &'static str, done: String, about: &str) -> Standing {
        match self {
            Self::Done => Standing::behind(reason, done),
            Self::NotAdmitted | Self::Unchanged => {
                Standing::behind("NotAdmitted", format!("admission does not answer {about} yet"))
            }
            Self::Refused(error) => Standing::behind("Refused", error),
            Self::Failed(error) => Standing::behind("Failed", error),
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Refused(String),
    Passing(String),
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self::Refused(error),
            Failure::Passing(error) => Self::Failed(error),
        }
    }
}

impl From<kube::Error> for Failure {
    /// Only a judgement of the request itself is one for good (400, 422), or that the cluster does not know it (404, 405).
    /// A conflict, a quota or policy (403), an API server that is away or has too much to do say nothing about it.
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if matches!(status.code, 400 | 404 | 405 | 422) => {
                Self::Refused(error.to_string())
            }
            _ => Self::Passing(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) | Self::Passing(error) => formatter.write_str(error),
        }
    }
}

/// Sends requests while this replica leads.
#[derive(Clone)]
pub struct Requests {
    client: Client,
    leadership: Leadership,
    metrics: CycleMetrics,
}

impl Requests {
    /// Sends nothing once `leadership` is lost.
    pub fn new(client: Client, leadership: Leadership, metrics: CycleMetrics) -> Self {
        Self {
            client,
            leadership,
            metrics,
        }
    }

    /// An empty patch to the scale of a Deployment that asks for `present` replicas.
    pub async fn scale(&self, namespace: &str, name: &str, present: u32) -> Outcome {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let ask = |dry_run| -> Asking<'_, u32> {
            let api = api.clone();
            Box::pin(async move {
                let scale = self
                    .send(api.patch_scale(name, &parameters(dry_run), &nothing()))
                    .await?;
                let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
                Ok(u32::try_from(replicas).unwrap_or_default())
            })
        };
        let outcome = twice(ask, &present).await;
        self.note("deployments/scale", &outcome, namespace, name);
        outcome
    }

    /// An empty patch to the size of a pod.
    pub async fn resize(&self, pod: &Pod) -> Outcome {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let ask = |dry_run| -> Asking<'_, _> {
            let (api, name) = (api.clone(), name.clone());
            Box::pin(async move {
                let (parameters, patch) = (parameters(dry_run), nothing());
                let answer = self
                    .send(api.patch_subresource("resize", &name, &parameters, &patch))
                    .await?;
                Ok(asked_for(&answer))
            })
        };
        let outcome = twice(ask, &asked_for(pod)).await;
        self.note("pods/resize", &outcome, &namespace, &name);
        outcome
    }

    /// An empty patch to an object, judged by what becomes of its spec.
    pub async fn object<K, S>(&self, namespace: &str, name: &str, spec: fn(K) -> S) -> Outcome
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send,
        S: PartialEq + Send,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let present = match self.send(api.get(name)).await {
            Ok(present) => spec(present),
            Err(failure) => return failure.into(),
        };
        let ask = |dry_run| -> Asking<'_, S> {
            let api = api.clone();
            Box::pin(async move {
                Ok(spec(
                    self.send(api.patch(name, &parameters(dry_run), &nothing())).await?,
                ))
            })
        };
        let outcome = twice(ask, &present).await;
        self.note(&K::plural(&()), &outcome, namespace, name);
        outcome
    }

    /// Evicts the pod of a unique identifier, and none that has its name by now.
    pub async fn evict(&self, namespace: &str, name: &str, unique: &str) -> Result<(), String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let preconditions = Preconditions {
            uid: Some(unique.to_owned()),
            resource_version: None,
        };
        let parameters = EvictParams {
            delete_options: Some(DeleteParams::default().preconditions(preconditions)),
            ..EvictParams::default()
        };
        let evicted = self.send(api.evict(name, &parameters)).await;
        self.metrics
            .eviction(if evicted.is_ok() { "success" } else { "refused" });
        evicted
            .map(|_| info!(namespace, name, "evicted"))
            .map_err(|failure| failure.to_string())
    }

    /// Sends a request, if this replica still may.
    async fn send<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
        let Some(left) = self.leadership.remaining() else {
            return Err(Failure::Passing("another replica recommends now".to_owned()));
        };
        let patience = PATIENCE.min(left);
        match timeout(patience, request).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Passing(format!("no answer within {patience:?}"))),
        }
    }

    fn note(&self, resource: &str, outcome: &Outcome, namespace: &str, name: &str) {
        let word = match outcome {
            Outcome::Done => "success",
            Outcome::NotAdmitted => "not_admitted",
            Outcome::Unchanged => "unchanged",
            Outcome::Refused(_) => "refused",
            Outcome::Failed(_) => "failed",
        };
        self.metrics.readmission(resource, word);
        match outcome {
            Outcome::Done => info!(resource, namespace, name, "re-admitted"),
            Outcome::Refused(error) | Outcome::Failed(error) => {
                debug!(resource, namespace, name, outcome = word, error, "re-admission");
            }
            _ => debug!(resource, namespace, name, outcome = word, "re-admission"),
        }
    }
}

/// A request under way.
type Asking<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// Asks as a dry run and, where that changes something, in earnest.
async fn twice<'a, T: PartialEq>(ask: impl Fn(bool) -> Asking<'a, T>, present: &T) -> Outcome {
    match ask(true).await {
        Ok(answer) if answer == *present => Outcome::Unchanged,
        Ok(_) => match ask(false).await {
            Ok(answer) if answer == *present => Outcome::NotAdmitted,
            Ok(_) => Outcome::Done,
            Err(failure) => failure.into(),
        },
        Err(failure) => failure.into(),
    }
}

fn parameters(dry_run: bool) -> PatchParams {
    PatchParams {
        dry_run,
        ..PatchParams::default()
    }
}

/// The patch that changes nothing by itself.
fn nothing() -> Patch<serde_json::Value> {
    Patch::Merge(json!({}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Service;
    use kube::core::Status;

    use super::*;
    use crate::recommender::fencing::{Server, deposed, leading};
    use crate::report::metrics::Metrics;

    fn pod() -> Pod {
        let pod = json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u"}, "spec": {"containers": []}});
        serde_json::from_value(pod).unwrap()
    }

    async fn ask_everything(server: &Server, leadership: Leadership) {
        let metrics = Metrics::new(Arc::default()).unwrap();
        let requests = Requests::new(server.client(), leadership, metrics.cycles);
        requests.scale("shop", "web", 3).await;
        requests.resize(&pod()).await;
        requests.object("shop", "web", |service: Service| service.spec).await;
        let _ = requests.evict("shop", "web-1", "u").await;
    }

    #[tokio::test]
    async fn only_a_leader_asks() {
        let server = Server::default();
        ask_everything(&server, deposed()).await;
        assert_eq!(server.asked(), 0, "nothing was sent");
        ask_everything(&server, leading(Duration::from_secs(600))).await;
        assert!(server.asked() >= 4, "each of them sends something");
    }

    #[test]
    fn only_a_judgement_of_the_request_is_a_refusal() {
        let is_refusal = |code| {
            let error = kube::Error::Api(Status::failure("no", "Reason").with_code(code).boxed());
            matches!(Failure::from(error), Failure::Refused(_))
        };
        for code in [400, 404, 405, 422] {
            assert!(is_refusal(code), "{code}");
        }
        for code in [401, 403, 409, 429, 500, 503, 504] {
            assert!(!is_refusal(code), "{code}");
        }
    }
}
