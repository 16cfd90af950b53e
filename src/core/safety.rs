//! What was seen at each CPU utilisation, and how far beyond it one may go.
//!
//! Windows are gathered by utilisation: CPU in use over CPU requested. Exceedance cannot fall as utilisation rises, so the
//! shares are made monotone by the pool-adjacent-violators algorithm (Ayer et al., Annals of Mathematical Statistics
//! 26(4), 1955; Barlow et al., "Statistical Inference under Order Restrictions", 1972), and each pooled block is judged
//! by its Beta bound ([`super::evidence`]), a utilisation within it by the bins from there on. How quickly old windows fade
//! and how large a step beyond them is allowed are heuristics.

use serde::{Deserialize, Serialize};

use super::evidence::Counts;

/// Width of a bin of utilisation.
pub const BIN_WIDTH: f64 = 0.05;
/// Bins: up to 160% of the request; what lies beyond goes into the last.
pub const BINS: usize = 32;
/// Samples after which a bin that saw none of them has faded to a third: what was bad once may be tried again.
const FORGETTING: f64 = 150.0;
/// Confidence with which a utilisation is called safe. The error budget corrects what it lets through.
const SURE: f64 = 0.6;
/// Part of the allowed share up to which the lowest block is good enough: nothing shows that less utilisation is better.
const NO_BETTER: f64 = 0.85;
/// Windows that a bin remembers once it has requests enough.
const WINDOWS: f64 = 20.0;

/// What was seen in one bin of utilisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64, f64, f64, f64)", into = "(f64, f64, f64, f64, f64)")]
pub struct Bin {
    /// Weight in windows.
    pub weight: f64,
    /// Requests, and those above the response time.
    pub counts: Counts,
    /// Mean utilisation, 0 to 1.
    pub utilisation: f64,
    /// Mean natural logarithm of the latency in seconds at the objective's percentile.
    pub ln_latency: f64,
}

/// One window, or several that were put together until they held requests enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Utilisation of the CPU request.
    pub utilisation: f64,
    /// Requests, and those above the response time.
    pub counts: Counts,
    /// Latency in seconds at the objective's percentile.
    pub latency_seconds: f64,
    /// How typical the window is, 0 to 1: low while pods were just starting.
    pub trust: f64,
    /// Its requests over those that a sample should have, at most 1: what its latency weighs.
    pub fullness: f64,
}

/// The table of one objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    bins: [Bin; BINS],
}

/// How far one may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// Highest utilisation seen at which the share above the response time is surely within what is steered for; 0 if none.
    pub safe: f64,
    /// Lowest utilisation seen at which it is surely beyond what is allowed; infinite if none.
    pub bad: f64,
    /// Highest utilisation to go to by the table alone.
    pub limit: f64,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aim {
    /// The share above the response time to aim at, 0 to 1.
    pub steer: f64,
    /// The share that is allowed, 0 to 1.
    pub allowed: f64,
    /// The share from which on a utilisation is stayed away from, 0 to 1.
    pub bad: f64,
    /// The largest step beyond what was seen, as a factor.
    pub step: f64,
    /// How many late requests come at once, on average: they count as one.
    pub dispersion: f64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            bins: [Bin::default(); BINS],
        }
    }
}

impl Table {
    /// Adds a sample; `enough` is the number of requests from which on older ones fade.
    pub fn add(&mut self, sample: &Sample, enough: f64) {
        let index = ((sample.utilisation / BIN_WIDTH).max(0.0) as usize).min(BINS - 1);
        let fading = self.requests() > enough;
        let bin = &mut self.bins[index];
        let trust = sample.trust.clamp(0.0, 1.0);
        if trust <= 0.0 {
            return;
        }
        if bin.counts.requests > enough {
            let keep = 1.0 - trust / WINDOWS;
            bin.counts = bin.counts.scaled(keep);
            bin.weight *= keep;
        }
        if fading {
            self.fade(1.0 - trust / FORGETTING);
        }
        let bin = &mut self.bins[index];
        let weight = trust * sample.fullness.clamp(0.0, 1.0);
        bin.weight += weight;
        bin.counts.add(sample.counts.scaled(trust));
        let step = weight / bin.weight.max(1e-12);
        bin.utilisation += step * (sample.utilisation - bin.utilisation);
        bin.ln_latency += step * (sample.latency_seconds.max(1e-6).ln() - bin.ln_latency);
    }

