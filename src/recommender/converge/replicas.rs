//! Asks for the replicas of the plan, of the Deployment itself or of its autoscaler.

use std::time::{Duration, Instant};

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use tokio::time::sleep;

use super::requests::Outcome;
use super::situation::Situation;
use super::{Convergence, Converger, Standing};
use crate::core::decision::Decision;
use crate::recommender::subjects::{Matched, desired_replicas};

/// Least time between two re-admissions of an autoscaler: it has to be given time to act on its bounds.
const BETWEEN_AUTOSCALERS: Duration = Duration::from_secs(15);

/// How often a dry run for a new plan is tried again before the next cycle does.
const LOOKS: usize = 3;

/// Time between two tries.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

impl Converger {
    pub(super) async fn replicas(
        &self,
        matched: &Matched,
        decision: &Decision,
        situation: &Situation,
        memory: &mut Convergence,
    ) -> Option<Standing> {
        let wanted = decision.replicas?;
        let present = desired_replicas(&matched.deployment);
        let is_new = memory.wanted_replicas.replace(wanted) != Some(wanted);
        if present == wanted {
            return None;
        }
        if let Some(told) = not_now(matched, situation, present, wanted) {
            return Some(told);
        }
        let (namespace, name) = (&matched.subject.namespace, &matched.subject.name);
        let mut outcome = self.requests.scale(namespace, name, present).await;
        // Every replica of the webhook learns a new plan from its own watch; they need a moment.
        for _ in 0..if is_new { LOOKS } else { 0 } {
            if !matches!(outcome, Outcome::Unchanged) {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
            outcome = self.requests.scale(namespace, name, present).await;
        }
        let done = format!("re-admitted from {present} towards {wanted} replicas");
        Some(outcome.standing("Scaling", done, &format!("with {wanted} replicas")))
    }

    /// An autoscaler that its owner lets the model steer gets its bounds at its own admission, when they would be others.
    pub(super) async fn autoscaler(&self, matched: &Matched, name: &str, memory: &mut Convergence) -> Option<Standing> {
        if !matched.horizontal_is_pending {
            return None;
        }
        let it = format!("the HorizontalPodAutoscaler {name}");
        let since_asked = memory.autoscaler_asked.map(|at| at.elapsed());
        if since_asked.is_some_and(|since| since < BETWEEN_AUTOSCALERS) {
            return Some(Standing::behind(
                "Scaling",
                format!("{it} has other bounds than the model"),
            ));
        }
        memory.autoscaler_asked = Some(Instant::now());
        let spec = |object: HorizontalPodAutoscaler| object.spec;
        let outcome = self.requests.object(&matched.subject.namespace, name, spec).await;
        Some(outcome.standing("Scaling", format!("{it} was re-admitted"), &format!("for {it}")))
    }
}

/// Why another number of replicas is not asked for now. Fewer are no harm to pods that cannot start.
pub fn not_now(matched: &Matched, situation: &Situation, present: u32, wanted: u32) -> Option<Standing> {
    match situation {
        Situation::Full(reason, message) if wanted > present => Some(Standing::behind(reason, message)),
        _ if wanted < present && valence_webhook::is_rolling_out(&matched.deployment) => {
            let message =
                format!("the rollout needs its pods: {wanted} replicas instead of {present} when it is through");
            Some(Standing::behind("RollingOut", message))
        }
        _ => None,
    }
}
