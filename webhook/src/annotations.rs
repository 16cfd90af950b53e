//! Annotations by which the owner of a Deployment steers Valence.

use thiserror::Error;

use crate::plans::names;
use crate::quantity;

/// An annotation whose value is not understood. It counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{annotation}: {value:?} {problem}; it is ignored")]
pub struct InvalidAnnotation {
    /// Key of the annotation.
    pub annotation: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Least and most of something, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Least.
    pub min: Option<u64>,
    /// Most.
    pub max: Option<u64>,
}

impl Range {
    /// The nearest amount within the range.
    #[must_use]
    pub fn clamp(self, amount: u64) -> u64 {
        let capped = self.max.map_or(amount, |max| amount.min(max));
        self.min.map_or(capped, |min| capped.max(min))
    }
}

/// Amounts for one container by name, or for every container that has none of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Amounts(Vec<(Option<String>, u64)>);

impl Amounts {
    fn of(&self, container: &str) -> Option<u64> {
        let own = self.0.iter().find(|(name, _)| name.as_deref() == Some(container));
        own.or_else(|| self.0.iter().find(|(name, _)| name.is_none()))
            .map(|(_, amount)| *amount)
    }
}

/// Least and most of what may be recommended for a Deployment.
///
/// A quantity holds for every container of the Deployment, the sidecar excepted; `app=2Gi,worker=500Mi` gives amounts
/// to containers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Replicas.
    pub replicas: Range,
    min_cpu: Amounts,
    max_cpu: Amounts,
    min_memory: Amounts,
    max_memory: Amounts,
}

impl Bounds {
    /// CPU request of a container in thousandths of a core.
    #[must_use]
    pub fn cpu_millicores(&self, container: &str) -> Range {
        range(&self.min_cpu, &self.max_cpu, container)
    }

    /// Memory request of a container in bytes.
    #[must_use]
    pub fn memory_bytes(&self, container: &str) -> Range {
        range(&self.min_memory, &self.max_memory, container)
    }
}

fn range(min: &Amounts, max: &Amounts, container: &str) -> Range {
    if container == names::SIDECAR_CONTAINER {
        return Range::default();
    }
    Range {
        min: min.of(container),
        max: max.of(container),
    }
}

/// What the annotations of a Deployment say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Whether Valence writes its values at admission.
    pub configure: bool,
    /// Least and most of what may be recommended.
    pub bounds: Bounds,
    /// Whether the bounds of a HorizontalPodAutoscaler follow the model.
    pub manage_horizontal: bool,
    /// Whether Valence writes resources even where a VerticalPodAutoscaler does.
    pub override_vertical: bool,
    /// Annotations that are not understood.
    pub invalid: Vec<InvalidAnnotation>,
}

impl Wishes {
    /// Reads annotations by a lookup of their keys.
    #[must_use]
    pub fn read<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut reader = Reader {
            annotation,
            invalid: Vec::new(),
        };
        let bounds = reader.bounds();
        let configure = reader.choice(names::CONFIGURE, "true", "false");
        let manage_horizontal = reader.choice(names::HORIZONTAL_POD_AUTOSCALER, "manage", "leave");
        let override_vertical = reader.choice(names::VERTICAL_POD_AUTOSCALER, "override", "stand-back");
        Self {
            configure,
            bounds,
            manage_horizontal,
            override_vertical,
            invalid: reader.invalid,
        }
    }
}

struct Reader<F> {
    annotation: F,
    invalid: Vec<InvalidAnnotation>,
}

