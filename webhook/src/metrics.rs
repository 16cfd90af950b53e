//! Metrics of admission.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use crate::admission::Endpoint;

/// Most pairs of managers and users that are told apart.
const MOST_OVERRIDERS: usize = 100;

/// Longest name of a manager or user that is kept, in bytes: the API server's own bound of a field manager. Whoever else
/// reaches the port has none.
const LONGEST_NAME: usize = 128;

/// Upper bounds of the duration histogram, in seconds.
const DURATIONS: [f64; 12] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.25, 1.0,
];

/// What became of a review, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// A patch.
    Changed,
    /// No patch.
    Unchanged,
    /// No patch, because the object was not understood.
    NotUnderstood,
    /// No answer, because the review was not understood.
    Malformed,
    /// No answer, because too many were under way.
    Shed,
}

impl Result {
    const ALL: [Self; 5] = [
        Self::Changed,
        Self::Unchanged,
        Self::NotUnderstood,
        Self::Malformed,
        Self::Shed,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::NotUnderstood => "not_understood",
            Self::Malformed => "malformed",
            Self::Shed => "shed",
        }
    }
}

/// Somebody whose values gave way.
#[derive(Debug)]
struct Overrider {
    manager: String,
    user: String,
    count: IntCounter,
}

/// Metrics of admission. What is counted on every review is looked up beforehand.
pub struct Metrics {
    reviews: Vec<IntCounter>,
    durations: Vec<Histogram>,
    injections: IntCounter,
    overrides: IntCounterVec,
    overriders: ArcSwap<Vec<Arc<Overrider>>>,
    others: OnceLock<IntCounter>,
    notices_dropped: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let reviews = IntCounterVec::new(
            Opts::new("valence_admission_reviews_total", "Admission reviews answered."),
            &["kind", "outcome", "dry_run"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "valence_admission_duration_seconds",
                "Time to answer an admission review.",
            )
            .buckets(DURATIONS.to_vec()),
            &["kind"],
        )?;
        let injections = IntCounter::new("valence_admission_injections_total", "Pods that got a sidecar.")?;
        let overrides = IntCounterVec::new(
            Opts::new(
                "valence_admission_overrides_total",
                "Values asked for by somebody that gave way to those of Valence.",
            ),
            &["manager", "user"],
        )?;
        let notices_dropped = IntCounter::new(
            "valence_admission_notices_dropped_total",
            "Events that were not written because there were too many.",
        )?;
        registry.register(Box::new(reviews.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        registry.register(Box::new(injections.clone()))?;
        registry.register(Box::new(overrides.clone()))?;
        registry.register(Box::new(notices_dropped.clone()))?;
        Ok(Self {
            reviews: every_review(&reviews),
            durations: Endpoint::ALL
                .iter()
                .map(|endpoint| durations.with_label_values(&[endpoint.label()]))
                .collect(),
            injections,
            overrides,
            overriders: ArcSwap::default(),
            others: OnceLock::new(),
            notices_dropped,
        })
    }

    pub(crate) fn reviewed(&self, endpoint: Endpoint, result: Result, dry_run: bool, took: Duration) {
        if let Some(counter) = self.reviews.get(position(endpoint, result, dry_run)) {
            counter.inc();
        }
        if let Some(durations) = self.durations.get(endpoint as usize) {
            durations.observe(took.as_secs_f64());
        }
    }

    pub(crate) fn injected(&self) {
        self.injections.inc();
    }

    /// Counts an override, without a lock but for the first of each; beyond a bounded number of managers and users they
    /// are all `other`.
    pub(crate) fn overridden(&self, manager: &str, user: &str) {
        let [manager, user] = [manager, user].map(|name| start(name, LONGEST_NAME));
        let known = self.overriders.load();
        if let Some(known) = known
            .iter()
            .find(|known| known.manager == manager && known.user == user)
        {
            known.count.inc();
        } else if known.len() < MOST_OVERRIDERS {
            self.first_override(manager, user);
        } else {
            let others = || self.overrides.with_label_values(&["other", "other"]);
            self.others.get_or_init(others).inc();
        }
    }

    /// Of two first ones that come at once both are kept, and count the same series.
    fn first_override(&self, manager: &str, user: &str) {
        let overrider = Arc::new(Overrider {
            manager: manager.to_owned(),
            user: user.to_owned(),
            count: self.overrides.with_label_values(&[manager, user]),
        });
        overrider.count.inc();
        self.overriders.rcu(|known| {
            let mut more = Vec::clone(known);
            more.push(Arc::clone(&overrider));
            more
        });
    }

    pub(crate) fn dropped(&self) {
        self.notices_dropped.inc();
    }
}

/// As much of a text as fits into a number of bytes.
fn start(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn every_review(reviews: &IntCounterVec) -> Vec<IntCounter> {
    let mut counters = Vec::new();
    for endpoint in Endpoint::ALL {
        for result in Result::ALL {
            for dry_run in ["false", "true"] {
                counters.push(reviews.with_label_values(&[endpoint.label(), result.label(), dry_run]));
            }
        }
    }
    counters
}

fn position(endpoint: Endpoint, result: Result, dry_run: bool) -> usize {
    (endpoint as usize * Result::ALL.len() + result as usize) * 2 + usize::from(dry_run)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_overriders_are_cut() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.overridden(&"m".repeat(4 << 20), &"é".repeat(1000));
        metrics.overridden(&"m".repeat(4 << 20), &"é".repeat(999));
        let text = prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        let (manager, user) = ("m".repeat(LONGEST_NAME), "é".repeat(LONGEST_NAME / 2));
        let line = format!(r#"valence_admission_overrides_total{{manager="{manager}",user="{user}"}} 2"#);
        assert!(text.contains(&line), "{} bytes of metrics", text.len());
        assert_eq!(metrics.overriders.load().len(), 1);
    }
}
