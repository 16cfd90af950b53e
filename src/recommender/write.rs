//! Writes of the recommender: Recommendations and the statuses of ServiceLevelObjectives. Nothing else is written.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::lease::Leadership;
use crate::api::recommendation::{RecommendationSpec, RecommendationStatus, TargetReference};
use crate::api::{Recommendation, ServiceLevelObjective, ServiceLevelObjectiveStatus};

/// Longest wait for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who writes, in managed fields.
const FIELD_MANAGER: &str = "valence";

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This replica no longer recommends.
    #[error("another replica recommends now")]
    Deposed,
    /// Somebody else wrote meanwhile; what they wrote is read first.
    #[error("the object changed meanwhile")]
    Conflict,
    /// The object is gone, or its kind is.
    #[error("the object is gone")]
    Gone,
    /// The API server did not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Anything else.
    #[error(transparent)]
    Api(kube::Error),
}

impl WriteError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Deposed => "deposed",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Timeout(_) => "timeout",
            Self::Api(_) => "error",
        }
    }
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 404 => Self::Gone,
            // 422 where the test of the patch failed.
            kube::Error::Api(status) if matches!(status.code, 409 | 422) && !is_invalid(&status.message) => {
                Self::Conflict
            }
            _ => Self::Api(error),
        }
    }
}

/// How a write ended, in a short name for metrics.
pub fn outcome<T>(result: &Result<T, WriteError>) -> &'static str {
    result.as_ref().map_or_else(WriteError::outcome, |_| "success")
}

/// Whether a 422 is about the contents, not about the precondition.
fn is_invalid(message: &str) -> bool {
    message.contains("Invalid value") || message.contains("is invalid")
}

/// Writes while this replica leads.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: Leadership,
}

impl Writer {
    /// Writes only as long as `leadership` holds.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership) -> Self {
        Self { client, leadership }
    }

    /// A Recommendation as it is now, checkpoint and all.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn recommendation(&self, namespace: &str, name: &str) -> Result<Option<Recommendation>, WriteError> {
        let api: Api<Recommendation> = Api::namespaced(self.client.clone(), namespace);
        within(PATIENCE, api.get_opt(name)).await
    }

    /// Makes the Recommendation of a Deployment, owned by it.
    ///
    /// # Errors
    /// When it exists, or the API server does not answer.
    pub async fn create(&self, deployment: &Deployment) -> Result<Recommendation, WriteError> {
        let namespace = deployment.namespace().unwrap_or_default();
        let api: Api<Recommendation> = Api::namespaced(self.client.clone(), &namespace);
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.guarded(api.create(&parameters, &recommendation_of(deployment)))
            .await
    }

    /// Takes a Recommendation away that belongs to a Deployment of the same name that is no more.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn delete(&self, recommendation: &Recommendation) -> Result<(), WriteError> {
        let namespace = recommendation.namespace().unwrap_or_default();
        let api: Api<Recommendation> = Api::namespaced(self.client.clone(), &namespace);
        let preconditions = Preconditions {
            uid: recommendation.uid(),
            resource_version: recommendation.resource_version(),
        };
        let parameters = DeleteParams::default().preconditions(preconditions);
        match self.guarded(api.delete(&recommendation.name_any(), &parameters)).await {
            Ok(_) | Err(WriteError::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the status of a Recommendation that is still what was read.
    ///
    /// # Errors
    /// When somebody else wrote since, or the API server does not answer.
    pub async fn recommendation_status(
        &self,
        read: &Recommendation,
        status: &RecommendationStatus,
    ) -> Result<Recommendation, WriteError> {
        let api: Api<Recommendation> = Api::namespaced(self.client.clone(), &read.namespace().unwrap_or_default());
        self.status(&api, &read.name_any(), read.resource_version(), status)
            .await
    }

    /// Replaces the status of a ServiceLevelObjective that is still what was read.
    ///
    /// # Errors
    /// When somebody else wrote since, or the API server does not answer.
    pub async fn objective_status(
        &self,
        read: &ServiceLevelObjective,
        status: &ServiceLevelObjectiveStatus,
    ) -> Result<ServiceLevelObjective, WriteError> {
        let api: Api<ServiceLevelObjective> =
            Api::namespaced(self.client.clone(), &read.namespace().unwrap_or_default());
        self.status(&api, &read.name_any(), read.resource_version(), status)
            .await
    }

    /// A JSON patch replaces the status as a whole, and its test makes sure that nothing is overwritten unseen.
    async fn status<K>(
        &self,
        api: &Api<K>,
        name: &str,
        version: Option<String>,
        status: &impl Serialize,
    ) -> Result<K, WriteError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let operations = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]);
        let patch =
            serde_json::from_value(operations).map_err(|error| WriteError::Api(kube::Error::SerdeError(error)))?;
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        self.guarded(api.patch_status(name, &parameters, &Patch::Json::<()>(patch)))
            .await
    }

    async fn guarded<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
        let left = self.leadership.remaining().ok_or(WriteError::Deposed)?;
        within(PATIENCE.min(left), request).await
    }
}

async fn within<T>(patience: Duration, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    match timeout(patience, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(WriteError::Timeout(patience)),
    }
}

fn recommendation_of(deployment: &Deployment) -> Recommendation {
    let name = deployment.name_any();
    let owner = OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: name.clone(),
        uid: deployment.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Recommendation {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: deployment.namespace(),
            owner_references: Some(vec![owner]),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), "valence".to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: RecommendationSpec {
            target_ref: TargetReference {
                api_version: "apps/v1".to_owned(),
                kind: "Deployment".to_owned(),
                name,
            },
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::recommender::fencing::{Server, deposed, leading};

    fn deployment() -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"selector": {}, "template": {}},
        }))
        .unwrap()
    }

    fn objective() -> ServiceLevelObjective {
        serde_json::from_value(json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"name": "fast", "namespace": "shop", "resourceVersion": "1"},
            "spec": {"selector": {"slo": "fast"}, "objectives": []},
        }))
        .unwrap()
    }

    /// Every write there is; how many there are comes back.
    async fn write_everything(writer: &Writer) -> Vec<WriteError> {
        let recommendation = recommendation_of(&deployment());
        let all = [
            writer.create(&deployment()).await.err(),
            writer.delete(&recommendation).await.err(),
            writer
                .recommendation_status(&recommendation, &RecommendationStatus::default())
                .await
                .err(),
            writer
                .objective_status(&objective(), &ServiceLevelObjectiveStatus::default())
                .await
                .err(),
        ];
        all.into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn only_a_leader_writes() {
        let server = Server::default();
        let writer = Writer::new(server.client(), deposed());
        let refused = write_everything(&writer).await;
        assert!(
            refused.len() == 4 && refused.iter().all(|error| matches!(error, WriteError::Deposed)),
            "{refused:?}"
        );
        assert_eq!(server.asked(), 0, "nothing was sent");
        let writer = Writer::new(server.client(), leading(Duration::from_secs(600)));
        write_everything(&writer).await;
        assert_eq!(server.asked(), 4, "each of them sends something");
    }

    #[tokio::test]
    async fn a_write_is_given_up_when_trust_ends() {
        let server = Server::silent();
        let writer = Writer::new(server.client(), leading(Duration::from_millis(50)));
        let given_up = writer.create(&deployment()).await.unwrap_err();
        assert!(
            matches!(given_up, WriteError::Timeout(after) if after <= Duration::from_millis(50)),
            "{given_up:?}"
        );
    }
}
