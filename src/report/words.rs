//! What the page and the commands say in plain words: units, states and bounds.

use crate::api::quantity;
use crate::core::decision::{Bound, Flag, ModelState};
use crate::core::objective::Objective;
use crate::core::units::{Bytes, Cores};

/// A duration in seconds with three significant digits, as `87.4 ms`.
#[must_use]
pub fn seconds(value: f64) -> String {
    let (unit, size) = match value.abs() {
        v if v >= 172_800.0 => ("d", 86_400.0),
        v if v >= 7200.0 => ("h", 3600.0),
        v if v >= 120.0 => ("min", 60.0),
        v if v >= 1.0 => ("s", 1.0),
        v if v >= 1e-3 || v == 0.0 => ("ms", 1e-3),
        _ => ("µs", 1e-6),
    };
    format!("{} {unit}", number(value / size))
}

/// A number with three significant digits at most and no trailing zeros; from 1000 on with separators.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "none".to_owned();
    }
    let magnitude = if value == 0.0 {
        0
    } else {
        value.abs().log10().floor() as i32
    };
    let decimals = usize::try_from(2 - magnitude).unwrap_or(0).min(6);
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    separated(&text)
}

/// A number with so many decimals, its digits before the point grouped by three.
#[must_use]
pub fn grouped(value: f64, decimals: usize) -> String {
    separated(&format!("{value:.decimals$}"))
}

/// An amount of memory in GiB, for sums over many pods.
#[must_use]
pub fn gibibytes(bytes: f64) -> String {
    format!("{} GiB", number(bytes / 1_073_741_824.0))
}

/// Groups the digits before the point by three.
fn separated(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, rest) = digits.find('.').map_or((digits, ""), |at| digits.split_at(at));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// A share (0 to 1) in percent, with more digits where the nines are, never rounded up to 100.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let decimals = match value {
        v if v > 99.0 && v < 100.0 => 2,
        v if v.abs() >= 10.0 => 1,
        _ => 2,
    };
    let scale = 10_f64.powi(decimals);
    let shown = if value < 100.0 {
        (value * scale).floor() / scale
    } else {
        value
    };
    format!("{}%", number_with(shown, decimals as usize))
}

fn number_with(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A rate in requests per second, as a user writes throughput: `500/min`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{}/min", number(per_second * 60.0))
}

/// A CPU amount, or a dash where there is none.
#[must_use]
pub fn cpu(amount: Option<Cores>) -> String {
    amount.map_or_else(|| "–".to_owned(), quantity::cpu_text)
}

/// A memory amount, or a dash where there is none.
#[must_use]
pub fn memory(amount: Option<Bytes>) -> String {
    amount.map_or_else(|| "–".to_owned(), quantity::memory_text)
}

/// An objective in words: `p99 within 100 ms at 500/min`.
#[must_use]
pub fn objective(objective: &Objective) -> String {
    let load = objective
        .throughput_per_second
        .map_or_else(|| "every throughput".to_owned(), rate);
    format!(
        "p{} within {} at {load}",
        number(objective.percentile * 100.0),
        seconds(objective.response_time_seconds)
    )
}

/// What a name ends with, and how its value is written.
type Unit = (&'static str, fn(f64) -> String);

/// A named number with its unit, which its name ends with: `demand_cpu_seconds` becomes (`demand cpu`, `4.1 ms`).
#[must_use]
pub fn measure(name: &str, value: f64) -> (String, String) {
    const UNITS: [Unit; 12] = [
        ("_at_seconds", |v| seconds(v)),
        ("_seconds", |v| seconds(v)),
        ("_cores", |v| format!("{} cores", number(v))),
        ("_bytes", |v| quantity::memory_text(Bytes(v.max(0.0) as u64))),
        ("_per_second", |v| format!("{}/s", number(v))),
        ("_per_minute", |v| format!("{}/min", number(v))),
        ("_share", percent),
        ("_utilisation", percent),
        ("utilisation_ratio", percent),
        ("left_ratio", percent),
        ("compliance_ratio", percent),
        ("_ratio", |v| format!("× {}", number(v))),
    ];
    let (stem, text) = UNITS
        .iter()
        .find_map(|(suffix, unit)| name.strip_suffix(suffix).map(|stem| (stem, unit(value))))
        .unwrap_or_else(|| (name, number(value)));
    let kept = if name.contains("utilisation") || name.ends_with("left_ratio") || name.ends_with("compliance_ratio") {
        name.trim_end_matches("_ratio")
    } else {
        stem
    };
    (kept.replace('_', " "), text)
}

/// What a state of the model means for the recommendation.
#[must_use]
pub fn state(state: ModelState) -> &'static str {
    match state {
        ModelState::Cold => "Nothing has been measured yet; the workload stays as it is.",
        ModelState::Learning => "Too little has been measured to take anything away; it may only grow.",
        ModelState::Confident => "The prediction has been checked against what was seen.",
        ModelState::Drift => "The application changed; until it is learnt anew, nothing is taken away.",
        ModelState::MetricsMissing => "Measurements stopped arriving; the last good numbers are kept.",
        ModelState::Unattainable => "More capacity has not made it faster, so no more is spent.",
    }
}

