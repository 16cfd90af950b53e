//! The valence binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    valence::cli::Valence::main()
}
