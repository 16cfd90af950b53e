//! `valence slo`: objectives from and to OpenSLO, for the part of it that means the same.

mod export;
mod import;

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::input;

/// Kind of the metric source by which an exported objective is known again.
const SOURCE: &str = "valence";

/// Arguments of `valence slo`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Turn OpenSLO objectives into ServiceLevelObjectives; what does not map is refused by name.
    Import(import::Arguments),
    /// Turn ServiceLevelObjectives into OpenSLO.
    Export(export::Arguments),
}

impl Arguments {
    /// Prints the result as YAML documents.
    ///
    /// # Errors
    /// When a document cannot be read or does not map, with the field.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Import(arguments) => arguments.run(),
            Command::Export(arguments) => arguments.run(),
        }
    }
}

/// The YAML documents of a file, or of the standard input for `-`.
///
/// # Errors
/// When the file cannot be read, is not YAML, or holds no document or one that is no object.
pub fn documents(file: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&input::text(file)?)?;
    documents.retain(|document| !document.is_null());
    anyhow::ensure!(!documents.is_empty(), "{} holds no document", file.display());
    for (index, document) in documents.iter().enumerate() {
        anyhow::ensure!(
            document.is_object(),
            "document {} of {} is no object",
            index + 1,
            file.display()
        );
    }
    Ok(documents)
}
