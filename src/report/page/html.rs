//! The frame of every page and the small pieces that pages share.

use maud::{DOCTYPE, Markup, html};

use super::cost::Cost;
use super::data::{ComplianceView, CostView};
use crate::core::readout::Verdict;
use crate::core::units::Bytes;
use crate::report::words;

/// A whole document. `root` is the way back to the first page, so that links hold behind a proxy under any path.
pub fn document(title: &str, root: &str, twin: &str, foot: Markup, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Valence" }
                link rel="stylesheet" href=(format!("{root}style.css"));
                link rel="icon" href=(format!("{root}icon.svg")) type="image/svg+xml";
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href=(if root.is_empty() { "./" } else { root }) {
                        (mark()) span { "Valence" }
                    }
                    nav { a href=(twin) { "JSON" } }
                }
                main #main { (body) }
                footer { (foot) }
            }
        }
    }
}

/// The mark: two shells and what they share.
pub fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" aria-hidden="true" {
            circle cx="12" cy="16" r="9" {}
            circle cx="20" cy="16" r="9" {}
            circle.core cx="16" cy="16" r="3" {}
        }
    }
}

/// How an objective stands, in a word that does not depend on its colour.
pub fn verdict(one: &ComplianceView) -> Markup {
    let (class, word) = match one.verdict {
        Verdict::Met => ("good", "kept"),
        Verdict::Violated => ("bad", "missed"),
        Verdict::Unknown => ("unknown", "too few requests to say"),
    };
    html! { span.badge.(class) { (word) } }
}

/// The error budget that is left, as a bar and a number.
pub fn budget(left: f64) -> Markup {
    let share = left.clamp(0.0, 1.0);
    let class = if left <= 0.0 {
        "bad"
    } else if left < 0.25 {
        "warn"
    } else {
        "good"
    };
    html! {
        span.budget {
            svg.bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
                rect.track width="100" height="8" rx="4" {}
                rect.(class) width=(format!("{:.1}", share * 100.0)) height="8" rx="4" {}
            }
            span { (if left < 0.0 { "overspent".to_owned() } else { words::percent(left) + " left" }) }
        }
    }
}

/// A share in percent, or a dash.
pub fn share(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), words::percent)
}

/// A duration, or a dash.
pub fn duration(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), words::seconds)
}

/// A cost in one line.
pub fn cost(cost: &Cost) -> String {
    let memory = words::memory(Some(Bytes(cost.memory_bytes.max(0.0) as u64)));
    format!("{} cores, {memory}", words::number(cost.cpu_cores))
}

/// What the recommendation changes in cost, in a phrase.
pub fn saving(view: &CostView) -> String {
    let share = match view.change {
        None => return "nothing to compare with".to_owned(),
        Some(change) if change.abs() < 0.005 => return "the same cost".to_owned(),
        Some(change) => words::percent(change.abs()),
    };
    let direction = if view.change < Some(0.0) { "less" } else { "more" };
    let money = match (view.current.per_month, view.recommended.per_month) {
        (Some(now), Some(then)) => format!(", {} a month", words::number((then - now).abs())),
        _ => String::new(),
    };
    format!("{share} {direction}{money}")
}

/// A value with what it would become; the same value is said once.
pub fn becomes(now: &str, then: Option<String>) -> Markup {
    html! {
        @match then {
            Some(then) if then != now => { span.was { (now) } " → " strong { (then) } },
            _ => (now),
        }
    }
}
