//! The conditions of a Recommendation.

use jiff::Timestamp;
use valence_webhook::Prospect;

use super::converge::Standing;
use super::managed::Managed;
use super::subjects::Matched;
use crate::api::conditions::{self, Condition};
use crate::core::decision::{Decision, Flag, ModelState};

/// What the conditions are made from.
pub struct Facts<'a> {
    /// The Deployment.
    pub matched: &'a Matched,
    /// What was decided.
    pub decision: &'a Decision,
    /// Why the CPU and memory in use are not known.
    pub without_resource_metrics: Option<&'a String>,
    /// Now.
    pub now: Timestamp,
}

/// Brings the conditions of a managed Deployment up to date.
pub fn update(managed: &mut Managed, facts: &Facts<'_>) {
    let mut list = std::mem::take(&mut managed.conditions);
    let generation = facts.matched.deployment.metadata.generation;
    let mut put = |type_: &str, condition: Option<Condition>| match condition {
        Some(condition) => conditions::set(&mut list, condition.observed(generation)),
        None => conditions::remove(&mut list, type_),
    };
    put("Ready", Some(ready(managed, facts)));
    put("Confident", Some(confident(facts)));
    put("Metrics", Some(metrics(managed, facts)));
    put("ResourceMetrics", Some(resource_metrics(facts)));
    put("AnnotationsValid", Some(annotations(facts)));
    if let Some(injection) = injection(facts) {
        put("Injection", Some(injection));
    }
    put("Converged", converged(managed, facts));
    put("HorizontalPodAutoscaler", horizontal(facts));
    put("Conflict", conflict(facts));
    put("Capped", capped(facts));
    put("Extrapolated", extrapolated(facts));
    put("ThroughputExceeded", exceeded(facts));
    let wished = conditions::find(&list, "Injection").filter(|injection| injection.is_true());
    managed.convergence.injected_since = wished.map(|injection| injection.last_transition_time.0.as_second() as f64);
    managed.conditions = list;
}

fn ready(managed: &Managed, facts: &Facts<'_>) -> Condition {
    let known = facts.decision.replicas.is_some();
    let reason = match known {
        true if managed.is_continuing() => "Continued",
        true => "Recommended",
        false => "NothingKnown",
    };
    Condition::new(
        "Ready",
        known,
        reason,
        facts.decision.explanation.summary.clone(),
        facts.now,
    )
}

/// The state of the model, with the numbers of the decision.
fn confident(facts: &Facts<'_>) -> Condition {
    let state = facts.decision.state;
    let summary = facts.decision.explanation.summary.clone();
    Condition::new(
        "Confident",
        state == ModelState::Confident,
        state.name(),
        summary,
        facts.now,
    )
}

fn metrics(managed: &Managed, facts: &Facts<'_>) -> Condition {
    let condition =
        |holds: bool, reason: &str, message: String| Condition::new("Metrics", holds, reason, message, facts.now);
    let all = &facts.matched.subject.pods;
    let without = all.iter().filter(|pod| pod.metrics_port.is_none()).count();
    let scraped = managed
        .last
        .iter()
        .flat_map(|last| &last.pods)
        .filter(|pod| pod.scraped)
        .count();
    if all.is_empty() {
        condition(false, "NoPods", "the Deployment has no pods".to_owned())
    } else if without == all.len() {
        let cure =
            "label the namespace valence.io/injection=enabled and restart the Deployment, or add the sidecar by hand";
        condition(
            false,
            "NoSidecar",
            format!("none of {} pods carries the sidecar: {cure}", all.len()),
        )
    } else if let (0, Some((pod, problem))) = (scraped, managed.scrape_failures.first()) {
        condition(false, "ScrapeFailed", format!("{pod}: {problem}"))
    } else if scraped == 0 {
        condition(false, "Waiting", "no pod has been scraped twice yet".to_owned())
    } else {
        let missing = if without > 0 {
            format!("; {without} carry no sidecar")
        } else {
            String::new()
        };
        condition(
            true,
            "Scraped",
            format!("{scraped} of {} pods scraped{missing}", all.len()),
        )
    }
}

fn resource_metrics(facts: &Facts<'_>) -> Condition {
    match facts.without_resource_metrics {
        None => Condition::new(
            "ResourceMetrics",
            true,
            "Available",
            "CPU and memory in use are known",
            facts.now,
        ),
        Some(error) => {
            let message = format!("CPU and memory in use are not known, so that pod sizes stay as they are: {error}");
            Condition::new("ResourceMetrics", false, "Unavailable", message, facts.now)
        }
    }
}

