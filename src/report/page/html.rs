//! The frame of every page and the small pieces that pages share.

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::cost::Cost;
use super::data::{ComplianceView, CostView, WorkloadView};
use crate::core::readout::Verdict;
use crate::report::words;

/// Which replica answers, and as of when.
#[derive(Clone, Copy)]
pub struct Told {
    pub at: Option<Timestamp>,
    pub leader: bool,
}

impl Told {
    fn foot(self) -> Markup {
        html! {
            @match self.at {
                Some(at) => { "As of " time datetime=(at.to_string()) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } ". " },
                None => "No cycle has ended yet. ",
            }
            @if self.leader { "This replica recommends." } @else { "Another replica recommends." }
        }
    }

    /// What is missing on a replica that only serves admission, and how to reach the other.
    fn notice(self) -> Markup {
        html! {
            @if self.at.is_some() && !self.leader {
                p.remark role="note" {
                    "This replica does not measure: curves, compliance and the sizes in force are shown by the holder of the Lease valence-recommender ("
                    code { "kubectl get lease valence-recommender -n NAMESPACE" } ")."
                }
            }
        }
    }
}

/// A whole document. `root` is the way back to the first page, so that links hold behind a proxy under any path.
pub fn document(title: &str, root: &str, twin: &str, told: Told, body: Markup) -> Markup {
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
                main #main { (told.notice()) (body) }
                footer { (told.foot()) }
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

/// The state of the model, coloured where it asks for a look.
pub fn state(one: &WorkloadView) -> Markup {
    let class = match one.state.as_str() {
        "Confident" => "good",
        "Drift" => "warn",
        "MetricsMissing" | "Unattainable" => "bad",
        _ => "unknown",
    };
    html! { span.badge.(class) title=(one.state_meaning) { (one.state) } }
}

/// The error budget that is left, as a bar and a number.
pub fn budget(left: f64) -> Markup {
    // Nothing left is a full bar in the colour of alarm, not an empty one that is overlooked.
    let share = if left <= 0.0 { 1.0 } else { left.min(1.0) };
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
    format!("{}, {}", cores(cost.cpu_cores), words::gibibytes(cost.memory_bytes))
}

/// An amount of CPU in cores.
pub fn cores(amount: f64) -> String {
    let number = words::number(amount);
    format!("{number} core{}", if number == "1" { "" } else { "s" })
}

/// What the recommendation changes in cost, in a phrase; a dash where there is nothing to compare with.
pub fn saving(view: &CostView) -> String {
    match view.change {
        None => "–".to_owned(),
        Some(change) if change.abs() < 0.005 => "unchanged".to_owned(),
        Some(change) => format!(
            "{} {}",
            words::percent(change.abs()),
            if change < 0.0 { "less" } else { "more" }
        ),
    }
}

/// The same beside what is in force.
pub fn compared(view: &CostView) -> String {
    let change = saving(view);
    if view.change.is_some_and(|change| change.abs() >= 0.005) {
        format!("{change} than now")
    } else {
        change
    }
}

/// What a cost is, and in money where a price is known; lines are broken between the two.
pub fn priced(view: &CostView, one: &Cost) -> Markup {
    html! {
        span.whole { (cost(one)) }
        @if let Some(month) = view.month(one) { " " span.whole { "(" (month) ")" } }
    }
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
