//! How many replicas each replica set of a Deployment should have next: pure arithmetic.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::controllers::objects::share_of;

/// The Deployment's size when a replica set was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The most replicas (surge included) when a replica set was last scaled.
pub const MOST: &str = "deployment.kubernetes.io/max-replicas";

/// The bounds of a rollout in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The replicas asked for.
    pub replicas: i32,
    /// How many more than that may exist during a rollout.
    pub surge: i32,
    /// How many of them may be unavailable during a rollout.
    pub unavailable: i32,
}

impl Bounds {
    /// The bounds of a Deployment; surge rounds up, unavailable down, and not both may be nothing.
    pub fn of(deployment: &Deployment) -> Self {
        let replicas = deployment.spec.replicas.unwrap_or(1);
        if is_recreate(deployment) {
            return Self {
                replicas,
                surge: 0,
                unavailable: replicas,
            };
        }
        let rolling = deployment
            .spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".into());
        let surge = rolling
            .and_then(|rolling| rolling.max_surge.as_ref())
            .unwrap_or(&quarter);
        let unavailable = rolling
            .and_then(|rolling| rolling.max_unavailable.as_ref())
            .unwrap_or(&quarter);
        let surge = share_of(surge, replicas, true);
        let unavailable = share_of(unavailable, replicas, false).min(replicas);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self {
            replicas,
            surge,
            unavailable,
        }
    }

    /// The most pods that may exist.
    pub fn most(&self) -> i32 {
        if self.replicas > 0 {
            self.replicas + self.surge
        } else {
            0
        }
    }

    /// The fewest pods that must stay available.
    pub fn least_available(&self) -> i32 {
        self.replicas - self.unavailable
    }
}

/// Whether old pods go before new ones come.
pub fn is_recreate(deployment: &Deployment) -> bool {
    deployment
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref())
        == Some("Recreate")
}

/// The replicas that a set should have.
pub fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// The replicas of a set that are available.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

/// The pods that a set has.
pub fn existing(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn annotated(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.annotations().get(key)?.parse().ok()
}

/// The new size of one replica set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Name of the replica set.
    pub set: String,
    /// Its replicas until now.
    pub from: i32,
    /// Its replicas from now on.
    pub to: i32,
}

fn resize(set: &ReplicaSet, to: i32) -> Option<Resize> {
    let from = wanted(set);
    (from != to).then(|| Resize {
        set: set.name_any(),
        from,
        to,
    })
}

/// Whether the Deployment was scaled since its replica sets were last sized.
pub fn was_scaled(bounds: Bounds, sets: &[&ReplicaSet]) -> bool {
    let mut sized = sets
        .iter()
        .filter(|set| wanted(set) > 0)
        .filter_map(|set| annotated(set, DESIRED));
    sized.any(|desired| desired != bounds.replicas)
}

/// The size at which a new replica set starts or grows to.
pub fn size_of_new(bounds: Bounds, recreate: bool, new: i32, total: i32) -> i32 {
    if recreate || new > bounds.replicas {
        return bounds.replicas;
    }
    let room = (bounds.most() - total).max(0);
    new + room.min(bounds.replicas - new)
}

/// One step of a rolling update: the new set grows as far as the surge allows, the old ones shrink as far as enough
/// pods stay available, broken pods first. `old` is ordered by age, oldest first.
pub fn roll(bounds: Bounds, new: &ReplicaSet, old: &[&ReplicaSet]) -> Vec<Resize> {
    let total = wanted(new) + old.iter().map(|set| wanted(set)).sum::<i32>();
    let grown = size_of_new(bounds, false, wanted(new), total);
    if let Some(step) = resize(new, grown) {
        return vec![step];
    }
    shrink_old(bounds, new, old)
}

fn shrink_old(bounds: Bounds, new: &ReplicaSet, old: &[&ReplicaSet]) -> Vec<Resize> {
    let total = wanted(new) + old.iter().map(|set| wanted(set)).sum::<i32>();
    let still_starting = wanted(new) - available(new);
    let mut broken_budget = total - bounds.least_available() - still_starting;
    if broken_budget <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<i32> = old.iter().map(|set| wanted(set)).collect();
    for (size, set) in sizes.iter_mut().zip(old) {
        let broken = (*size - available(set)).clamp(0, broken_budget.max(0));
        *size -= broken;
        broken_budget -= broken;
    }
    let all_available = available(new) + old.iter().map(|set| available(set)).sum::<i32>();
    let mut healthy_budget = all_available - bounds.least_available();
    for size in &mut sizes {
        let gone = (*size).clamp(0, healthy_budget.max(0));
        *size -= gone;
        healthy_budget -= gone;
    }
    old.iter()
        .zip(sizes)
        .filter_map(|(set, size)| resize(set, size))
        .collect()
}

