//! The command line: one file for each command, each an `Arguments` with `run`.
//!
//! Results go to the standard output, everything else to the standard error.

mod capabilities;
pub mod check;
pub mod cluster;
pub mod completions;
pub mod crds;
pub mod explain;
pub mod export;
pub mod format;
pub mod inject;
mod input;
mod operator;
pub mod output;
pub mod plugin;
pub mod run;
mod serving;
pub mod slo;
pub mod status;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::plugin::Called;

/// Declares how fast a service must be and makes it so at the least cost.
#[derive(Debug, Parser)]
#[command(name = "valence", bin_name = "valence", version, about, propagate_version = true)]
pub struct Valence {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What Valence can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator: the admission webhook, the recommender and its metrics.
    Run(run::Arguments),
    /// Show every managed Deployment in a line.
    Status(status::Arguments),
    /// Explain each number of a recommendation: what bound it, and what would change it.
    Explain(explain::Arguments),
    /// Check a cluster, before and after Valence is installed.
    Check(check::Arguments),
    /// Write recommended values as a kustomize patch or a manifest.
    Export(export::Arguments),
    /// Add the sidecar to manifests, as admission would.
    Inject(inject::Arguments),
    /// Turn objectives from and into OpenSLO.
    Slo(slo::Arguments),
    /// Print the CustomResourceDefinitions as YAML.
    Crds(crds::Arguments),
    /// Print completions for a shell.
    Completions(completions::Arguments),
}

impl Valence {
    /// Does what the arguments of the process say, under the name by which it was called.
    #[must_use]
    pub fn main() -> ExitCode {
        let called = Called::by(std::env::args_os().next().as_ref());
        let mut command = Self::command().bin_name(called.name());
        if called == Called::Completion {
            command.build();
            let words: Vec<_> = std::env::args().skip(1).collect();
            return match output::print(&plugin::completions(&command, &words)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => output::fail(&error),
            };
        }
        let arguments = Self::from_arg_matches(&command.get_matches());
        arguments.unwrap_or_else(|error| error.exit()).execute()
    }

    /// Runs the command to its end on a runtime of its own.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        match output::runtime(self.command.threads()).and_then(|runtime| runtime.block_on(self.command.run())) {
            Ok(code) => code,
            Err(error) => output::fail(&error),
        }
    }
}

impl Command {
    /// Worker threads that the command is worth; commands of a person get by with the calling thread. What the operator
    /// serves has threads of its own.
    fn threads(&self) -> usize {
        if matches!(self, Self::Run(_)) { 2 } else { 0 }
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(arguments) => arguments.run().await,
            Self::Status(arguments) => arguments.run().await,
            Self::Explain(arguments) => arguments.run().await,
            Self::Check(arguments) => arguments.run().await,
            Self::Export(arguments) => arguments.run().await,
            Self::Inject(arguments) => arguments.run(),
            Self::Slo(arguments) => arguments.run(),
            Self::Crds(arguments) => arguments.run(),
            Self::Completions(arguments) => arguments.run(),
        }
    }
}
