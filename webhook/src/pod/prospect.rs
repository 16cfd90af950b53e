//! Whether a new pod would get a sidecar, asked without a pod.

use k8s_openapi::api::apps::v1::Deployment;

use super::inject::{self, Choice};
use super::resources::Rewriting;
use super::{Arrival, NO_ROOM, Sidecars};
use crate::admission::Context;
use crate::injection;
use crate::outcome::Outcome;
use crate::plans::Plans;
use crate::settings::Settings;
use crate::view;
use crate::workload::Workload;

/// What would become of a new pod of a Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It would get a sidecar.
    Sidecar,
    /// One was asked for and cannot be: why.
    Obstructed(String),
    /// Nobody asks for one, or the template has one of its own.
    Plain,
}

impl Prospect {
    /// Asks admission about the template of a Deployment.
    #[must_use]
    pub fn of(plans: &dyn Plans, namespace: &str, deployment: &Deployment) -> Self {
        if !injection::is_due(plans, namespace, deployment) {
            return Self::Plain;
        }
        let template = serde_json::to_vec(&deployment.spec.template).unwrap_or_default();
        match serde_json::from_slice::<view::Pod<'_>>(&template) {
            Ok(template) => Self::of_template(plans, namespace, deployment, &template),
            Err(error) => Self::Obstructed(format!("its template is not understood: {error}")),
        }
    }

    fn of_template(plans: &dyn Plans, namespace: &str, deployment: &Deployment, template: &view::Pod<'_>) -> Self {
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let workload = Workload::known(plans, namespace, name, deployment);
        let (context, nothing) = (
            Context {
                plans,
                settings: &Settings::default(),
                sidecars: &Sidecars::default(),
            },
            view::Metadata::default(),
        );
        let Some(spec) = &template.spec else {
            return Self::Plain;
        };
        let arrival = Arrival {
            context: &context,
            namespace,
            metadata: template.metadata.as_ref().unwrap_or(&nothing),
            spec,
            workload: Some(&workload),
        };
        match inject::choose(&arrival) {
            Choice::Leave => Self::Plain,
            Choice::Skip(why) => Self::Obstructed(why),
            Choice::Inject(injection) if Rewriting::of(&arrival, Some(&injection), &mut Outcome::default()).fits => {
                Self::Sidecar
            }
            Choice::Inject(_) => Self::Obstructed(NO_ROOM.to_owned()),
        }
    }
}
