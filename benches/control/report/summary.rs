//! What is kept of a run, and of all runs.

use crate::cluster::Record;
use crate::contestants::{Contestant, FEASIBLE_SHARE};
use crate::controllers::Coverage;
use crate::scenario::Scenario;
use crate::simulation::Outcome;

const GIBIBYTE: f64 = 1024.0 * 1024.0 * 1024.0;

/// One run in numbers.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Share of requests slower than the objective, failed or lost.
    pub violation_share: f64,
    /// Whether the objective was kept over the run.
    pub kept: bool,
    /// Minutes in which it was not kept.
    pub violation_minutes: f64,
    /// Core-hours that are compared: the larger of requested and used.
    pub core_hours: f64,
    /// Core-hours requested.
    pub requested_core_hours: f64,
    /// Core-hours of the limits.
    pub limit_core_hours: f64,
    /// Core-hours used.
    pub used_core_hours: f64,
    /// Memory requested, in GiB-hours.
    pub gibibyte_hours: f64,
    /// Pods created.
    pub pod_starts: f64,
    /// Containers killed for memory.
    pub memory_kills: f64,
    /// Pods replaced for another size.
    pub vertical_restarts: f64,
    /// Changes of the size of all pods.
    pub size_changes: f64,
    /// Seconds until the objective was kept again, where the scenario times it.
    pub recovery_seconds: Option<f64>,
    /// Scale-ins while no metrics arrived.
    pub blind_scale_ins: f64,
    /// How the controller's bound held.
    pub coverage: Option<Coverage>,
}

impl Summary {
    /// The numbers of an outcome.
    pub fn of(outcome: &Outcome, scenario: &Scenario) -> Self {
        let record = &outcome.record;
        let allowed = 1.0 - scenario.percentile;
        let recovery_from = record.deployed_at.or(scenario.recovery_from);
        Self {
            violation_share: record.violation_share(),
            kept: record.violation_share() <= allowed,
            violation_minutes: record.minutes_in_violation(allowed),
            core_hours: record.charged_core_seconds / 3600.0,
            requested_core_hours: record.requested_core_seconds / 3600.0,
            limit_core_hours: record.limit_core_seconds / 3600.0,
            used_core_hours: record.used_core_seconds / 3600.0,
            gibibyte_hours: record.memory_byte_seconds / 3600.0 / GIBIBYTE,
            pod_starts: record.pod_starts as f64,
            memory_kills: record.memory_kills as f64,
            vertical_restarts: record.vertical_restarts as f64,
            size_changes: record.size_changes as f64,
            recovery_seconds: recovery_from.map(|from| record.recovery_seconds(from as usize, allowed)),
            blind_scale_ins: record.blind_scale_ins as f64,
            coverage: outcome.coverage,
        }
    }
}

/// The course of one run, for the plot.
#[derive(Clone, Debug)]
pub struct Series {
    /// Requests per second, averaged over ten seconds.
    pub load: Vec<f64>,
    /// Pods that serve, every ten seconds.
    pub ready: Vec<f64>,
    /// Cores requested, every ten seconds.
    pub requested_cores: Vec<f64>,
    /// p99 of each minute in seconds.
    pub p99_seconds: Vec<f64>,
}

impl Series {
    /// The course of a record.
    pub fn of(record: &Record) -> Self {
        let tens = record.seconds.chunks(10);
        let load = tens
            .clone()
            .map(|ten| ten.iter().map(|second| f64::from(second.began)).sum::<f64>() / ten.len() as f64);
        Self {
            load: load.collect(),
            ready: tens.clone().map(|ten| f64::from(ten[0].ready)).collect(),
            requested_cores: tens.map(|ten| f64::from(ten[0].requested_cores)).collect(),
            p99_seconds: record.minute_p99_seconds.clone(),
        }
    }
}

/// All runs of one contestant on one scenario.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Index of the scenario.
    pub scenario: usize,
    /// Who.
    pub contestant: Contestant,
    /// Utilisation and cores that were searched for beforehand.
    pub setting: (Option<f64>, Option<f64>),
    /// One summary for each seed.
    pub runs: Vec<Summary>,
    /// The course of the first.
    pub series: Option<Series>,
}

impl Cell {
    /// Mean of a number over the runs.
    pub fn mean(&self, number: impl Fn(&Summary) -> f64) -> f64 {
        self.runs.iter().map(number).sum::<f64>() / self.runs.len().max(1) as f64
    }

    /// Share of the runs that kept the objective.
    pub fn kept_share(&self) -> f64 {
        self.mean(|run| f64::from(u8::from(run.kept)))
    }

    /// Whether enough of them did.
    pub fn feasible(&self) -> bool {
        self.kept_share() >= FEASIBLE_SHARE
    }

    /// The longest recovery.
    pub fn recovery_seconds(&self) -> Option<f64> {
        self.runs.iter().filter_map(|run| run.recovery_seconds).reduce(f64::max)
    }

    /// Mean core-hours.
    pub fn core_hours(&self) -> f64 {
        self.mean(|run| run.core_hours)
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Results {
    /// By scenario, then by contestant.
    pub cells: Vec<Cell>,
    /// Requests simulated in all.
    pub simulated_requests: u64,
}

impl Results {
    /// The cells of one scenario.
    pub fn of(&self, scenario: usize) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter(move |cell| cell.scenario == scenario)
    }

    /// One cell.
    pub fn cell(&self, scenario: usize, contestant: Contestant) -> Option<&Cell> {
        self.of(scenario).find(|cell| cell.contestant == contestant)
    }

    /// The cheapest feasible peer whose settings are not chosen for the trace; without those that need an agent on
    /// every node unless `agents`.
    pub fn best_peer(&self, scenario: usize, agents: bool) -> Option<&Cell> {
        self.of(scenario)
            .filter(|cell| cell.contestant.is_untuned_peer() && cell.feasible())
            .filter(|cell| agents || !cell.contestant.needs_node_agent())
            .min_by(|a, b| a.core_hours().total_cmp(&b.core_hours()))
    }
}
