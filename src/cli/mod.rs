//! The command line: one file for each command, each an `Arguments` with `run`.
//!
//! Results go to the standard output, everything else to the standard error.

pub mod crds;
mod operator;
pub mod output;
pub mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Print the CustomResourceDefinitions as YAML.
    Crds(crds::Arguments),
}

impl Valence {
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
    /// Worker threads that the command is worth; commands of a person get by with the calling thread.
    fn threads(&self) -> usize {
        if matches!(self, Self::Run(_)) { 2 } else { 0 }
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(arguments) => arguments.run().await,
            Self::Crds(arguments) => arguments.run(),
        }
    }
}
