//! The cheapest setting that keeps the objective on the very runs it is judged by.
//!
//! What is tuned on a few seeds and judged on others is no bound for anybody. So a setting counts here only if it keeps the
//! objective on as many of all judged seeds as a feasible controller must. Settings are tried from the cheapest on, each only
//! until it has lost too many runs, and on those seeds first that were lost before.

use std::collections::BTreeMap;

use crate::contestants::FEASIBLE_SHARE;

/// Utilisations that are searched through.
const LEAST_UTILISATION: f64 = 0.30;
const UTILISATION_STEP: f64 = 0.03;
const UTILISATION_STEPS: u32 = 33;

/// The utilisation that the first size is tried at, in steps: 75%.
const FIRST_STEP: u32 = 15;

/// A setting: which of the sizes, and how many steps above the least utilisation.
type Setting = (usize, u32);

/// The utilisation of a step.
pub fn utilisation(step: u32) -> f64 {
    LEAST_UTILISATION + UTILISATION_STEP * f64::from(step)
}

/// One run of a setting.
pub trait Trial {
    /// Whether it kept the objective.
    fn kept(&self) -> bool;
    /// What it cost.
    fn cost(&self) -> f64;
}

/// A search over sizes and steps of utilisation.
pub struct Search<R, F> {
    run: F,
    /// Seeds, those first that were lost before.
    seeds: Vec<u64>,
    most_lost: usize,
    runs: BTreeMap<Setting, BTreeMap<u64, R>>,
}

impl<R: Trial, F: Fn(usize, u32, u64) -> R> Search<R, F> {
    /// A search that is judged by the seeds from 1 to `seeds`; `run` runs a size at a step of utilisation with a seed.
    pub fn new(seeds: u64, run: F) -> Self {
        Self {
            run,
            seeds: (1..=seeds).collect(),
            most_lost: (seeds as f64 * (1.0 - FEASIBLE_SHARE) + 1e-9) as usize,
            runs: BTreeMap::new(),
        }
    }

    /// The cheapest setting of `sizes` sizes that is feasible, and its runs by seed. Where none is, the most careful one of the
    /// first size, whose runs may not be complete.
    pub fn cheapest(mut self, sizes: usize) -> (Setting, BTreeMap<u64, R>) {
        let mut step = Some(FIRST_STEP);
        let mut open: Vec<Setting> = Vec::new();
        for size in 0..sizes {
            step = self.highest(size, step.unwrap_or(0));
            open.extend(step.map(|step| (size, step)));
        }
        while let Some(index) = self.least_cost(&open) {
            let (size, step) = open[index];
            if self.is_feasible((size, step)) {
                return self.with_runs((size, step));
            }
            match step.checked_sub(1) {
                Some(lower) => open[index] = (size, lower),
                None => drop(open.swap_remove(index)),
            }
        }
        self.with_runs((0, 0))
    }

    fn with_runs(mut self, setting: Setting) -> (Setting, BTreeMap<u64, R>) {
        (setting, self.runs.remove(&setting).unwrap_or_default())
    }

    /// The highest step at which a size does not lose too many of the first seeds, looked for from `step` on.
    fn highest(&mut self, size: usize, mut step: u32) -> Option<u32> {
        while self.loses((size, step)) {
            step = step.checked_sub(1)?;
        }
        while step + 1 < UTILISATION_STEPS && !self.loses((size, step + 1)) {
            step += 1;
        }
        Some(step)
    }

    /// Whether so many of the first seeds are lost, each of them, that the others need not be asked.
    fn loses(&mut self, setting: Setting) -> bool {
        let first = self.seeds[..(self.most_lost + 1).min(self.seeds.len())].to_vec();
        first.into_iter().all(|seed| !self.trial(setting, seed).kept())
    }

    /// Which of the settings is the cheapest, as one seed shows it: the differences between settings are the same in all.
    fn least_cost(&mut self, settings: &[Setting]) -> Option<usize> {
        let costs: Vec<f64> = settings.iter().map(|setting| self.trial(*setting, 1).cost()).collect();
        (0..settings.len()).min_by(|a, b| costs[*a].total_cmp(&costs[*b]))
    }

    /// Whether enough runs of all seeds keep the objective.
    fn is_feasible(&mut self, setting: Setting) -> bool {
        let mut lost = Vec::new();
        for seed in self.seeds.clone() {
            if !self.trial(setting, seed).kept() {
                lost.push(seed);
            }
            if lost.len() > self.most_lost {
                self.seeds.retain(|seed| !lost.contains(seed));
                self.seeds.splice(..0, lost);
                return false;
            }
        }
        true
    }

    fn trial(&mut self, setting: Setting, seed: u64) -> &R {
        let run = &self.run;
        let runs = self.runs.entry(setting).or_default();
        runs.entry(seed).or_insert_with(|| run(setting.0, setting.1, seed))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A run of a size at a step: the seeds beyond `hard` are lost one step earlier than the others.
    struct Toy(bool, f64);

    impl Trial for Toy {
        fn kept(&self) -> bool {
            self.0
        }
        fn cost(&self) -> f64 {
            self.1
        }
    }

    /// Searches two sizes; the first keeps the objective up to step 10, the second to 20, hard seeds to one step less.
    fn search(hard: &[u64], prices: [f64; 2]) -> (Setting, usize, usize) {
        let ran = RefCell::new(0);
        let search = Search::new(20, |size, step, seed| {
            *ran.borrow_mut() += 1;
            let highest = [10, 20][size] - u32::from(hard.contains(&seed));
            Toy(step <= highest, prices[size] / utilisation(step))
        });
        let (setting, runs) = search.cheapest(2);
        (setting, runs.len(), ran.into_inner())
    }

    #[test]
    fn the_cheapest_of_all_that_every_seed_allows() {
        assert_eq!(search(&[], [1.0, 1.0]).0, (1, 20));
        assert_eq!(search(&[], [1.0, 2.0]).0, (0, 10));
    }

    #[test]
    fn one_run_of_twenty_may_be_lost_and_two_may_not() {
        assert_eq!(search(&[7], [1.0, 1.0]).0, (1, 20));
        let (setting, runs, ran) = search(&[7, 19], [1.0, 1.0]);
        assert_eq!((setting, runs), ((1, 19), 20));
        assert!(ran < 80, "{ran} runs for settings of 20 seeds each");
    }

    #[test]
    fn where_nothing_is_feasible_the_most_careful_stands() {
        let search = Search::new(20, |_, _, _| Toy(false, 1.0));
        assert_eq!(search.cheapest(2).0, (0, 0));
    }
}
