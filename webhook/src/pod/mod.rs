//! Pods: the sidecar and the resources of new ones, the resources of running ones.

mod inject;
mod owner;
pub(crate) mod ports;
mod prospect;
mod resize;
mod resources;
mod sidecar;

use crate::admission::Context;
use crate::notices::Reason;
use crate::outcome::{Outcome, Subject, Unseen};
use crate::plans::names;
use crate::record::Annotations;
use crate::view::{Metadata, Pod, PodSpec};
use crate::workload::Workload;

pub use prospect::Prospect;
pub use resize::admit as admit_resize;
pub use sidecar::Sidecars;

use inject::{Choice, Injection};
use owner::Owner;
use resources::Rewriting;

/// A new pod, with what is known about where it comes from.
struct Arrival<'r, 'a> {
    context: &'r Context<'r>,
    namespace: &'r str,
    metadata: &'r Metadata<'a>,
    spec: &'r PodSpec<'a>,
    workload: Option<&'r Workload<'r>>,
}

impl<'r> Arrival<'r, '_> {
    /// The Deployment, or the pod itself where there is none.
    fn subject(&self) -> Subject<'r> {
        match self.workload {
            Some(workload) => workload.subject(),
            None => Subject {
                kind: "Pod",
                namespace: self.namespace,
                name: self.metadata.name.as_deref().unwrap_or_default(),
            },
        }
    }
}

/// Adds a sidecar to a new pod and sets the resources of a live workload.
pub fn admit(context: &Context<'_>, namespace: &str, pod: &Pod<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let (Some(metadata), Some(spec)) = (pod.metadata.as_ref(), pod.spec.as_ref()) else {
        return outcome;
    };
    let owner = Owner::find(context.plans, namespace, metadata);
    let deployment = owner.name.as_deref().zip(owner.deployment.as_deref());
    let workload = deployment.map(|(name, known)| Workload::known(context.plans, namespace, name, known));
    let arrival = Arrival {
        context,
        namespace,
        metadata,
        spec,
        workload: workload.as_ref(),
    };
    if owner.is_missing() && inject::is_enabled(&arrival) {
        unknown(&arrival, owner.name.as_deref().unwrap_or_default(), &mut outcome);
    }
    let choice = inject::choose(&arrival);
    apply(&arrival, choice, &mut outcome);
    outcome
}

/// The Deployment may be seen in a moment: then this answer is not the one that is given.
fn unknown(arrival: &Arrival<'_, '_>, deployment: &str, outcome: &mut Outcome) {
    outcome.unseen = Some(Unseen {
        namespace: arrival.namespace.to_owned(),
        name: deployment.to_owned(),
    });
    let subject = Subject {
        kind: "Deployment",
        namespace: arrival.namespace,
        name: deployment,
    };
    let message = format!("a pod came before Deployment {deployment} was known: it is admitted as it is");
    outcome.tell(subject, Reason::InjectionSkipped, message);
}

fn apply(arrival: &Arrival<'_, '_>, choice: Choice, outcome: &mut Outcome) {
    let mut injection = match choice {
        Choice::Leave => None,
        Choice::Skip(why) => {
            skip(arrival, why, outcome);
            None
        }
        Choice::Inject(injection) => Some(injection),
    };
    let mut told = Outcome::default();
    let mut rewriting = Rewriting::of(arrival, injection.as_ref(), &mut told);
    if injection.is_some() && !rewriting.fits {
        skip(arrival, NO_ROOM.to_owned(), outcome);
        injection = None;
        told = Outcome::default();
        rewriting = Rewriting::of(arrival, None, &mut told);
    }
    if !rewriting.fits {
        // Then it is as its owner wants it, and whatever comes of it is not of our making.
        rewriting.leave();
    }
    outcome.warnings.append(&mut told.warnings);
    outcome.notices.append(&mut told.notices);
    write(arrival, injection.as_ref(), &rewriting, outcome);
    if injection.is_none() {
        ports::keep_names(arrival, outcome);
    }
}

/// Why a sidecar that could be is not.
const NO_ROOM: &str = "no room is left for it in the namespace's quota or limits";

fn skip(arrival: &Arrival<'_, '_>, why: String, outcome: &mut Outcome) {
    outcome.tell(
        arrival.subject(),
        Reason::InjectionSkipped,
        format!("Envoy is not injected: {why}"),
    );
}

fn write(arrival: &Arrival<'_, '_>, injection: Option<&Injection>, rewriting: &Rewriting, outcome: &mut Outcome) {
    let mut annotations = Annotations::of(Some(arrival.metadata));
    rewriting.patch(arrival.spec, &mut annotations, outcome);
    if let Some(injection) = injection {
        injection.patch(arrival, rewriting, &mut outcome.patch);
        annotations.set(names::INJECTED, injection.record());
        if arrival.metadata.annotation(DEFAULT_CONTAINER).is_none() {
            let container = &arrival.spec.containers()[injection.fronted.container];
            annotations.set(DEFAULT_CONTAINER, container.name().to_owned());
        }
        outcome.injected = true;
    }
    annotations.patch(&mut outcome.patch);
}

/// The container that kubectl takes when none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
