//! Who is compared, and what each knows beforehand.

use std::collections::BTreeMap;

use valence::core::Settings;

use crate::cluster::{Size, WorldSettings};
use crate::controllers::{
    Autothrottle, Controller, Hpa, HpaSettings, KubernetesCpu, LatencyHpa, Oracle, Reactive, Tower, Valence, Vpa,
    VpaControls, train,
};
use crate::load;
use crate::scenario::{Event, LoadSource, Scenario};
use crate::search::{self, Search, Trial};
use crate::simulation::{self, Outcome, Start};

/// One of the controllers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contestant {
    /// The core of this repository.
    Valence,
    /// HPA on CPU at a fixed target.
    Hpa(f64),
    /// HPA on CPU at the target that turns out to have been best for the scenario.
    HpaTuned,
    /// VPA recommender with fixed replicas.
    Vpa,
    /// VPA on memory with an HPA at 70% on CPU.
    VpaMemoryHpaCpu,
    /// HPA on p99 latency.
    HpaLatency,
    /// K8s-CPU-Fast of the Autothrottle paper.
    KubernetesCpuFast,
    /// Autothrottle; with a captain's reading every so many seconds.
    Autothrottle(f64),
    /// The lower bound without its foresight.
    Reactive,
    /// The lower bound.
    Oracle,
}

/// All of them, in the order of the table.
pub const ALL: [Contestant; 12] = [
    Contestant::Valence,
    Contestant::Hpa(0.5),
    Contestant::Hpa(0.7),
    Contestant::HpaTuned,
    Contestant::Vpa,
    Contestant::VpaMemoryHpaCpu,
    Contestant::HpaLatency,
    Contestant::KubernetesCpuFast,
    Contestant::Autothrottle(15.0),
    Contestant::Autothrottle(0.1),
    Contestant::Reactive,
    Contestant::Oracle,
];

/// What a contestant has found out before it is judged.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Target utilisation that was searched for.
    utilisation: Option<f64>,
    /// Pod size in cores that was searched for.
    cores: Option<f64>,
    /// How long pods are kept that are not needed, in seconds, that was searched for.
    hold_seconds: f64,
    tower: Option<Tower>,
    /// What the search has run at that setting, by seed: it need not be run again.
    runs: BTreeMap<u64, Outcome>,
}

/// Length of warm-up of one run of the benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Warm-up of controllers that learn, in seconds.
    pub warm_up: usize,
    /// Seeds of the headline.
    pub seeds: u64,
    /// Seeds of those that are not in the headline.
    pub other_seeds: u64,
}

/// Share of the runs that must keep the objective for a controller to count as feasible.
pub const FEASIBLE_SHARE: f64 = 0.95;

/// Pod sizes that the oracle searches through, in cores.
const ORACLE_CORES: [f64; 8] = [0.5, 0.65, 0.8, 0.95, 1.1, 1.35, 1.6, 2.0];

/// Limit over request of the oracle: the most that Valence takes, since limits cost nothing here.
const ORACLE_LIMIT: f64 = 3.0;

/// How many of these sizes, and how long to keep pods, are searched through without foresight; in seconds.
const REACTIVE_SIZES: usize = 5;
const REACTIVE_HOLDS: [f64; 3] = [30.0, 60.0, 120.0];

/// Most replicas of an autoscaler on latency, unless ten times those of the user are more.
const LATENCY_REPLICAS: u32 = 200;

/// Cores on average in a pod that grows on its node alone.
const NODE_SHARE: f64 = 4.0;

/// Warm-up of controllers that remember nothing but the last minutes, in seconds.
const SHORT_WARM_UP: usize = 600;

impl Contestant {
    /// Name in tables and files.
    pub fn name(self) -> String {
        match self {
            Self::Valence => "Valence".to_owned(),
            Self::Hpa(target) => format!("HPA {:.0}%", 100.0 * target),
            Self::HpaTuned => "HPA tuned".to_owned(),
            Self::Vpa => "VPA".to_owned(),
            Self::VpaMemoryHpaCpu => "VPA mem + HPA".to_owned(),
            Self::HpaLatency => "HPA p99".to_owned(),
            Self::KubernetesCpuFast => "K8s-CPU-Fast".to_owned(),
            Self::Autothrottle(pace) if pace < 1.0 => "Autothrottle".to_owned(),
            Self::Autothrottle(pace) => format!("Autothrottle {pace:.0}s"),
            Self::Reactive => "no foresight".to_owned(),
            Self::Oracle => "oracle".to_owned(),
        }
    }

