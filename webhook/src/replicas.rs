//! How many replicas a Deployment gets.

use std::borrow::Cow;

use crate::headroom::Rollout;
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
    /// The rollout that the request itself begins.
    pub begins: Option<Rollout>,
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
    let bounds = workload.wishes.bounds.replicas;
    let planned = bounds.clamp(u64::from(workload.plan.as_ref()?.replicas?)).max(1);
    let wanted = i64::try_from(bounds.clamp(with_headroom(planned, asked)).max(1)).ok()?;
    let running = asked.before.unwrap_or_default();
    Some(if asked.rolling_out { wanted.max(running) } else { wanted })
}

/// As many more as the rollout that begins may take away.
fn with_headroom(planned: u64, asked: Asked) -> u64 {
    let headroom = |rollout: Rollout| Some(rollout.with_headroom(u32::try_from(planned).ok()?).into());
    asked.begins.and_then(headroom).unwrap_or(planned)
}

/// Says so when another number than the one asked for is set.
pub fn explain(workload: &Workload<'_>, asked: Asked, set: i64, outcome: &mut Outcome) {
    if set == asked.replicas || !asked.is_change() && asked.begins.is_none() {
        return;
    }
    let reason = reason(workload, asked, set);
    outcome.warn(format!(
        "Deployment {}/{} gets {} instead of {}: {reason} (annotate {}: \"false\" to decide yourself)",
        workload.namespace,
        workload.name,
        counted(set),
        asked.replicas,
        names::CONFIGURE,
    ));
    if asked.before.is_some() && asked.is_change() {
        outcome.overrides = true;
        let message = format!("asked for {}, set to {set}: {reason}", counted(asked.replicas));
        outcome.notice(workload.subject(), Reason::Overridden, message);
    }
}

/// Why a number is set: the plan's reason, and what a rollout needs on top of the plan.
fn reason<'w>(workload: &'w Workload<'_>, asked: Asked, set: i64) -> Cow<'w, str> {
    let without = Asked { begins: None, ..asked };
    match wanted(workload, without) {
        Some(enough) if enough < set => {
            format!("{}; {} more while it rolls out", workload.reason(), set - enough).into()
        }
        _ => workload.reason().into(),
    }
}

fn counted(replicas: i64) -> String {
    format!("{replicas} replica{}", if replicas == 1 { "" } else { "s" })
}