    /// The share above the response time that the bin of `utilisation` makes expect; `None` where it holds little.
    #[must_use]
    pub fn expected(&self, utilisation: f64) -> Option<f64> {
        let bin = &self.bins[((utilisation / BIN_WIDTH).max(0.0) as usize).min(BINS - 1)];
        (bin.weight >= 3.0).then(|| bin.counts.share())
    }

    /// Keeps only `share` of the weight of everything.
    pub fn fade(&mut self, share: f64) {
        for bin in &mut self.bins {
            bin.weight *= share;
            bin.counts = bin.counts.scaled(share);
        }
    }

    /// The same table over another capacity: utilisation times `factor`.
    #[must_use]
    pub fn rescaled(&self, factor: f64) -> Self {
        let mut table = Self::default();
        for bin in self.bins() {
            let utilisation = bin.utilisation * factor;
            let into = &mut table.bins[((utilisation / BIN_WIDTH) as usize).min(BINS - 1)];
            let share = bin.weight / (into.weight + bin.weight);
            into.weight += bin.weight;
            into.counts.add(bin.counts);
            into.utilisation += share * (utilisation - into.utilisation);
            into.ln_latency += share * (bin.ln_latency - into.ln_latency);
        }
        table
    }

    /// Forgets the counts and keeps the latencies: the response time asked for is another one.
    pub fn forget_counts(&mut self) {
        self.bins.iter_mut().for_each(|bin| bin.counts = Counts::default());
    }

    /// The bins that hold anything, by ascending utilisation.
    pub fn bins(&self) -> impl Iterator<Item = &Bin> {
        self.bins.iter().filter(|bin| bin.weight > 0.01)
    }

    /// Highest utilisation seen, 0 if nothing was.
    #[must_use]
    pub fn highest(&self) -> f64 {
        self.bins().last().map_or(0.0, |bin| bin.utilisation)
    }

    /// All requests in the table.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.bins().map(|bin| bin.counts.requests).sum()
    }

    /// How far one may go.
    #[must_use]
    pub fn reach(&self, aim: &Aim) -> Reach {
        let Aim { steer, bad, step, .. } = *aim;
        let bins: Vec<Block> = self.bins().map(|bin| Block::sober(bin, aim.dispersion)).collect();
        let blocks = monotone(&bins);
        let safe = blocks
            .iter()
            .rev()
            .find_map(|block| highest(block, &bins, |counts| counts.surely_within(steer, SURE)))
            .or_else(|| highest(blocks.first()?, &bins, |counts| good_enough(counts, aim)));
        let safe = safe.as_ref();
        let from = safe.map_or(0.0, |block| block.high);
        let bad = blocks
            .iter()
            .find(|block| block.low > from && block.counts.lower() > bad);
        let between = |bad: &Block| interpolate(safe, bad, steer).min(bad.low - 0.5 * BIN_WIDTH);
        Reach {
            safe: from,
            bad: bad.map_or(f64::INFINITY, |block| block.low),
            limit: (from * step).min(bad.map_or(f64::INFINITY, between)),
        }
    }

    /// Non-empty bins with their index, for a checkpoint.
    #[must_use]
    pub fn save(&self) -> Vec<(usize, Bin)> {
        self.bins
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, bin)| bin.weight > 0.01)
            .collect()
    }

    /// The table that [`Table::save`] described; an index out of range is ignored.
    #[must_use]
    pub fn load(saved: &[(usize, Bin)]) -> Self {
        let mut table = Self::default();
        for &(index, bin) in saved.iter().filter(|(index, _)| *index < BINS) {
            table.bins[index] = bin;
        }
        table
    }
}