/// What bound a decision, in words.
#[must_use]
pub fn bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Latency => "the latency objective",
        Bound::Use => "the CPU in use, which the requests must cover",
        Bound::Knee => "room for bursts of CPU",
        Bound::Memory => "memory",
        Bound::Limit => "the least or most replicas allowed",
        Bound::Forecast => "the load that is expected",
        Bound::TrustRegion => "how far the model may go beyond what was seen",
        Bound::State => "the state of the model",
    }
}

/// The same in a word or two, for a table.
#[must_use]
pub fn bound_in_short(bound: Bound) -> &'static str {
    match bound {
        Bound::Latency => "latency",
        Bound::Use => "CPU in use",
        Bound::Knee => "bursts of CPU",
        Bound::Memory => "memory",
        Bound::Limit => "least or most replicas",
        Bound::Forecast => "expected load",
        Bound::TrustRegion => "what was seen so far",
        Bound::State => "state of the model",
    }
}

/// What a user could do to get another number.
#[must_use]
pub fn remedy(bound: Bound) -> &'static str {
    match bound {
        Bound::Latency => {
            "A longer response time, a lower percentile or less CPU time per request would make it smaller."
        }
        Bound::Use => "Less CPU time per request would make it smaller.",
        Bound::Knee => "Less CPU time per request, or fewer requests at once, would make it smaller.",
        Bound::Memory => "An application that keeps less in memory would make it smaller.",
        Bound::Limit => "Change the valence.io/optimizer.min-* or max-* annotation of the Deployment to let it move.",
        Bound::Forecast => "It shrinks by itself once the expected load has not come.",
        Bound::TrustRegion => "It moves on by itself, a step at a time, as the new range is measured.",
        Bound::State => "It moves once the model knows enough: traffic through the sidecar is what it learns from.",
    }
}

/// What the CPU request of a pod comes from, and what would change it; `moved` where it is not as written.
#[must_use]
pub fn cpu_size(moved: bool) -> &'static str {
    if moved {
        "the cheapest for the loads of the last half hour; other loads or another CPU time per request change it. Bounds: min-cpu-requests, max-cpu-requests."
    } else {
        "as you wrote it. A Confident model chooses another at most every half hour, where that saves 10% (a smaller one 20%)."
    }
}

/// What the memory request of a pod comes from, and what would change it; `moved` where it is not as written.
#[must_use]
pub fn memory_size(moved: bool) -> &'static str {
    if moved {
        "the most that was seen in use and 15%, which counts half after a day. Bounds: min-memory-requests, max-memory-requests."
    } else {
        "as you wrote it. It is chosen together with the CPU, and raised at once near the limit."
    }
}

/// A remark about a decision.
#[must_use]
pub fn flag(flag: Flag) -> &'static str {
    match flag {
        Flag::Extrapolated => {
            "The declared throughput is far from any load that was seen: the number is an extrapolation."
        }
        Flag::ThroughputExceeded => "The load is above the declared throughput: the objective was not promised for it.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (value, text) in [
            (0.0874, "87.4 ms"),
            (0.1, "100 ms"),
            (1.5, "1.5 s"),
            (0.000_25, "250 µs"),
            (300.0, "5 min"),
            (0.0, "0 ms"),
        ] {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (value, text) in [
            (1234.5, "1,234"),
            (12.345, "12.3"),
            (0.001_234, "0.00123"),
            (-1_234_567.0, "-1,234,567"),
            (500.0, "500"),
            (0.0, "0"),
            (f64::NAN, "none"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_percentage_is_never_rounded_to_perfection() {
        assert_eq!(percent(0.999_99), "99.99%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(0.5), "50%");
        assert_eq!(percent(-0.25), "-25%");
    }

    #[test]
    fn a_name_carries_its_unit() {
        assert_eq!(
            measure("demand_cpu_seconds", 0.0041),
            ("demand cpu".into(), "4.1 ms".into())
        );
        assert_eq!(
            measure("cpu_utilisation", 0.61),
            ("cpu utilisation".into(), "61%".into())
        );
        assert_eq!(measure("working_set_bytes", 1e8), ("working set".into(), "96Mi".into()));
        assert_eq!(
            measure("safe_utilisation_ratio", 0.2),
            ("safe utilisation".into(), "20%".into())
        );
        assert_eq!(
            measure("web_error_budget_left_ratio", 1.0),
            ("web error budget left".into(), "100%".into())
        );
        assert_eq!(measure("headroom_ratio", 1.25), ("headroom".into(), "× 1.25".into()));
        assert_eq!(measure("replicas", 3.0), ("replicas".into(), "3".into()));
    }

    #[test]
    fn an_objective_in_words() {
        let words = objective(&Objective {
            slo: "web".into(),
            percentile: 0.99,
            response_time_seconds: 0.1,
            throughput_per_second: Some(500.0 / 60.0),
        });
        assert_eq!(words, "p99 within 100 ms at 500/min");
    }
}