fn annotations(facts: &Facts<'_>) -> Condition {
    let ignored: Vec<String> = facts.matched.ignored.iter().map(ToString::to_string).collect();
    let reason = if ignored.is_empty() { "Understood" } else { "Ignored" };
    Condition::new(
        "AnnotationsValid",
        ignored.is_empty(),
        reason,
        ignored.join("; "),
        facts.now,
    )
}

/// Whether new pods get a sidecar. The time since when tells later which pods admission missed.
fn injection(facts: &Facts<'_>) -> Option<Condition> {
    let sidecars = &facts.matched.sidecars;
    let without = sidecars.missing.len();
    let (holds, reason, message) = match &sidecars.prospect {
        Some(Prospect::Sidecar) => (true, "Due", format!("new pods get the sidecar; {without} carry none")),
        Some(Prospect::Obstructed(why)) => (false, "Obstructed", why.clone()),
        Some(Prospect::Plain) => (false, "NotAsked", "nobody asks for sidecars".to_owned()),
        None => {
            sidecars.injected_since?;
            (true, "Due", "every pod carries the sidecar".to_owned())
        }
    };
    Some(Condition::new("Injection", holds, reason, message, facts.now))
}

fn converged(managed: &Managed, facts: &Facts<'_>) -> Option<Condition> {
    let standing = managed
        .convergence
        .standing
        .as_ref()
        .filter(|_| facts.matched.bounds.live)?;
    let Standing {
        converged,
        reason,
        message,
    } = standing;
    Some(Condition::new(
        "Converged",
        *converged,
        reason,
        message.clone(),
        facts.now,
    ))
}

fn horizontal(facts: &Facts<'_>) -> Option<Condition> {
    let name = facts.matched.horizontal.as_ref()?;
    let (reason, message) = if facts.matched.steers_horizontal && facts.matched.bounds.live {
        let message = format!("the minimum and the target of the HorizontalPodAutoscaler {name} follow the model");
        ("FollowsModel", message)
    } else {
        let message =
            format!("the HorizontalPodAutoscaler {name} owns the replicas; they are recommended, not written");
        ("OwnsReplicas", message)
    };
    Some(Condition::new(
        "HorizontalPodAutoscaler",
        true,
        reason,
        message,
        facts.now,
    ))
}

/// Pods get less than is recommended, because the namespace has no room for it.
fn capped(facts: &Facts<'_>) -> Option<Condition> {
    let first = facts.matched.caps.first()?;
    let by_range = first.starts_with("LimitRange");
    let reason = if by_range { "LimitRange" } else { "ResourceQuota" };
    let message = facts.matched.caps.join("; ");
    Some(Condition::new("Capped", true, reason, message, facts.now))
}

fn conflict(facts: &Facts<'_>) -> Option<Condition> {
    let name = facts.matched.vertical.as_ref()?;
    let message = format!(
        "the VerticalPodAutoscaler {name} changes the same pods; requests and limits are recommended, not written"
    );
    Some(Condition::new(
        "Conflict",
        true,
        "VerticalPodAutoscaler",
        message,
        facts.now,
    ))
}

fn extrapolated(facts: &Facts<'_>) -> Option<Condition> {
    let message = format!(
        "the declared throughput of {} queries per minute is far beyond the highest load seen, {}",
        per_minute(facts, "most_declared_load_per_second"),
        per_minute(facts, "highest_load_per_second")
    );
    flag(facts, Flag::Extrapolated, "Extrapolated", message)
}

fn exceeded(facts: &Facts<'_>) -> Option<Condition> {
    let message = format!(
        "the live load of {} queries per minute is above the declared throughput of {}",
        per_minute(facts, "load_per_second"),
        per_minute(facts, "least_declared_load_per_second")
    );
    flag(facts, Flag::ThroughputExceeded, "ThroughputExceeded", message)
}

/// An input of the decision that is a load, in queries per minute.
fn per_minute(facts: &Facts<'_>, input: &str) -> String {
    let load = facts.decision.explanation.inputs.get(input);
    load.map_or_else(|| "unknown".to_owned(), |load| format!("{:.0}", load * 60.0))
}

fn flag(facts: &Facts<'_>, flag: Flag, name: &str, message: String) -> Option<Condition> {
    let raised = facts.decision.flags.contains(&flag);
    raised.then(|| Condition::new(name, true, name, message, facts.now))
}