impl From<(f64, f64, f64, f64, f64)> for Bin {
    fn from((weight, requests, exceeding, utilisation, ln_latency): (f64, f64, f64, f64, f64)) -> Self {
        Self {
            weight: weight.max(0.0),
            counts: (requests, exceeding).into(),
            utilisation,
            ln_latency,
        }
    }
}

impl From<Bin> for (f64, f64, f64, f64, f64) {
    fn from(bin: Bin) -> Self {
        (
            bin.weight,
            bin.counts.requests,
            bin.counts.exceeding,
            bin.utilisation,
            bin.ln_latency,
        )
    }
}

/// Adjacent bins pooled until their shares ascend.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Block {
    low: f64,
    high: f64,
    counts: Counts,
}

impl Block {
    /// One bin alone, of whose late requests `dispersion` count as one.
    fn sober(bin: &Bin, dispersion: f64) -> Self {
        Self {
            low: bin.utilisation,
            high: bin.utilisation,
            counts: bin.counts.scaled(1.0 / dispersion),
        }
    }

    fn pooled(self, above: Self) -> Self {
        let mut counts = self.counts;
        counts.add(above.counts);
        Self {
            low: self.low,
            high: above.high,
            counts,
        }
    }
}

fn monotone(bins: &[Block]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::with_capacity(BINS);
    for &bin in bins {
        blocks.push(bin);
        while let [.., before, after] = blocks[..] {
            if before.counts.share() < after.counts.share() {
                break;
            }
            blocks.truncate(blocks.len() - 2);
            blocks.push(before.pooled(after));
        }
    }
    blocks
}

/// The highest utilisation of a block at which its counts hold. What was seen below a utilisation says nothing good of it:
/// its evidence are the bins of the block from there on.
fn highest(block: &Block, bins: &[Block], holds: impl Fn(&Counts) -> bool) -> Option<Block> {
    let mut counts = Counts::default();
    let within = bins.iter().rev().skip_while(|bin| bin.high > block.high);
    within.take_while(|bin| bin.low >= block.low).find_map(|bin| {
        counts.add(bin.counts);
        holds(&counts).then_some(Block {
            high: bin.high,
            low: block.low,
            counts,
        })
    })
}

/// Whether the lowest block has requests enough, and few enough of them late.
fn good_enough(counts: &Counts, aim: &Aim) -> bool {
    let requests = counts.requests * aim.dispersion;
    requests >= 3.0 / aim.allowed && counts.surely_within(NO_BETTER * aim.allowed, SURE)
}

