//! What users ask for on a Deployment by annotation.

use std::collections::BTreeMap;

use valence_webhook::names;

use crate::api::quantity;
use crate::core::decision::Bounds;
use crate::core::units::{Bytes, Cores};

/// Most replicas that an annotation may name.
const MOST_REPLICAS: u32 = 10_000;

/// Annotations understood, and those that were not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// What the user allows.
    pub bounds: Bounds,
    /// Annotations whose value is ignored.
    pub ignored: Vec<Ignored>,
}

/// An annotation whose value is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// The annotation.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Why it is ignored.
    pub problem: &'static str,
}

impl std::fmt::Display for Ignored {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = self.value.chars().take(64).collect();
        write!(formatter, "annotation {}: {shown:?} {}", self.name, self.problem)
    }
}

/// Reads the annotations of a Deployment.
#[must_use]
pub fn read(annotations: &BTreeMap<String, String>) -> Wishes {
    let mut reader = Reader {
        annotations,
        ignored: Vec::new(),
    };
    let mut bounds = Bounds {
        live: reader.flag(names::CONFIGURE),
        min_replicas: reader.replicas(names::MIN_REPLICAS),
        max_replicas: reader.replicas(names::MAX_REPLICAS),
        min_cpu: reader.cpu(names::MIN_CPU_REQUESTS),
        max_cpu: reader.cpu(names::MAX_CPU_REQUESTS),
        min_memory: reader.memory(names::MIN_MEMORY_REQUESTS),
        max_memory: reader.memory(names::MAX_MEMORY_REQUESTS),
        ..Bounds::default()
    };
    bounds.max_replicas = reader.not_below(names::MAX_REPLICAS, bounds.max_replicas, bounds.min_replicas);
    bounds.max_cpu = reader.not_below(names::MAX_CPU_REQUESTS, bounds.max_cpu, bounds.min_cpu);
    bounds.max_memory = reader.not_below(names::MAX_MEMORY_REQUESTS, bounds.max_memory, bounds.min_memory);
    Wishes {
        bounds,
        ignored: reader.ignored,
    }
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    ignored: Vec<Ignored>,
}

impl Reader<'_> {
    fn take<T>(&mut self, name: &'static str, problem: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.annotations.get(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.ignore(name, problem);
        }
        parsed
    }

    fn ignore(&mut self, name: &'static str, problem: &'static str) {
        let value = self.annotations.get(name).cloned().unwrap_or_default();
        self.ignored.push(Ignored { name, value, problem });
    }

    fn flag(&mut self, name: &'static str) -> bool {
        let problem = "is neither \"true\" nor \"false\"";
        let parse = |text: &str| text.parse::<bool>().ok();
        self.take(name, problem, parse).unwrap_or_default()
    }

    fn replicas(&mut self, name: &'static str) -> Option<u32> {
        let parse = |text: &str| {
            text.parse()
                .ok()
                .filter(|replicas| (1..=MOST_REPLICAS).contains(replicas))
        };
        self.take(name, "is not a number of replicas from 1 to 10000", parse)
    }

    fn cpu(&mut self, name: &'static str) -> Option<Cores> {
        let parse = |text: &str| quantity::value(text).filter(|cores| *cores > 0.0 && *cores <= 1024.0);
        self.take(name, "is not a CPU quantity such as 100m", parse).map(Cores)
    }

    fn memory(&mut self, name: &'static str) -> Option<Bytes> {
        let parse = |text: &str| quantity::bytes(text).filter(|bytes| (1 << 20..=1 << 46).contains(bytes));
        self.take(name, "is not a memory quantity of at least 1Mi, such as 500M", parse)
            .map(Bytes)
    }

    fn not_below<T: PartialOrd>(&mut self, name: &'static str, most: Option<T>, least: Option<T>) -> Option<T> {
        match (&most, &least) {
            (Some(upper), Some(lower)) if upper < lower => {
                self.ignore(name, "is below the minimum");
                None
            }
            _ => most,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn wishes(pairs: &[(&str, &str)]) -> Wishes {
        read(
            &pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn the_documented_annotations_are_read() {
        let wishes = wishes(&[
            ("valence.io/optimizer.configure", "true"),
            ("valence.io/optimizer.min-replicas", "2"),
            ("valence.io/optimizer.min-cpu-requests", "100m"),
            ("valence.io/optimizer.min-memory-requests", "500M"),
            ("valence.io/optimizer.max-replicas", "20"),
        ]);
        assert_eq!(wishes.ignored, []);
        let bounds = wishes.bounds;
        assert!(bounds.live);
        assert_eq!((bounds.min_replicas, bounds.max_replicas), (Some(2), Some(20)));
        assert_eq!(bounds.min_cpu, Some(Cores(0.1)));
        assert_eq!(bounds.min_memory, Some(Bytes(500_000_000)));
    }

    #[test]
    fn bad_values_are_ignored_and_named() {
        let wishes = wishes(&[
            ("valence.io/optimizer.configure", "yes"),
            ("valence.io/optimizer.min-replicas", "-1"),
            ("valence.io/optimizer.max-cpu-requests", "lots"),
            ("valence.io/optimizer.min-memory-requests", "1"),
        ]);
        assert_eq!(wishes.bounds, Bounds::default());
        let told: Vec<String> = wishes.ignored.iter().map(Ignored::to_string).collect();
        assert_eq!(told.len(), 4);
        assert!(
            told[0].contains("valence.io/optimizer.configure") && told[0].contains("\"yes\""),
            "{told:?}"
        );
    }

    #[test]
    fn a_maximum_below_the_minimum_is_ignored() {
        let wishes = wishes(&[(names::MIN_REPLICAS, "5"), (names::MAX_REPLICAS, "3")]);
        assert_eq!(
            (wishes.bounds.min_replicas, wishes.bounds.max_replicas),
            (Some(5), None)
        );
        assert_eq!(wishes.ignored[0].name, names::MAX_REPLICAS);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_named(value in ".{0,80}") {
            for name in [names::CONFIGURE, names::MIN_REPLICAS, names::MAX_CPU_REQUESTS, names::MIN_MEMORY_REQUESTS] {
                let wishes = wishes(&[(name, &value)]);
                for ignored in &wishes.ignored {
                    prop_assert!(ignored.to_string().len() < 600);
                }
            }
        }
    }
}
