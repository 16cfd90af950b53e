//! How many replicas a Deployment gets.

use crate::notices::Reason;
use crate::outcome::Outcome;
use crate::plans::names;
use crate::workload::Workload;

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Replicas after the request.
    pub replicas: i64,
    /// Replicas before it; `None` for a new Deployment.
    pub before: Option<i64>,
    /// Whether pods of an older revision still run, or the rollout is paused.
    pub rolling_out: bool,
}

impl Asked {
    /// Whether somebody wants another number than there is.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.before != Some(self.replicas)
    }
}

/// The number of replicas that Valence wants for a live Deployment; `None` where it has no say.
///
/// An explicit 0 is somebody's decision to stop the workload, an autoscaler's number is the autoscaler's, and nothing is
/// scaled down while a rollout needs the pods.
#[must_use]
pub fn wanted(workload: &Workload<'_>, asked: Asked) -> Option<i64> {
    if asked.replicas == 0 || !workload.is_live() || workload.horizontal.is_some() {
        return None;
    }
    let planned = u64::from(workload.plan.as_ref()?.replicas?);
    let bounded = workload.wishes.bounds.replicas.clamp(planned).max(1);
    let wanted = i64::try_from(bounded).ok()?;
    let running = asked.before.unwrap_or_default();
    Some(if asked.rolling_out { wanted.max(running) } else { wanted })
}

/// Says so when another number than the one asked for is set.
pub fn explain(workload: &Workload<'_>, asked: Asked, set: i64, outcome: &mut Outcome) {
    if set == asked.replicas || !asked.is_change() {
        return;
    }
    outcome.warn(format!(
        "Deployment {}/{} gets {} instead of {}: {} (annotate {}: \"false\" to decide yourself)",
        workload.namespace,
        workload.name,
        counted(set),
        asked.replicas,
        workload.reason(),
        names::CONFIGURE,
    ));
    if asked.before.is_some() {
        outcome.overrides = true;
        let message = format!(
            "asked for {}, set to {set}: {}",
            counted(asked.replicas),
            workload.reason()
        );
        outcome.notice(workload.subject(), Reason::Overridden, message);
    }
}

fn counted(replicas: i64) -> String {
    format!("{replicas} replica{}", if replicas == 1 { "" } else { "s" })
}
