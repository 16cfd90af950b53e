//! Runs every contestant on every scenario, over all threads.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::cluster::WorldSettings;
use crate::contestants::{Contestant, Effort, Preparation};
use crate::report::{Cell, Results, Series, Summary};
use crate::scenario::Scenario;

/// What is to be run.
pub struct Runner<'a> {
    /// Scenarios.
    pub suite: &'a [Scenario],
    /// Contestants.
    pub contestants: &'a [Contestant],
    /// The world.
    pub world: WorldSettings,
    /// How much.
    pub effort: Effort,
    /// The first seed, whose course is plotted.
    pub first_seed: u64,
    /// Threads.
    pub threads: usize,
}

impl Runner<'_> {
    /// Runs everything.
    pub fn run(&self) -> Results {
        let pairs: Vec<(usize, usize)> = (0..self.suite.len())
            .flat_map(|scenario| (0..self.contestants.len()).map(move |contestant| (scenario, contestant)))
            .collect();
        let prepared: Vec<Preparation> = self.parallel(&pairs, |&(scenario, contestant)| {
            self.contestants[contestant].prepare(&self.suite[scenario], self.world, &self.effort)
        });
        let jobs: Vec<(usize, u64)> = pairs
            .iter()
            .enumerate()
            .flat_map(|(pair, &(_, contestant))| {
                let contestant = self.contestants[contestant];
                let seeds = if contestant.in_headline() {
                    self.effort.seeds
                } else {
                    self.effort.other_seeds
                };
                let first = self.first_seed;
                (first..first + seeds).map(move |seed| (pair, seed))
            })
            .collect();
        let simulated = AtomicU64::new(0);
        let runs = self.parallel(&jobs, |&(pair, seed)| {
            let (scenario, contestant) = (&self.suite[pairs[pair].0], self.contestants[pairs[pair].1]);
            let preparation = &prepared[pair];
            let run = || contestant.run(scenario, preparation, self.world, seed, &self.effort);
            let outcome = preparation
                .outcome(seed)
                .map_or_else(|| Cow::Owned(run()), Cow::Borrowed);
            simulated.fetch_add(outcome.simulated_requests, Ordering::Relaxed);
            let series = (seed == self.first_seed).then(|| Series::of(&outcome.record));
            (Summary::of(&outcome, scenario), series)
        });
        self.collect(&pairs, &prepared, &jobs, runs, simulated.into_inner())
    }

    fn collect(
        &self,
        pairs: &[(usize, usize)],
        prepared: &[Preparation],
        jobs: &[(usize, u64)],
        runs: Vec<(Summary, Option<Series>)>,
        simulated_requests: u64,
    ) -> Results {
        let mut cells: Vec<Cell> = pairs
            .iter()
            .zip(prepared)
            .map(|(&(scenario, contestant), preparation)| Cell {
                scenario,
                contestant: self.contestants[contestant],
                setting: preparation.brief(),
                runs: Vec::new(),
                series: None,
            })
            .collect();
        for (&(pair, _), (summary, series)) in jobs.iter().zip(runs) {
            cells[pair].runs.push(summary);
            cells[pair].series = cells[pair].series.take().or(series);
        }
        Results {
            cells,
            simulated_requests,
        }
    }

    /// Maps `work` over `items` on all threads; the results keep the order of the items.
    fn parallel<T: Sync, R: Send>(&self, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(items.len()));
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(index) else { return };
                        let result = work(item);
                        done.lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .push((index, result));
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, result)| result).collect()
    }
}
