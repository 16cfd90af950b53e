//! What is simulated: an application, its objective, its load and what happens to it.

use std::path::Path;
use std::sync::Arc;

use valence_playground::application::ApplicationProfile;

use crate::cluster::Size;
use crate::load::{self, Load};

/// How a load comes about for one seed.
pub enum LoadSource {
    /// Recorded: the same for every seed (arrivals within a second and demands still differ).
    Recorded(Load),
    /// Made from mean rate, length in seconds and seed.
    Made(fn(f64, usize, u64) -> Load),
}

/// Something that happens during the judged time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// New code is rolled out that needs so many times the CPU time.
    Deploy {
        /// Multiple of the CPU time.
        demand: f64,
    },
    /// No metrics arrive.
    Blackout {
        /// How long, in seconds.
        seconds: f64,
    },
    /// Memory leaks from now on.
    Leak {
        /// How fast.
        bytes_per_hour: f64,
    },
    /// Waits on whatever is downstream take longer.
    SlowDownstream {
        /// Multiple of the waits.
        scale: f64,
        /// How long, in seconds.
        seconds: f64,
    },
}

/// One scenario.
pub struct Scenario {
    /// Name, also of the files that are written.
    pub name: String,
    /// Name of the application.
    pub application: String,
    /// The application.
    pub profile: Arc<ApplicationProfile>,
    /// Response time of the objective in seconds.
    pub response_time_seconds: f64,
    /// Share of requests within it, 0 to 1.
    pub percentile: f64,
    /// The load.
    pub load: LoadSource,
    /// Its mean rate, for made loads.
    pub mean_rate: f64,
    /// Judged time in seconds.
    pub seconds: usize,
    /// What happens, by second of the judged time.
    pub events: Vec<(f64, Event)>,
    /// When recovery is timed from, in seconds of the judged time, if it is.
    pub recovery_from: Option<f64>,
    /// The pod that the user wrote.
    pub size: Size,
    /// The replicas that the user wrote.
    pub replicas: u32,
    /// Least replicas, for availability.
    pub min_replicas: u32,
    /// Whether the model was tuned on it.
    pub tuned_on: bool,
}

const MEBIBYTE: u64 = 1024 * 1024;

/// What makes the seed of a warm-up another one.
const WARM_UP: u64 = 0x7761_726d;

/// Length of the wave that warms up for a recorded load, in seconds.
const WAVE_SECONDS: usize = 3600;

/// CPU time of a request in every scenario, in seconds: the presets are slowed until they need as much. Rates are lower
/// by as much, which keeps the cores in use and makes a run that much faster.
const CPU_SECONDS: f64 = 0.040;

/// Cores in use on average in the scenarios of made load.
const CORES: f64 = 3.0;

impl Scenario {
    /// The load for one seed.
    pub fn load(&self, seed: u64) -> Load {
        match &self.load {
            LoadSource::Recorded(load) => load.clone(),
            LoadSource::Made(generator) => generator(self.mean_rate, self.seconds, seed),
        }
    }

    /// The load for one seed, preceded by a warm-up of `seconds` that shows nothing of it: a made load of another seed, up to
    /// where something happens in it; before a recorded one a wave that begins at the rate of its first minute.
    pub fn load_after_warm_up(&self, seed: u64, seconds: usize) -> Load {
        let load = self.load(seed);
        let before = match &self.load {
            LoadSource::Recorded(load) => {
                let begins = load.first_minute().max(load.mean() / 4.0);
                let wave = load::diurnal(self.mean_rate, WAVE_SECONDS, seed ^ WARM_UP);
                let factor = begins / wave.first_minute();
                wave.scaled(factor)
            }
            LoadSource::Made(generator) => generator(self.mean_rate, self.seconds, seed ^ WARM_UP),
        };
        let shown = self.recovery_from.map_or(usize::MAX, |from| from as usize);
        load.after(&before.until(shown), seconds)
    }

    /// CPU cores in use at a rate of requests per second, from the application's own parameters.
    pub fn cores_at(&self, rate: f64) -> f64 {
        rate * self.profile.cpu.mean_seconds()
    }

    fn base(name: &str, preset: &str) -> Self {
        let profile = ApplicationProfile::preset(preset).unwrap_or_default();
        let slowed = CPU_SECONDS / profile.cpu.mean_seconds();
        let profile = profile.slowed(slowed);
        Self {
            name: name.to_owned(),
            application: preset.to_owned(),
            response_time_seconds: response_time(preset) * slowed,
            percentile: 0.99,
            load: LoadSource::Made(load::diurnal),
            mean_rate: CORES / CPU_SECONDS,
            seconds: 3600,
            events: Vec::new(),
            recovery_from: None,
            size: user_size(),
            replicas: 12,
            min_replicas: 2,
            tuned_on: true,
            profile: Arc::new(profile),
        }
    }

