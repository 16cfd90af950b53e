//! What resources cost, so that a recommendation can be weighed against the present.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use crate::core::observation::Resources;
use crate::core::settings::Settings;

const GIBIBYTE: f64 = 1_073_741_824.0;
const HOURS_PER_MONTH: f64 = 730.0;

/// Prices of requested resources. Without them costs are told in cores and bytes.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct Prices {
    /// What a core costs in an hour, so that costs are told in money as well.
    #[arg(long, env = "VALENCE_PRICE_PER_CORE_HOUR", value_name = "AMOUNT", value_parser = price)]
    pub price_per_core_hour: Option<f64>,

    /// What a GiB of memory costs in an hour; without it, what the model takes it to be worth in cores.
    #[arg(long, env = "VALENCE_PRICE_PER_GIB_HOUR", value_name = "AMOUNT", value_parser = price, requires = "price_per_core_hour")]
    pub price_per_gib_hour: Option<f64>,

    /// Currency of the prices, put in front of amounts.
    #[arg(long, env = "VALENCE_CURRENCY", value_name = "NAME", default_value = "")]
    pub currency: String,
}

/// A price: more than nothing.
fn price(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(amount) if f64::is_finite(amount) && amount > 0.0 => Ok(amount),
        _ => Err("must be a number above 0".to_owned()),
    }
}

impl Prices {
    /// What a GiB of memory costs, in cores of CPU.
    #[must_use]
    pub fn gibibyte_in_cores(&self) -> f64 {
        match (self.price_per_gib_hour, self.price_per_core_hour) {
            (Some(gibibyte), Some(core)) => gibibyte / core,
            _ => Settings::default().gibibyte_in_cores,
        }
    }

    /// An amount of money, with its currency where one is named.
    #[must_use]
    pub fn money(&self, amount: f64) -> String {
        money(&self.currency, amount)
    }
}

/// An amount of money, with its currency where one is named.
#[must_use]
pub fn money(currency: &str, amount: f64) -> String {
    let decimals = if amount.abs() < 100.0 { 2 } else { 0 };
    let amount = crate::report::words::grouped(amount, decimals);
    format!("{currency} {amount}").trim_start().to_owned()
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
        Self::new(cpu_cores, memory_bytes, prices)
    }

    /// The cost of so much CPU and memory.
    #[must_use]
    pub fn new(cpu_cores: f64, memory_bytes: f64, prices: &Prices) -> Self {
        let core_equivalents = cpu_cores + memory_bytes / GIBIBYTE * prices.gibibyte_in_cores();
        let hour = prices.price_per_core_hour.map(|price| core_equivalents * price);
        Self {
            cpu_cores,
            memory_bytes,
            core_equivalents,
            per_month: hour.map(|hour| hour * HOURS_PER_MONTH),
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
            price_per_core_hour: Some(0.1),
            price_per_gib_hour: Some(0.025),
            currency: "EUR".to_owned(),
        };
        let four = Cost::of(4, &containers, &prices);
        assert!((four.core_equivalents - 3.0).abs() < 1e-9);
        assert!((four.per_month.unwrap_or_default() - 219.0).abs() < 1e-9);
        let two = Cost::of(2, &containers, &prices);
        assert_eq!(four.change_to(&two), Some(-0.5));
        assert_eq!(Cost::default().change_to(&two), None);
        assert_eq!(prices.money(21.9), "EUR 21.90");
        assert_eq!(money("", 12_345.6), "12,346");
    }

    #[test]
    fn a_price_is_more_than_nothing() {
        assert_eq!(price("0.031"), Ok(0.031));
        assert!(price("0").is_err() && price("-1").is_err() && price("cheap").is_err() && price("NaN").is_err());
    }
}