/// Where the share would reach `steer` if its logarithm rose evenly from the safe block to the bad one.
fn interpolate(safe: Option<&Block>, bad: &Block, steer: f64) -> f64 {
    let Some(safe) = safe else { return bad.low * 0.75 };
    let ln = |share: f64| share.max(1e-5).ln();
    let (from, to) = (ln(safe.counts.share()), ln(bad.counts.share()));
    let part = if to > from {
        ((ln(steer) - from) / (to - from)).clamp(0.0, 1.0)
    } else {
        0.0
    };
    safe.high + part * (bad.low - safe.high)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AIM: Aim = Aim {
        steer: 0.005,
        allowed: 0.01,
        bad: 0.01,
        step: 1.2,
        dispersion: 1.0,
    };

    fn sample(utilisation: f64, requests: f64, exceeding: f64) -> Sample {
        Sample {
            utilisation,
            counts: Counts { requests, exceeding },
            latency_seconds: 0.05,
            trust: 1.0,
            fullness: 1.0,
        }
    }

    #[test]
    fn nothing_seen_allows_nothing() {
        let reach = Table::default().reach(&AIM);
        assert_eq!((reach.safe, reach.limit), (0.0, 0.0));
    }

    #[test]
    fn few_requests_allow_nothing() {
        let mut table = Table::default();
        table.add(&sample(0.5, 50.0, 0.0), 3000.0);
        assert!(table.reach(&AIM).safe < 1e-9);
    }

    #[test]
    fn goes_a_step_beyond_the_safe_and_stays_below_the_bad() {
        let mut table = Table::default();
        table.add(&sample(0.5, 5000.0, 2.0), 3000.0);
        let reach = table.reach(&AIM);
        assert!((reach.safe - 0.5).abs() < 1e-9 && (reach.limit - 0.6).abs() < 1e-9);
        table.add(&sample(0.55, 5000.0, 400.0), 3000.0);
        let reach = table.reach(&AIM);
        assert!(reach.limit > 0.5 && reach.limit < 0.54, "{reach:?}");
        assert!((reach.bad - 0.55).abs() < 1e-9);
    }

    #[test]
    fn a_utilisation_is_not_safe_for_what_was_seen_below_it() {
        let mut table = Table::default();
        table.add(&sample(0.05, 3000.0, 0.0), 3000.0);
        table.add(&sample(0.9, 5.0, 0.0), 3000.0);
        assert!((table.reach(&AIM).safe - 0.05).abs() < 1e-9);
        let mut table = Table::default();
        table.add(&sample(0.3, 3000.0, 12.0), 3000.0);
        table.add(&sample(0.9, 40.0, 0.0), 3000.0);
        assert!((table.reach(&AIM).safe - 0.3).abs() < 1e-9);
        table.add(&sample(0.9, 260.0, 0.0), 3000.0);
        assert!((table.reach(&AIM).safe - 0.9).abs() < 1e-9, "by evidence of its own");
        // What was seen above a utilisation speaks for it.
        let mut table = Table::default();
        table.add(&sample(0.4, 5.0, 0.0), 3000.0);
        table.add(&sample(0.6, 3000.0, 0.0), 3000.0);
        assert!((table.reach(&AIM).safe - 0.6).abs() < 1e-9);
    }

    #[test]
    fn old_violations_fade() {
        let mut table = Table::default();
        table.add(&sample(0.5, 5000.0, 500.0), 3000.0);
        assert!(table.reach(&AIM).safe < 1e-9);
        (0..100).for_each(|_| table.add(&sample(0.5, 5000.0, 1.0), 3000.0));
        assert!(table.reach(&AIM).safe > 0.49);
    }

    #[test]
    fn saving_and_loading_keeps_the_table() {
        let mut table = Table::default();
        (0..12).for_each(|step| table.add(&sample(f64::from(step) * 0.09, 900.0, f64::from(step)), 3000.0));
        assert_eq!(Table::load(&table.save()), table);
    }

    proptest! {
        #[test]
        fn blocks_ascend_and_lose_nothing(seen in prop::collection::vec((0.0_f64..1.2, 1.0_f64..5000.0, 0.0_f64..1.0), 1..50)) {
            let mut table = Table::default();
            for (utilisation, requests, share) in seen {
                table.add(&sample(utilisation, requests, requests * share), f64::INFINITY);
            }
            let bins: Vec<Block> = table.bins().map(|bin| Block::sober(bin, 1.0)).collect();
            let blocks = monotone(&bins);
            prop_assert!(blocks.windows(2).all(|pair| pair[0].counts.share() < pair[1].counts.share()));
            let total: f64 = blocks.iter().map(|block| block.counts.requests).sum();
            prop_assert!((total - table.requests()).abs() < 1e-6 * total);
        }

        #[test]
        fn more_violations_never_reach_further(requests in 500.0_f64..5000.0, few in 0.0_f64..20.0, more in 0.0_f64..200.0) {
            let reach = |exceeding: f64| {
                let mut table = Table::default();
                table.add(&sample(0.4, 5000.0, 1.0), 3000.0);
                table.add(&sample(0.6, requests, exceeding), 3000.0);
                table.reach(&AIM).limit
            };
            prop_assert!(reach(few + more) <= reach(few) + 1e-9);
        }
    }
}