    /// Whether it is a peer whose settings are not chosen for each trace.
    pub fn is_untuned_peer(self) -> bool {
        !matches!(self, Self::Valence | Self::HpaTuned | Self::Reactive | Self::Oracle)
    }

    /// Whether it needs an agent on every node that writes control groups ten times a second.
    pub fn needs_node_agent(self) -> bool {
        matches!(self, Self::KubernetesCpuFast) || matches!(self, Self::Autothrottle(pace) if pace < 1.0)
    }

    /// Whether intervals of the headline are taken over it.
    pub fn in_headline(self) -> bool {
        matches!(
            self,
            Self::Valence | Self::Hpa(_) | Self::HpaTuned | Self::Reactive | Self::Oracle
        )
    }

    fn warm_up(self, effort: &Effort) -> usize {
        match self {
            Self::Valence | Self::Vpa | Self::VpaMemoryHpaCpu | Self::Autothrottle(_) => effort.warm_up,
            // It has what it needs at once.
            Self::Oracle => SHORT_WARM_UP.min(effort.warm_up) / 10,
            _ => SHORT_WARM_UP.min(effort.warm_up),
        }
    }

    fn start(self, scenario: &Scenario, preparation: &Preparation) -> Start {
        let Scenario { replicas, size, .. } = *scenario;
        match self {
            // They only ever change the size, as in the paper: two pods for availability, each with a node's cores
            // to grow into; but a single thread cannot, so there it is the user's replicas.
            Self::KubernetesCpuFast | Self::Autothrottle(_) if scenario.profile.threads > 1 => Start {
                replicas: scenario
                    .min_replicas
                    .max((scenario.cores_at(scenario.mean_rate) / NODE_SHARE).ceil() as u32),
                size: Size {
                    cpu_request: 4.0,
                    cpu_limit: 4.0,
                    ..size
                },
            },
            Self::Reactive | Self::Oracle => {
                let cores = preparation.cores.unwrap_or(size.cpu_request);
                Start {
                    replicas,
                    size: Size {
                        cpu_request: cores,
                        cpu_limit: ORACLE_LIMIT * cores,
                        ..size
                    },
                }
            }
            _ => Start { replicas, size },
        }
    }

    fn controller(
        self,
        scenario: &Scenario,
        preparation: &Preparation,
        world: WorldSettings,
        (seed, warm_up): (u64, usize),
    ) -> Box<dyn Controller> {
        let least = scenario.min_replicas;
        let objective = scenario.response_time_seconds;
        let target = preparation.utilisation.unwrap_or(0.7);
        match self {
            Self::Valence => Box::new(valence(scenario, world)),
            Self::Hpa(target) => Box::new(Hpa::new(HpaSettings::at(target, least))),
            Self::HpaTuned => Box::new(Hpa::new(HpaSettings::at(target, least))),
            Self::Vpa => Box::new(Vpa::new(VpaControls::CpuAndMemory, least)),
            Self::VpaMemoryHpaCpu => Box::new(Vpa::new(VpaControls::Memory, least)),
            Self::HpaLatency => Box::new(LatencyHpa::new(
                objective,
                least,
                LATENCY_REPLICAS.max(10 * scenario.replicas),
            )),
            Self::KubernetesCpuFast => Box::new(KubernetesCpu::fast(0.6)),
            Self::Autothrottle(pace) => {
                let tower = preparation
                    .tower
                    .clone()
                    .unwrap_or_else(|| Tower::new(objective, 0.1, seed));
                Box::new(Autothrottle::new(tower.exploring(0.1, seed), pace))
            }
            Self::Reactive => {
                let load = scenario.load_after_warm_up(seed, warm_up);
                let cores_per_request = scenario.profile.cpu.mean_seconds();
                let hold = preparation.hold_seconds;
                Box::new(Reactive::new(load, cores_per_request, target, hold, least))
            }
            Self::Oracle => {
                let load = scenario.load_after_warm_up(seed, warm_up);
                let deploy = scenario.events.iter().find_map(|(at, event)| match event {
                    Event::Deploy { demand } => Some((at + warm_up as f64, *demand)),
                    _ => None,
                });
                let cores_per_request = scenario.profile.cpu.mean_seconds();
                Box::new(Oracle::new(load, cores_per_request, target, deploy, least))
            }
        }
    }

    /// One run.
    pub fn run(
        self,
        scenario: &Scenario,
        preparation: &Preparation,
        settings: WorldSettings,
        seed: u64,
        effort: &Effort,
    ) -> Outcome {
        let warm_up = self.warm_up(effort);
        let mut controller = self.controller(scenario, preparation, settings, (seed, warm_up));
        let start = self.start(scenario, preparation);
        simulation::run(scenario, controller.as_mut(), start, settings, (seed, warm_up))
    }

