//! The valence binary.

use std::process::ExitCode;

use clap::Parser;
use valence::cli::Valence;

fn main() -> ExitCode {
    Valence::parse().execute()
}
