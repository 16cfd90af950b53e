//! Which ServiceLevelObjectives are in force where there are very many.
//!
//! Every admission and every round compares them with labels, and each one that matches adds an edge to the histogram of
//! the sidecar. What is too many is left out, the newest first, and told so in its status.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Cluster;
use super::keep::KnownObjective;
use crate::core::objective::Objective;

/// Most ServiceLevelObjectives of a namespace that are in force.
pub const MOST_OF_A_NAMESPACE: usize = 256;

/// Most objectives that one Deployment is held to.
pub const MOST_OF_A_DEPLOYMENT: usize = 16;

/// What a Deployment is held to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// Its objectives, in the order of their names.
    pub objectives: Vec<Objective>,
    /// ServiceLevelObjectives that select it and are too many.
    pub left_out: Vec<String>,
}

/// Those in force, in the order of their names: where there are too many the oldest.
#[must_use]
pub fn in_force(mut known: Vec<Arc<KnownObjective>>) -> Vec<Arc<KnownObjective>> {
    known.retain(|known| known.in_force.is_some());
    if known.len() > MOST_OF_A_NAMESPACE {
        known.sort_by(|a, b| a.age().cmp(&b.age()));
        known.truncate(MOST_OF_A_NAMESPACE);
    }
    known.sort_by(|a, b| a.name.cmp(&b.name));
    known
}

/// What those in force ask of a Deployment with these labels.
#[must_use]
pub fn matching(in_force: &[Arc<KnownObjective>], labels: &BTreeMap<String, String>) -> Matching {
    let selects = |known: &&Arc<KnownObjective>| {
        known
            .in_force
            .as_ref()
            .is_some_and(|held| held.selector.matches(labels))
    };
    let mut selecting: Vec<&Arc<KnownObjective>> = in_force.iter().filter(selects).collect();
    selecting.sort_by(|a, b| a.age().cmp(&b.age()));
    let (mut taken, mut left_out, mut room) = (Vec::new(), Vec::new(), MOST_OF_A_DEPLOYMENT);
    for known in selecting {
        let objectives = known.in_force.as_ref().map_or(&[][..], |held| &held.objectives);
        if objectives.len() <= room {
            room -= objectives.len();
            taken.push((&known.name, objectives));
        } else {
            left_out.push(known.name.clone());
        }
    }
    taken.sort_by(|a, b| a.0.cmp(b.0));
    Matching {
        objectives: taken
            .into_iter()
            .flat_map(|(_, objectives)| objectives.iter().cloned())
            .collect(),
        left_out,
    }
}

impl Cluster {
    /// The ServiceLevelObjectives of a namespace that are in force.
    #[must_use]
    pub fn objectives_in_force(&self, namespace: &str) -> Vec<Arc<KnownObjective>> {
        in_force(self.objectives.of(namespace))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::cache::keep;

    /// Made so many seconds after the first, for one objective.
    fn known(name: &str, seconds: usize) -> Arc<KnownObjective> {
        let made = format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        );
        let object = json!({
            "apiVersion": "optimizer.valence.io/v1alpha1", "kind": "ServiceLevelObjective",
            "metadata": {"name": name, "namespace": "shop", "creationTimestamp": made},
            "spec": {"selector": {"slo": "fast"}, "objectives": [{"type": "HTTP",
                "http": {"latency": {"percentile": 99, "responseTime": "100ms"}}}]},
        });
        Arc::new(keep::objective(serde_json::from_value(object).unwrap(), None))
    }

    fn names(known: &[Arc<KnownObjective>]) -> Vec<&str> {
        known.iter().map(|known| known.name.as_str()).collect()
    }

    #[test]
    fn the_oldest_of_a_namespace_are_in_force() {
        let many = (0..300)
            .map(|number| known(&format!("slo-{number:03}"), 300 - number))
            .collect();
        let kept = in_force(many);
        assert_eq!(kept.len(), MOST_OF_A_NAMESPACE);
        assert_eq!((names(&kept)[0], names(&kept)[255]), ("slo-044", "slo-299"));
    }

    #[test]
    fn a_deployment_is_held_to_the_oldest_and_the_others_are_named() {
        let labels = [("slo".to_owned(), "fast".to_owned())].into();
        let many: Vec<_> = (0..18)
            .map(|number| known(&format!("slo-{number:02}"), 18 - number))
            .collect();
        let matching = matching(&many, &labels);
        let held: Vec<_> = matching
            .objectives
            .iter()
            .map(|objective| objective.slo.as_str())
            .collect();
        assert_eq!(
            (held.len(), held[0], held[15]),
            (MOST_OF_A_DEPLOYMENT, "slo-02", "slo-17")
        );
        assert_eq!(matching.left_out, ["slo-01", "slo-00"]);
    }
}