    /// Finds out what it may know beforehand.
    pub fn prepare(self, scenario: &Scenario, settings: WorldSettings, effort: &Effort) -> Preparation {
        match self {
            Self::HpaTuned => self.search(scenario, settings, effort, &[(scenario.size.cpu_request, 0.0)]),
            Self::Reactive => {
                let sizes = ORACLE_CORES[..REACTIVE_SIZES].iter();
                let sizes: Vec<_> = sizes
                    .flat_map(|&cores| REACTIVE_HOLDS.map(|hold| (cores, hold)))
                    .collect();
                self.search(scenario, settings, effort, &sizes)
            }
            Self::Oracle => self.search(scenario, settings, effort, &ORACLE_CORES.map(|cores| (cores, 0.0))),
            Self::Autothrottle(pace) => train_tower(scenario, settings, pace),
            _ => Preparation::default(),
        }
    }

    /// The cheapest utilisation, and of the given sizes (cores, seconds of holding) the cheapest, that keeps the objective on
    /// the judged seeds.
    fn search(
        self,
        scenario: &Scenario,
        settings: WorldSettings,
        effort: &Effort,
        sizes: &[(f64, f64)],
    ) -> Preparation {
        let searched = |size: usize, step: u32| Preparation {
            utilisation: Some(search::utilisation(step)),
            cores: sizes.get(size).map(|(cores, _)| *cores),
            hold_seconds: sizes.get(size).map_or(0.0, |(_, hold)| *hold),
            ..Preparation::default()
        };
        let search = Search::new(effort.seeds, |size, step, seed| Tried {
            outcome: self.run(scenario, &searched(size, step), settings, seed, effort),
            allowed: 1.0 - scenario.percentile,
        });
        let ((size, step), runs) = search.cheapest(sizes.len());
        Preparation {
            runs: runs.into_iter().map(|(seed, tried)| (seed, tried.outcome)).collect(),
            ..searched(size, step)
        }
    }
}

/// A run of the search.
struct Tried {
    outcome: Outcome,
    allowed: f64,
}

impl Trial for Tried {
    fn kept(&self) -> bool {
        self.outcome.record.violation_share() <= self.allowed
    }

    fn cost(&self) -> f64 {
        self.outcome.record.charged_core_seconds
    }
}

/// Six hours of exploring over a slow wave of the scenario's mean load, as in the paper's appendix.
fn train_tower(scenario: &Scenario, settings: WorldSettings, pace: f64) -> Preparation {
    const HOURS: usize = 6;
    let training = Scenario {
        name: scenario.name.clone(),
        application: scenario.application.clone(),
        profile: scenario.profile.clone(),
        load: LoadSource::Made(load::diurnal),
        seconds: HOURS * 3600,
        events: Vec::new(),
        recovery_from: None,
        ..*scenario
    };
    let contestant = Contestant::Autothrottle(pace);
    let start = contestant.start(&training, &Preparation::default());
    let tower = Tower::new(scenario.response_time_seconds, 1.0, 4242);
    let tower = train(tower, pace, |autothrottle| {
        simulation::run(&training, autothrottle, start, settings, (4242, 0));
    });
    Preparation {
        tower: Some(tower),
        ..Preparation::default()
    }
}

impl Preparation {
    /// What was found, in short.
    pub fn brief(&self) -> (Option<f64>, Option<f64>) {
        (self.utilisation, self.cores)
    }

    /// What came out for a seed, where the search has run it already.
    pub fn outcome(&self, seed: u64) -> Option<&Outcome> {
        self.runs.get(&seed)
    }
}

/// The core with the operator's defaults, at the world's pace of scraping.
fn valence(scenario: &Scenario, world: WorldSettings) -> Valence {
    let settings = Settings {
        scrape_interval_seconds: world.scrape_seconds,
        decision_interval_seconds: world.scrape_seconds,
        ..Settings::default()
    };
    let objective = scenario.response_time_seconds;
    Valence::new(objective, scenario.percentile, scenario.min_replicas, settings)
}

/// Prints every decision of Valence on one seed of a scenario.
pub fn explain(scenario: &Scenario, settings: WorldSettings, effort: &Effort, seed: u64) {
    let valence = valence(scenario, settings);
    let start = Start {
        replicas: scenario.replicas,
        size: scenario.size,
    };
    simulation::run(
        scenario,
        &mut valence.tracing(),
        start,
        settings,
        (seed, effort.warm_up),
    );
}
