//! An hour of replicas that come and go, second by second: who takes whom for the members, who scrapes what, and what is
//! scraped by nobody or by two.
//!
//! Each replica renews its Lease, and looks at those of the others, every two seconds. Of a Lease that is not renewed others
//! time its end by their own clocks, from when they saw it change last, and whoever sees it end deletes it: a newcomer would
//! take it for alive. A replica that is told to leave gives its Lease back.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::Load;
use super::sharding::{Deployment, owner};

/// As `lease::Pace` has them.
const LEASE_SECONDS: u64 = 15;
const RETRY_SECONDS: u64 = 2;
const INTERVAL_SECONDS: u64 = 15;
/// A status, and the checkpoint in it, is written at least every so many intervals (`REFRESH_INTERVALS`).
const WRITTEN_INTERVALS: u64 = 4;
const HOUR: u64 = 3600;
/// Replicas at the beginning.
const REPLICAS: u64 = 8;

/// What happened in a part of the hour.
#[derive(Clone, Copy, Default)]
pub struct Part {
    /// Deployments that changed hands; each is a checkpoint that is read.
    pub moved: usize,
    /// Most of them in one second.
    pub moved_at_once: usize,
    /// Windows of Deployments that were due.
    pub windows: usize,
    /// Windows in which nobody scraped.
    pub unscraped: usize,
    /// Windows in which two did.
    pub twice: usize,
    /// Windows of which no model learnt: nobody scraped, or only whoever had no counters to compare with yet.
    pub unmeasured: usize,
    /// Windows that a model had learnt from, and its successor had not: they lay after the last checkpoint.
    pub forgotten: u64,
    /// Longest time in seconds for which a Deployment was scraped by nobody.
    pub silence: u64,
    /// The most that one replica carried.
    pub most: Load,
    /// Replicas that took part at the end.
    pub replicas: usize,
}

/// A replica: when it makes its Lease, and when and how it ends.
struct Replica {
    identity: u64,
    begins: u64,
    ends: u64,
    /// Whether it gives its Lease back.
    gracefully: bool,
    /// Whom it takes for the members, and when it saw a sign of life of each.
    seen: BTreeMap<u64, (u64, u64)>,
    members: Vec<u64>,
}

impl Replica {
    fn lives(&self, now: u64) -> bool {
        (self.begins..self.ends).contains(&now)
    }

    /// The last renewal that stands in its Lease; `None` without a Lease.
    fn renewed(&self, now: u64) -> Option<u64> {
        let kept = if self.gracefully {
            0
        } else {
            LEASE_SECONDS + 2 * RETRY_SECONDS
        };
        let gone = now >= self.ends.saturating_add(kept);
        let last = now.min(self.ends.saturating_sub(1));
        (now >= self.begins && !gone).then(|| last - (last - self.begins) % RETRY_SECONDS)
    }
}

/// What happens, by the second at which it begins.
pub const EVENTS: [(u64, &str); 5] = [
    (0, "nothing happens"),
    (600, "one is lost; another comes after 40 s"),
    (1200, "a rollout of all, one by one"),
    (2400, "four more join"),
    (3000, "four are told to leave"),
];

fn replicas() -> Vec<Replica> {
    let replica = |identity, begins, ends, gracefully| Replica {
        identity,
        begins,
        ends,
        gracefully,
        seen: BTreeMap::new(),
        members: Vec::new(),
    };
    let mut all = Vec::new();
    // The first is lost; its successor has another name, as pods of a Deployment do.
    for identity in 0..REPLICAS {
        // In the rollout a new one joins every minute, and half a minute later an old one leaves.
        let (ends, gracefully) = match identity {
            0 => (601, false),
            identity => (1230 + 60 * identity, true),
        };
        all.push(replica(identity, 0, ends, gracefully));
    }
    all.push(replica(100, 641, 1230, true));
    for identity in 0..REPLICAS {
        all.push(replica(200 + identity, 1200 + 60 * identity, HOUR, true));
    }
    // They start at about the same time, and are not ready in the same second.
    for identity in 0..4 {
        all.push(replica(300 + identity, 2400 + 3 * identity, 3000 + identity, true));
    }
    all
}

