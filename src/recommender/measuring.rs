//! Scrapes round after round in a task of its own: nothing that the API server keeps waiting holds up a measurement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::lease::Leadership;
use super::pulse::Pulse;
use super::software::Software;
use super::subjects::{self, Key, Matches};
use crate::cache::Cluster;
use crate::clock::Clock;
use crate::scrape::{Round, Scraper, Subject};

/// Rounds that wait for the recommender; the ones after them are lost when it does not get on for so long.
const WAITING: usize = 4;

/// A round, and what was measured in it.
pub struct Measured {
    /// The Deployments that are selected; `None` while this replica does not lead, or does not know them yet.
    pub matched: Option<Matches>,
    /// What was found at each, in their order.
    pub round: Round,
}

/// What a replica measures that recommends, or did until the API server went away.
pub struct Measurer {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Scrapes.
    pub scraper: Scraper,
    /// Tells the time.
    pub clock: Clock,
    /// Time between two rounds.
    pub interval: Duration,
    /// What the pods of each Deployment run.
    pub software: BTreeMap<Key, Software>,
    /// Beats with every round.
    pub pulse: Pulse,
}

/// The rounds of a measurer at work, until it is dropped.
pub struct Rounds {
    rounds: Receiver<Measured>,
    _task: JoinSet<()>,
}

impl Rounds {
    /// The next round; `None` when there will be no more, which is a fault.
    pub async fn next(&mut self) -> Option<Measured> {
        self.rounds.recv().await
    }

    /// A round that waits already.
    pub fn waiting(&mut self) -> Option<Measured> {
        self.rounds.try_recv().ok()
    }
}

impl Measurer {
    /// Starts measuring.
    pub fn start(self) -> Rounds {
        let (sender, rounds) = mpsc::channel(WAITING);
        let mut task = JoinSet::new();
        task.spawn(self.run(sender));
        Rounds { rounds, _task: task }
    }

    async fn run(mut self, rounds: Sender<Measured>) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut behind = false;
        loop {
            let leads = self.leads();
            tokio::select! {
                _ = ticks.tick() => {}
                // A new leader need not wait for the next tick.
                () = self.leadership.gained(), if !leads => ticks.reset(),
            }
            let measured = self.round().await;
            self.pulse.beat();
            match rounds.try_send(measured) {
                Ok(()) => behind = false,
                Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(_)) if behind => debug!("another round is lost"),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    behind = true;
                    warn!("rounds are lost: what is measured is not taken in as fast as it is measured");
                }
            }
        }
    }

    fn leads(&self) -> bool {
        self.leadership.holds() || self.leadership.has_lapsed()
    }

    async fn round(&mut self) -> Measured {
        let knows = self.leads() && self.cluster.filled();
        let matched = knows.then(|| subjects::matched(&self.cluster));
        let subjects: Vec<Subject> = matched
            .iter()
            .flat_map(BTreeMap::iter)
            .map(|(key, one)| self.software.entry(key.clone()).or_default().subject(one))
            .collect();
        self.software
            .retain(|key, _| matched.as_ref().is_some_and(|matched| matched.contains_key(key)));
        let clock = self.clock;
        let round = self.scraper.round(&subjects, || clock.now_seconds()).await;
        Measured { matched, round }
    }
}