impl<'a, F: Fn(&str) -> Option<&'a str>> Reader<F> {
    fn value(&self, annotation: &'static str) -> Option<&'a str> {
        (self.annotation)(annotation).map(str::trim)
    }

    fn complain(&mut self, annotation: &'static str, value: &str, problem: &'static str) {
        self.invalid.push(InvalidAnnotation {
            annotation,
            value: value.chars().take(60).collect(),
            problem,
        });
    }

    fn choice(&mut self, annotation: &'static str, chosen: &str, otherwise: &str) -> bool {
        match self.value(annotation) {
            Some(value) if value == chosen => true,
            Some(value) if value != otherwise => {
                self.complain(annotation, value, "is not one of the values that it may have");
                false
            }
            _ => false,
        }
    }

    fn bounds(&mut self) -> Bounds {
        let cpu = "is not a CPU quantity above 0, such as 250m, or a list such as app=250m,worker=1";
        let memory = "is not a memory quantity above 0, such as 500M, or a list such as app=500M,worker=1Gi";
        let mut bounds = Bounds {
            replicas: Range {
                min: self.replicas(names::MIN_REPLICAS),
                max: self.replicas(names::MAX_REPLICAS),
            },
            min_cpu: self.amounts(names::MIN_CPU_REQUESTS, quantity::millicores, cpu),
            max_cpu: self.amounts(names::MAX_CPU_REQUESTS, quantity::millicores, cpu),
            min_memory: self.amounts(names::MIN_MEMORY_REQUESTS, quantity::bytes, memory),
            max_memory: self.amounts(names::MAX_MEMORY_REQUESTS, quantity::bytes, memory),
        };
        self.drop_contradictions(&mut bounds);
        bounds
    }

    fn replicas(&mut self, annotation: &'static str) -> Option<u64> {
        let value = self.value(annotation)?;
        let replicas = value
            .parse::<u32>()
            .ok()
            .filter(|replicas| (1..=10_000).contains(replicas));
        if replicas.is_none() {
            self.complain(annotation, value, "is not a whole number of replicas from 1 to 10000");
        }
        replicas.map(u64::from)
    }

    fn amounts(&mut self, annotation: &'static str, parse: fn(&str) -> Option<u64>, problem: &'static str) -> Amounts {
        let Some(value) = self.value(annotation) else {
            return Amounts::default();
        };
        let amount = |text: &str| parse(text).filter(|amount| *amount > 0);
        let entry = |text: &str| match text.split_once('=') {
            Some((container, quantity)) => Some((Some(container.trim().to_owned()), amount(quantity.trim())?)),
            None => Some((None, amount(text.trim())?)),
        };
        let entries: Option<Vec<_>> = value.split(',').map(entry).collect();
        if entries.is_none() {
            self.complain(annotation, value, problem);
        }
        Amounts(entries.unwrap_or_default())
    }

    /// A most that is below its least is ignored: the least protects the workload.
    fn drop_contradictions(&mut self, bounds: &mut Bounds) {
        if contradicts(bounds.replicas.min, bounds.replicas.max) {
            self.below_least(names::MAX_REPLICAS);
            bounds.replicas.max = None;
        }
        if any_contradicts(&bounds.min_cpu, &bounds.max_cpu) {
            self.below_least(names::MAX_CPU_REQUESTS);
            bounds.max_cpu = Amounts::default();
        }
        if any_contradicts(&bounds.min_memory, &bounds.max_memory) {
            self.below_least(names::MAX_MEMORY_REQUESTS);
            bounds.max_memory = Amounts::default();
        }
    }

    fn below_least(&mut self, annotation: &'static str) {
        let value = self.value(annotation).unwrap_or_default();
        self.complain(annotation, value, "is below the least that is asked for");
    }
}

fn contradicts(min: Option<u64>, max: Option<u64>) -> bool {
    matches!((min, max), (Some(min), Some(max)) if max < min)
}

fn any_contradicts(min: &Amounts, max: &Amounts) -> bool {
    let named = min.0.iter().chain(&max.0).filter_map(|(name, _)| name.as_deref());
    named
        .chain([""])
        .any(|container| contradicts(min.of(container), max.of(container)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(annotations: &[(&str, &str)]) -> Wishes {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        Wishes::read(|key| annotations.get(key).copied())
    }

    #[test]
    fn reads_what_the_manual_shows() {
        let wishes = read(&[
            (names::CONFIGURE, "true"),
            (names::MIN_REPLICAS, "2"),
            (names::MAX_REPLICAS, "10"),
            (names::MIN_CPU_REQUESTS, "100m"),
            (names::MIN_MEMORY_REQUESTS, "app=2Gi, 500M"),
        ]);
        assert!(wishes.configure);
        assert_eq!(wishes.invalid, vec![]);
        assert_eq!(
            wishes.bounds.replicas,
            Range {
                min: Some(2),
                max: Some(10)
            }
        );
        assert_eq!(wishes.bounds.cpu_millicores("anything").min, Some(100));
        assert_eq!(wishes.bounds.memory_bytes("app").min, Some(2 << 30));
        assert_eq!(wishes.bounds.memory_bytes("other").min, Some(500_000_000));
        assert_eq!(wishes.bounds.memory_bytes(names::SIDECAR_CONTAINER), Range::default());
    }

    #[test]
    fn names_what_it_ignores() {
        let wishes = read(&[
            (names::CONFIGURE, "yes"),
            (names::MIN_REPLICAS, "two"),
            (names::MAX_CPU_REQUESTS, "app=1,worker=fast"),
            (names::MIN_MEMORY_REQUESTS, "1Gi"),
            (names::MAX_MEMORY_REQUESTS, "500M"),
        ]);
        let ignored: Vec<_> = wishes.invalid.iter().map(|invalid| invalid.annotation).collect();
        let expected = [
            names::MIN_REPLICAS,
            names::MAX_CPU_REQUESTS,
            names::MAX_MEMORY_REQUESTS,
            names::CONFIGURE,
        ];
        assert_eq!(ignored, expected);
        assert!(!wishes.configure);
        assert_eq!(
            wishes.bounds.memory_bytes("app"),
            Range {
                min: Some(1 << 30),
                max: None
            }
        );
        assert_eq!(wishes.bounds.cpu_millicores("app"), Range::default());
        let first = wishes.invalid.first().map(ToString::to_string);
        let message = "valence.io/optimizer.min-replicas: \"two\" is not a whole number of replicas from 1 to 10000; it is ignored";
        assert_eq!(first.as_deref(), Some(message));
    }
}