/// One step of a Recreate rollout: everything old goes first.
pub fn recreate(bounds: Bounds, new: Option<&ReplicaSet>, old: &[&ReplicaSet]) -> Vec<Resize> {
    let shrunk: Vec<Resize> = old.iter().filter_map(|set| resize(set, 0)).collect();
    if !shrunk.is_empty() || old.iter().any(|set| existing(set) > 0) {
        return shrunk;
    }
    new.and_then(|new| resize(new, bounds.replicas)).into_iter().collect()
}

/// Spreads a change of the Deployment's size over its replica sets in proportion to their sizes, so that scaling in the
/// middle of a rollout neither finishes nor reverts it.
pub fn spread(bounds: Bounds, new: Option<&ReplicaSet>, old: &[&ReplicaSet]) -> Vec<Resize> {
    let all: Vec<&ReplicaSet> = new.into_iter().chain(old.iter().copied()).collect();
    let active: Vec<&ReplicaSet> = all.iter().copied().filter(|set| wanted(set) > 0).collect();
    match (active.as_slice(), new) {
        ([only], _) => return resize(only, bounds.replicas).into_iter().collect(),
        ([], Some(new)) => return resize(new, bounds.replicas).into_iter().collect(),
        ([], None) => return Vec::new(),
        _ => {}
    }
    if new.is_some_and(|new| is_saturated(bounds, new)) {
        return old.iter().filter_map(|set| resize(set, 0)).collect();
    }
    spread_proportionally(bounds, active)
}

fn is_saturated(bounds: Bounds, new: &ReplicaSet) -> bool {
    wanted(new) == bounds.replicas
        && annotated(new, DESIRED) == Some(bounds.replicas)
        && available(new) == bounds.replicas
}