    fn with_load(mut self, generator: fn(f64, usize, u64) -> Load) -> Self {
        self.load = LoadSource::Made(generator);
        self
    }

    fn with_event(mut self, at_seconds: f64, event: Event) -> Self {
        self.events.push((at_seconds, event));
        self
    }

    /// The same with an objective `factor` times as long.
    fn loosened(mut self, factor: f64) -> Self {
        self.response_time_seconds *= factor;
        self
    }

    /// The same, written by a user who requests `cores` for a pod.
    pub fn written_with(&mut self, cores: f64) {
        let before = self.size.cpu_request;
        self.size.cpu_request = cores;
        self.size.cpu_limit = 2.0 * cores;
        self.replicas = ((f64::from(self.replicas) * before / cores).ceil() as u32).max(self.min_replicas);
    }

    fn recovering_from(mut self, at_seconds: f64) -> Self {
        self.recovery_from = Some(at_seconds);
        self
    }

    /// A scenario of a recorded load at `scale`, on a preset; `None` where there is no such preset.
    pub fn recorded(name: &str, preset: &str, trace: Load, scale: f64, tuned_on: bool) -> Option<Self> {
        ApplicationProfile::preset(preset)?;
        let load = trace.scaled(scale);
        let mut scenario = Self::base(name, preset);
        scenario.seconds = load.seconds();
        scenario.mean_rate = load.mean();
        scenario.replicas = (scenario.cores_at(load.mean()) / 0.5 / scenario.size.cpu_request)
            .ceil()
            .max(2.0) as u32;
        scenario.load = LoadSource::Recorded(load);
        scenario.tuned_on = tuned_on;
        Some(scenario)
    }
}

/// Objective of each preset in seconds: about twice what p99 is without load in a pod of a core, and little more than that in
/// half a core while its node is contended. They are such that the best target of an HPA lies between 60% and 90%; the
/// Autothrottle paper found 40% to 80% for its applications.
fn response_time(preset: &str) -> f64 {
    match preset {
        "bimodal" => 0.100,
        "io-heavy" => 0.070,
        "single-threaded" => 0.055,
        _ => 0.075,
    }
}

/// The pod that a user would write: half a core with room for one, and memory with half as much again as needed.
fn user_size() -> Size {
    Size {
        cpu_request: 0.5,
        cpu_limit: 1.0,
        memory_request: 256 * MEBIBYTE,
        memory_limit: 512 * MEBIBYTE,
    }
}

/// The suite: every generator, every event, and the recorded traces where they are present.
pub fn suite(traces: &Path) -> Vec<Scenario> {
    let mut suite = vec![
        Scenario::base("constant", "web").with_load(|mean, seconds, _| load::constant(mean, seconds)),
        Scenario::base("diurnal", "web"),
        Scenario::base("noisy", "bimodal").with_load(load::noisy),
        Scenario::base("bursty", "gc").with_load(load::bursty),
        Scenario::base("step", "web")
            .with_load(load::step)
            .recovering_from(1800.0),
        Scenario::base("day", "io-heavy").with_load(load::day),
        // Looser than the others: half as much again of CPU time must leave it within reach.
        Scenario::base("deploy", "web")
            .loosened(1.5)
            .with_event(1200.0, Event::Deploy { demand: 1.5 })
            .recovering_from(1200.0),
        Scenario::base("blackout", "web").with_event(1500.0, Event::Blackout { seconds: 600.0 }),
        Scenario::base("leak", "web").with_event(
            600.0,
            Event::Leak {
                bytes_per_hour: 500.0 * 1024.0 * 1024.0,
            },
        ),
        Scenario::base("single-threaded", "single-threaded"),
        Scenario::base("slow-downstream", "io-heavy").loosened(1.2).with_event(
            1200.0,
            Event::SlowDownstream {
                scale: 1.5,
                seconds: 900.0,
            },
        ),
    ];
    for (file, tuned_on) in [("autothrottle-diurnal", true), ("autothrottle-bursty", false)] {
        match load::read(&traces.join(format!("{file}.txt"))) {
            // A quarter of the recorded load, as a request takes four times the CPU time of the web preset.
            Ok(trace) => suite.extend(Scenario::recorded(file, "web", trace, 0.25, tuned_on)),
            Err(error) => eprintln!("skipped {file}: {}: {error}", traces.display()),
        }
    }
    suite
}
