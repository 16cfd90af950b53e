//! What is remembered of a workload between cycles.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compare::differs;
use super::sizes::Unpacked;
use super::trial::{IN_VAIN, Trial};
use crate::core::decision::Decision;
use crate::core::observation::Resources;
use crate::recommender::subjects::Matched;
use crate::scrape::PodSummary;

/// How long a pod that was asked about is left alone, unless the plan changes.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// How long the kubelet may take to judge a size that was just asked for.
const JUDGING: Duration = Duration::from_secs(15);

/// How long each replica of the webhook may take to learn of new sizes from its own watch.
const NEWS: Duration = Duration::from_secs(15);

/// How far a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether replicas and pods carry the values in force.
    pub converged: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

impl Standing {
    /// One that is there.
    pub fn converged() -> Self {
        Self {
            converged: true,
            reason: "Converged",
            message: "replicas and pods carry the values in force".to_owned(),
        }
    }

    /// One that is not there yet.
    pub fn behind(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            converged: false,
            reason,
            message: message.into(),
        }
    }
}

/// What a pod was asked for.
#[derive(Clone, Debug)]
struct Asked {
    sizes: BTreeMap<String, Resources>,
    at: Instant,
    /// Whether the API server refused them for good.
    refused: bool,
}

/// What is remembered between cycles.
#[derive(Clone, Debug, Default)]
pub struct Convergence {
    /// How far the workload is.
    pub standing: Option<Standing>,
    pub(super) wanted_replicas: Option<u32>,
    /// The sizes that are wanted, and since when.
    wanted_sizes: Option<(BTreeMap<String, Resources>, Instant)>,
    /// Pods that were asked about, by their unique identifiers.
    asked: HashMap<Arc<str>, Asked>,
    pub(super) autoscaler_asked: Option<Instant>,
    pub(super) evicted: Option<Instant>,
    pub(super) trial: Option<Trial>,
    /// Whether a predecessor evicted for a sidecar in vain.
    pub(super) lost: bool,
    /// Since when new pods are to get a sidecar, in seconds since the Unix epoch.
    pub injected_since: Option<f64>,
}

impl Convergence {
    /// Goes on from what a predecessor said last.
    pub fn continue_from(&mut self, reason: &str) {
        self.lost = reason == IN_VAIN;
        // It may have evicted a pod a moment ago, or may still be about to.
        self.evicted = Some(Instant::now());
    }

    /// Takes note of the sizes that are wanted now.
    pub(super) fn want(&mut self, decision: &Decision) {
        let known = self.wanted_sizes.as_ref();
        if known.is_none_or(|(sizes, _)| *sizes != decision.containers) {
            self.wanted_sizes = Some((decision.containers.clone(), Instant::now()));
        }
    }

    /// Whether admission may not have heard yet of the sizes that are wanted: what it leaves as it is now says nothing.
    pub(super) fn wants_news(&self) -> bool {
        self.wanted_sizes
            .as_ref()
            .is_none_or(|(_, since)| since.elapsed() < NEWS)
    }

    /// Whether a pod is to be asked about: it has other values than the plan, and admission did not leave it so.
    pub(super) fn is_owed(&self, one: &Unpacked<'_>, decision: &Decision) -> bool {
        differs(&one.pod, decision) && !self.was_asked(one.summary, decision)
    }

    /// Whether the kubelet may not have judged yet what was last asked for.
    pub(super) fn has_just_asked(&self, pod: &PodSummary) -> bool {
        let asked = self.asked.get(&pod.unique);
        asked.is_some_and(|asked| asked.at.elapsed() < JUDGING)
    }

    /// Whether the API server refused the sizes of the plan for this pod.
    pub(super) fn was_refused(&self, one: &Unpacked<'_>, decision: &Decision) -> bool {
        let asked = self.asked.get(&one.summary.unique);
        asked.is_some_and(|asked| asked.refused && asked.sizes == decision.containers) && differs(&one.pod, decision)
    }

    fn was_asked(&self, pod: &PodSummary, decision: &Decision) -> bool {
        let asked = self.asked.get(&pod.unique);
        asked.is_some_and(|asked| asked.sizes == decision.containers && asked.at.elapsed() < ASK_AGAIN)
    }

    pub(super) fn ask(&mut self, pod: &PodSummary, decision: &Decision, refused: bool) {
        let asked = Asked {
            sizes: decision.containers.clone(),
            at: Instant::now(),
            refused,
        };
        self.asked.insert(Arc::clone(&pod.unique), asked);
    }

    /// Forgets pods that are gone.
    pub(super) fn forget(&mut self, matched: &Matched) {
        self.asked
            .retain(|unique, _| matched.subject.pods.iter().any(|pod| pod.unique == *unique));
    }
}