fn spread_proportionally(bounds: Bounds, mut active: Vec<&ReplicaSet>) -> Vec<Resize> {
    active.sort_by_key(|set| std::cmp::Reverse(wanted(set)));
    let total: i32 = active.iter().map(|set| wanted(set)).sum();
    let mut left = bounds.most() - total;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let before = annotated(set, MOST).filter(|most| *most > 0).unwrap_or(total.max(1));
        let exact = f64::from(wanted(set)) * f64::from(bounds.most()) / f64::from(before);
        let change = exact.round() as i32 - wanted(set);
        let change = if left >= 0 {
            change.clamp(0, left)
        } else {
            change.clamp(left, 0)
        };
        left -= change;
        sizes.push(wanted(set) + change);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + left).max(0);
    }
    active
        .into_iter()
        .zip(sizes)
        .filter_map(|(set, size)| resize(set, size))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn set(name: &str, wanted: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"replicas": wanted, "selector": {}},
            "status": {"replicas": wanted, "availableReplicas": available},
        }))
        .unwrap()
    }

    fn sized(mut set: ReplicaSet, desired: i32, most: i32) -> ReplicaSet {
        set.annotations_mut().insert(DESIRED.into(), desired.to_string());
        set.annotations_mut().insert(MOST.into(), most.to_string());
        set
    }

    fn deployment(replicas: i32, strategy: serde_json::Value) -> Deployment {
        serde_json::from_value(json!({
            "spec": {"replicas": replicas, "selector": {}, "template": {}, "strategy": strategy},
        }))
        .unwrap()
    }

    fn to(set: &str, from: i32, to: i32) -> Resize {
        Resize {
            set: set.into(),
            from,
            to,
        }
    }

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let bounds = Bounds::of(&deployment(10, json!({})));
        assert_eq!(
            bounds,
            Bounds {
                replicas: 10,
                surge: 3,
                unavailable: 2
            }
        );
        let none = json!({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "9%"}});
        assert_eq!(
            Bounds::of(&deployment(10, none)),
            Bounds {
                replicas: 10,
                surge: 0,
                unavailable: 1
            }
        );
    }

    #[test]
    fn the_new_set_grows_only_into_the_surge() {
        let bounds = Bounds {
            replicas: 10,
            surge: 3,
            unavailable: 2,
        };
        assert_eq!(
            roll(bounds, &set("new", 0, 0), &[&set("old", 10, 10)]),
            [to("new", 0, 3)]
        );
    }

    #[test]
    fn old_pods_go_only_while_enough_stay_available() {
        let bounds = Bounds {
            replicas: 10,
            surge: 3,
            unavailable: 2,
        };
        assert_eq!(
            roll(bounds, &set("new", 3, 0), &[&set("old", 10, 10)]),
            [to("old", 10, 8)]
        );
        assert_eq!(roll(bounds, &set("new", 5, 0), &[&set("old", 8, 8)]), []);
        assert_eq!(roll(bounds, &set("new", 5, 5), &[&set("old", 8, 8)]), [to("old", 8, 3)]);
    }

    #[test]
    fn broken_old_pods_go_first() {
        let bounds = Bounds {
            replicas: 4,
            surge: 1,
            unavailable: 1,
        };
        let steps = roll(bounds, &set("new", 1, 0), &[&set("older", 2, 0), &set("old", 2, 2)]);
        assert_eq!(steps, [to("older", 2, 1)]);
    }

    #[test]
    fn a_rollout_ends_with_nothing_left_to_do() {
        let bounds = Bounds {
            replicas: 10,
            surge: 3,
            unavailable: 2,
        };
        let (mut new, mut old) = (set("new", 0, 0), set("old", 10, 10));
        for _ in 0..20 {
            for step in roll(bounds, &new, &[&old]) {
                let target = if step.set == "new" { &mut new } else { &mut old };
                target.spec.replicas = Some(step.to);
                target.status.as_mut().unwrap().available_replicas = Some(step.to);
            }
            assert!(available(&new) + available(&old) >= bounds.least_available());
            assert!(wanted(&new) + wanted(&old) <= bounds.most());
        }
        assert_eq!((wanted(&new), wanted(&old)), (10, 0));
    }

    #[test]
    fn recreate_waits_until_the_old_are_gone() {
        let bounds = Bounds {
            replicas: 2,
            surge: 0,
            unavailable: 2,
        };
        assert_eq!(
            recreate(bounds, Some(&set("new", 0, 0)), &[&set("old", 2, 2)]),
            [to("old", 2, 0)]
        );
        let mut leaving = set("old", 0, 0);
        leaving.status.as_mut().unwrap().replicas = 1;
        assert_eq!(recreate(bounds, Some(&set("new", 0, 0)), &[&leaving]), []);
        assert_eq!(
            recreate(bounds, Some(&set("new", 0, 0)), &[&set("old", 0, 0)]),
            [to("new", 0, 2)]
        );
    }

    #[test]
    fn scaling_in_a_rollout_keeps_the_proportions() {
        let bounds = Bounds {
            replicas: 20,
            surge: 5,
            unavailable: 5,
        };
        let new = sized(set("new", 5, 5), 10, 13);
        let old = sized(set("old", 8, 8), 10, 13);
        let steps = spread(bounds, Some(&new), &[&old]);
        assert_eq!(steps, [to("old", 8, 15), to("new", 5, 10)]);
        assert!(was_scaled(bounds, &[&new, &old]));
    }

    #[test]
    fn scaling_to_nothing_takes_every_set_down() {
        let bounds = Bounds {
            replicas: 0,
            surge: 0,
            unavailable: 0,
        };
        let new = sized(set("new", 5, 5), 10, 13);
        let old = sized(set("old", 8, 8), 10, 13);
        assert_eq!(spread(bounds, Some(&new), &[&old]), [to("old", 8, 0), to("new", 5, 0)]);
    }

    #[test]
    fn scaling_a_settled_deployment_scales_its_one_set() {
        let bounds = Bounds {
            replicas: 3,
            surge: 1,
            unavailable: 0,
        };
        assert_eq!(
            spread(bounds, Some(&set("new", 1, 1)), &[&set("old", 0, 0)]),
            [to("new", 1, 3)]
        );
    }
}
