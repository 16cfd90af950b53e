//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::cluster::{Vertical, WorldSettings};
use crate::contestants::Effort;

/// Valence against its peers in a simulated cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "control", bin_name = "cargo bench --bench control --")]
pub struct Options {
    /// Twenty seeds for everybody and a longer warm-up; takes as long as it needs. Without it a run takes under five
    /// minutes on two cores.
    #[arg(long)]
    pub full: bool,
    /// Seeds of the headline; the others get a quarter of them unless --full.
    #[arg(long)]
    pub seeds: Option<u64>,
    /// The first seed; beyond 1 for controllers whose settings are not searched for on the judged seeds.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub first_seed: u64,
    /// Only scenarios whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only contestants whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    pub who: Vec<String>,
    /// A file of requests per second, one line a second, in place of the suite; may be given more than once.
    #[arg(long, value_name = "FILE")]
    pub trace: Vec<PathBuf>,
    /// Multiplies the rates of --trace.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub scale: f64,
    /// Application of --trace: web, bimodal, io-heavy, gc or single-threaded.
    #[arg(long, default_value = "web")]
    pub application: String,
    /// Folder of the recorded traces of the suite.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/traces"))]
    pub traces: PathBuf,
    /// Share of the time in which a node gives a pod no more than its request, 0 to 1.
    #[arg(long, default_value_t = WorldSettings::default().contended_share, value_parser = share)]
    pub contention: f64,
    /// How a change of the pod size reaches running pods.
    #[arg(long, value_enum, default_value_t = VerticalChoice::Rollout)]
    pub vertical: VerticalChoice,
    /// CPU that the pod requests which the user wrote, in cores; its limit is twice as much.
    #[arg(long, value_name = "CORES", default_value_t = 0.5, value_parser = positive)]
    pub request: f64,
    /// Time between two scrapes of Valence, and between two decisions, in seconds: 5 to 15.
    #[arg(long, value_name = "SECONDS", default_value_t = WorldSettings::default().scrape_seconds, value_parser = interval)]
    pub scrape: f64,
    /// Prints every decision of Valence with its explanation, for this seed.
    #[arg(long, value_name = "SEED")]
    pub explain: Option<u64>,
    /// Threads; all cores by default.
    #[arg(long)]
    pub threads: Option<usize>,
    /// Where tables and plots are written.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/control"))]
    pub out: PathBuf,
    /// Ends with an error where anything of the "must reach" list is not reached.
    #[arg(long)]
    pub strict: bool,
    /// What cargo passes to a benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// `--vertical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerticalChoice {
    /// Rolling replacement with a surge of 25%.
    Rollout,
    /// Resize of running pods.
    InPlace,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| value.is_finite() && *value > 0.0)
        .ok_or_else(|| "must be above 0".into())
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (5.0..=15.0).contains(value))
        .ok_or_else(|| "must be from 5 to 15".into())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..1.0).contains(value))
        .ok_or_else(|| "must be from 0 to below 1".into())
}

impl Options {
    /// How much is simulated.
    pub fn effort(&self) -> Effort {
        let seeds = self.seeds.unwrap_or(20).max(1);
        let quick = Effort {
            warm_up: 2400,
            seeds,
            other_seeds: seeds.div_ceil(4),
        };
        if self.full {
            return Effort {
                warm_up: 7200,
                seeds,
                other_seeds: seeds,
            };
        }
        quick
    }

    /// The world.
    pub fn world(&self) -> WorldSettings {
        let vertical = match self.vertical {
            VerticalChoice::Rollout => Vertical::Rollout,
            VerticalChoice::InPlace => Vertical::InPlace,
        };
        WorldSettings {
            contended_share: self.contention,
            scrape_seconds: self.scrape,
            vertical,
            ..WorldSettings::default()
        }
    }

    /// Threads to use.
    pub fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or(cores).max(1)
    }
}
