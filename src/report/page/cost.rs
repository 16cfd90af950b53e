//! What resources cost, so that a recommendation can be weighed against the present.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::core::observation::Resources;

const GIBIBYTE: f64 = 1_073_741_824.0;
const HOURS_PER_MONTH: f64 = 730.0;

/// Prices of requested resources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// What a GiB of memory costs, in cores of CPU.
    pub gibibyte_in_cores: f64,
    /// What a core costs in an hour, in whatever currency the user counts in; `None` leaves costs in cores.
    pub core_hour: Option<f64>,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            gibibyte_in_cores: crate::core::settings::Settings::default().gibibyte_in_cores,
            core_hour: None,
        }
    }
}

/// What a workload requests in all, over its replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Requested CPU in cores.
    pub cpu_cores: f64,
    /// Requested memory in bytes.
    pub memory_bytes: f64,
    /// Both in cores, memory at its price.
    pub core_equivalents: f64,
    /// In money per month of 730 hours, where a price is known.
    pub per_month: Option<f64>,
}

impl Cost {
    /// The cost of replicas with these containers; a container without a request counts as nothing.
    #[must_use]
    pub fn of(replicas: u32, containers: &BTreeMap<String, Resources>, prices: &Prices) -> Self {
        let sum = |amount: fn(&Resources) -> f64| f64::from(replicas) * containers.values().map(amount).sum::<f64>();
        let cpu_cores = sum(|resources| resources.cpu_request.map_or(0.0, |cpu| cpu.0));
        let memory_bytes = sum(|resources| resources.memory_request.map_or(0.0, |memory| memory.0 as f64));
        let core_equivalents = cpu_cores + memory_bytes / GIBIBYTE * prices.gibibyte_in_cores;
        Self {
            cpu_cores,
            memory_bytes,
            core_equivalents,
            per_month: prices.core_hour.map(|price| core_equivalents * price * HOURS_PER_MONTH),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_cores: self.cpu_cores + other.cpu_cores,
            memory_bytes: self.memory_bytes + other.memory_bytes,
            core_equivalents: self.core_equivalents + other.core_equivalents,
            per_month: other.per_month.map(|money| money + self.per_month.unwrap_or_default()),
        }
    }

    /// How much more `other` costs, as a share of this; `None` where this costs nothing.
    #[must_use]
    pub fn change_to(&self, other: &Self) -> Option<f64> {
        (self.core_equivalents > 0.0).then(|| other.core_equivalents / self.core_equivalents - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::units::{Bytes, Cores};

    #[test]
    fn memory_counts_at_its_price() {
        let containers = BTreeMap::from([(
            "app".to_owned(),
            Resources {
                cpu_request: Some(Cores(0.5)),
                memory_request: Some(Bytes(1 << 30)),
                ..Resources::default()
            },
        )]);
        let prices = Prices {
            gibibyte_in_cores: 0.25,
            core_hour: Some(0.1),
        };
        let four = Cost::of(4, &containers, &prices);
        assert!((four.core_equivalents - 3.0).abs() < 1e-9);
        assert!((four.per_month.unwrap_or_default() - 219.0).abs() < 1e-9);
        let two = Cost::of(2, &containers, &prices);
        assert_eq!(four.change_to(&two), Some(-0.5));
        assert_eq!(Cost::default().change_to(&two), None);
    }
}
