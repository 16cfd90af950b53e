//! What admission would do, asked without the API server: whether an object as it is stored would come out changed.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, Service};
use serde::Serialize;
use serde_json::{Value, json};

use crate::admission::Context;
use crate::notices::{Notice, Reason};
use crate::outcome::Outcome;
use crate::plans::Plans;
use crate::pod::Sidecars;
use crate::review::{self, Read, Request, ReviewError};
use crate::settings::Settings;
use crate::{hpa, pod, service, view};

/// What an empty patch of an object would come to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Paths of the fields that would change.
    paths: Vec<String>,
    /// What its owner would be told.
    notices: Vec<Notice>,
}

impl Pending {
    /// What would become of a Service.
    #[must_use]
    pub fn of_service(plans: &dyn Plans, service: &Service) -> Self {
        let review = question(service);
        Self::after(plans, review::read::<view::Service<'_>>(&review), service::admit)
    }

    /// What would become of a HorizontalPodAutoscaler.
    #[must_use]
    pub fn of_autoscaler(plans: &dyn Plans, autoscaler: &HorizontalPodAutoscaler) -> Self {
        let review = question(autoscaler);
        Self::after(
            plans,
            review::read::<view::HorizontalPodAutoscaler<'_>>(&review),
            hpa::admit,
        )
    }

    /// What would become of a running pod, at `pods/resize`.
    #[must_use]
    pub fn of_pod(plans: &dyn Plans, pod: &Pod) -> Self {
        let review = question(pod);
        Self::after(plans, review::read::<view::Pod<'_>>(&review), pod::admit_resize)
    }

    fn after<'b, T>(
        plans: &dyn Plans,
        read: Result<Read<'b, T>, ReviewError>,
        admit: impl Fn(&Context<'_>, &Request<'b, T>) -> Outcome,
    ) -> Self {
        let Ok(Read::Whole(request)) = read else {
            return Self::default();
        };
        let context = Context {
            plans,
            settings: &Settings::default(),
            sidecars: &Sidecars::default(),
        };
        let outcome = admit(&context, &request);
        let operations: Vec<Value> = serde_json::from_slice(&outcome.patch.to_json()).unwrap_or_default();
        let path = |operation: &Value| operation["path"].as_str().map(str::to_owned);
        Self {
            paths: operations.iter().filter_map(path).collect(),
            notices: outcome.notices,
        }
    }

    /// Whether nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether a Service would send to another port.
    #[must_use]
    pub fn leads_elsewhere(&self) -> bool {
        self.paths.iter().any(|path| path.ends_with("/targetPort"))
    }

    /// Sentences on what a LimitRange or a ResourceQuota takes away.
    pub fn caps(&self) -> impl Iterator<Item = &str> {
        let caps = self.notices.iter().filter(|notice| notice.reason == Reason::Capped);
        caps.map(|notice| notice.message.as_str())
    }
}

/// The review of an empty patch.
fn question(object: &impl Serialize) -> Vec<u8> {
    // Through text, as objects are written elsewhere: to go straight to a value would take the same code a second time.
    let object: Value = serde_json::from_slice(&serde_json::to_vec(object).unwrap_or_default()).unwrap_or_default();
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "pending",
            "operation": "UPDATE",
            "namespace": object["metadata"]["namespace"],
            "name": object["metadata"]["name"],
            "dryRun": true,
            "object": object,
            "oldObject": object,
        },
    });
    review.to_string().into_bytes()
}