/// Runs the hour, and says what happened after each event.
pub fn run(deployments: &[Deployment]) -> Vec<Part> {
    let mut replicas = replicas();
    let mut parts = vec![Part::default(); EVENTS.len()];
    let mut scraped: Vec<(Option<u64>, u64)> = vec![(None, 0); deployments.len()];
    for now in 0..HOUR {
        look(&mut replicas, now);
        let part = EVENTS
            .iter()
            .rposition(|(begins, _)| *begins <= now)
            .unwrap_or_default();
        let part = &mut parts[part];
        let views = views(&replicas, now);
        // Whoever leaves gracefully has written what it learnt.
        let flushed: BTreeSet<u64> = replicas
            .iter()
            .filter(|replica| replica.gracefully && replica.ends <= now)
            .map(|replica| replica.identity)
            .collect();
        part.replicas = replicas.iter().filter(|replica| replica.lives(now)).count();
        let mut moved = 0;
        let due = (0..deployments.len()).filter(|index| *index as u64 % INTERVAL_SECONDS == now % INTERVAL_SECONDS);
        for index in due {
            let scrapers = scrapers(&deployments[index], &views);
            moved += usize::from(window(part, &mut scraped[index], &scrapers, &flushed, now));
        }
        part.moved += moved;
        part.moved_at_once = part.moved_at_once.max(moved);
        if now % INTERVAL_SECONDS == 0 {
            for load in loads(deployments, &views).into_values() {
                let most = &mut part.most;
                *most = if load.pods > most.pods { load } else { *most };
            }
        }
    }
    parts
}

/// Everybody whose turn it is looks at the Leases.
fn look(replicas: &mut [Replica], now: u64) {
    let leases: Vec<(u64, u64)> = replicas
        .iter()
        .filter_map(|replica| Some((replica.identity, replica.renewed(now)?)))
        .collect();
    for replica in replicas.iter_mut().filter(|replica| replica.lives(now)) {
        // They do not look in the same second.
        if replica.begins != now && !(now + replica.identity).is_multiple_of(RETRY_SECONDS) {
            continue;
        }
        let mut seen = BTreeMap::new();
        for (identity, renewed) in &leases {
            let before = replica.seen.get(identity).filter(|(last, _)| last == renewed);
            seen.insert(*identity, before.copied().unwrap_or((*renewed, now)));
        }
        replica.members = seen
            .iter()
            .filter(|(_, (_, at))| now - at < LEASE_SECONDS)
            .map(|(identity, _)| *identity)
            .collect();
        replica.seen = seen;
    }
}

/// The replicas that live, by whom they take for the members.
fn views(replicas: &[Replica], now: u64) -> BTreeMap<Vec<u64>, Vec<u64>> {
    let mut views: BTreeMap<Vec<u64>, Vec<u64>> = BTreeMap::new();
    for replica in replicas.iter().filter(|replica| replica.lives(now)) {
        views.entry(replica.members.clone()).or_default().push(replica.identity);
    }
    views
}

/// Who takes a Deployment for its own.
fn scrapers(deployment: &Deployment, views: &BTreeMap<Vec<u64>, Vec<u64>>) -> Vec<u64> {
    let owners = views
        .iter()
        .filter_map(|(members, who)| Some((owner(deployment, members)?, who)));
    owners
        .filter(|(owner, who)| who.contains(owner))
        .map(|(owner, _)| owner)
        .collect()
}

/// Takes in the window of a Deployment; whether it changed hands.
fn window(
    part: &mut Part,
    scraped: &mut (Option<u64>, u64),
    scrapers: &[u64],
    flushed: &BTreeSet<u64>,
    now: u64,
) -> bool {
    let (last, at) = *scraped;
    part.windows += 1;
    part.twice += usize::from(scrapers.len() > 1);
    let before = last.filter(|last| scrapers.contains(last));
    if scrapers.is_empty() {
        part.unscraped += 1;
        part.unmeasured += 1;
        part.silence = part.silence.max(now + INTERVAL_SECONDS - at);
        return false;
    }
    // Two own it for a moment: the one that is new stays.
    let newest = scrapers.iter().copied().find(|one| Some(*one) != last).or(last);
    *scraped = (newest, now);
    let is_first = last.is_none();
    let is_moved = newest != last && !is_first;
    if is_moved {
        // Whoever owned it measures a last time, or nobody does: a first reading of counters is compared with nothing.
        part.unmeasured += usize::from(before.is_none());
        let is_written = last.is_some_and(|last| flushed.contains(&last));
        part.forgotten += if is_written {
            0
        } else {
            at / INTERVAL_SECONDS % WRITTEN_INTERVALS
        };
    }
    is_moved
}

fn loads(deployments: &[Deployment], views: &BTreeMap<Vec<u64>, Vec<u64>>) -> BTreeMap<u64, Load> {
    let mut loads: BTreeMap<u64, Load> = BTreeMap::new();
    for deployment in deployments {
        for one in scrapers(deployment, views) {
            loads.entry(one).or_default().add(deployment);
        }
    }
    loads
}
