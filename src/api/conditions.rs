//! Conditions as Kubernetes writes them, with a time that moves only when the status does.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Types of conditions that say, when they hold, that all is well. Any other one says that something is not.
const GOOD_WHEN_TRUE: [&str; 7] = [
    "Ready",
    "Confident",
    "Metrics",
    "ResourceMetrics",
    "AnnotationsValid",
    "Injection",
    "Converged",
];

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Generation of the object that it was decided from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    pub last_transition_time: Time,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be said.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Condition {
    /// A condition that changed at `now`.
    pub fn new(
        type_: &str,
        status: impl Into<ConditionStatus>,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            type_: type_.to_owned(),
            status: status.into(),
            observed_generation: None,
            last_transition_time: Time(whole_seconds(now)),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// Notes the generation of the object that it was decided from.
    #[must_use]
    pub fn observed(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }

    /// Whether it holds.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == ConditionStatus::True
    }

    /// Whether it says that all is well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_true() == GOOD_WHEN_TRUE.contains(&self.type_.as_str())
    }
}

/// The wire carries whole seconds: rounding here keeps a condition equal to what comes back.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Sets a condition; the time of the last transition stays where the status did not change.
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions.iter_mut().find(|existing| existing.type_ == condition.type_) {
        Some(existing) => {
            if existing.status == condition.status {
                condition.last_transition_time = existing.last_transition_time.clone();
            }
            *existing = condition;
        }
        None => conditions.push(condition),
    }
}

/// Removes a condition that no longer says anything.
pub fn remove(conditions: &mut Vec<Condition>, type_: &str) {
    conditions.retain(|condition| condition.type_ != type_);
}

/// The condition of a type, if it is set.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether two lists say the same, apart from the numbers in their messages.
#[must_use]
pub fn same_but_messages(a: &[Condition], b: &[Condition]) -> bool {
    fn essence(condition: &Condition) -> (&str, ConditionStatus, Option<i64>, &Time, &str) {
        let Condition {
            type_,
            status,
            observed_generation,
            last_transition_time,
            reason,
            message: _,
        } = condition;
        (type_, *status, *observed_generation, last_transition_time, reason)
    }
    a.iter().map(essence).eq(b.iter().map(essence))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_as_it_should_be_is_told_from_what_is() {
        let well =
            |type_, holds: ConditionStatus| Condition::new(type_, holds, "R", "why", Timestamp::UNIX_EPOCH).is_well();
        assert!(well("Converged", ConditionStatus::True) && !well("Converged", ConditionStatus::False));
        assert!(!well("Confident", ConditionStatus::Unknown));
        assert!(well("Capped", ConditionStatus::False) && !well("Capped", ConditionStatus::True));
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = Vec::new();
        set(
            &mut conditions,
            Condition::new("Ready", true, "Fine", "all is well", at(10)),
        );
        set(
            &mut conditions,
            Condition::new("Ready", true, "Fine", "still well", at(20)),
        );
        assert_eq!(conditions[0].last_transition_time.0, at(10));
        assert_eq!(conditions[0].message, "still well");
        set(
            &mut conditions,
            Condition::new("Ready", false, "Bad", "not well", at(30)),
        );
        assert_eq!(conditions[0].last_transition_time.0, at(30));
        remove(&mut conditions, "Ready");
        assert!(find(&conditions, "Ready").is_none());
    }
}
