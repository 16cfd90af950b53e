//! `valence crds`: the CustomResourceDefinitions, for `kubectl apply -f -` and for the manifests.

use std::process::ExitCode;

use clap::Args;

use super::output;
use crate::api::definitions;

/// Arguments of `valence crds`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only the definition of this kind.
    #[arg(long, value_name = "KIND", value_parser = ["ServiceLevelObjective", "Recommendation"])]
    pub kind: Option<String>,
}

impl Arguments {
    /// Prints the definitions as YAML documents.
    ///
    /// # Errors
    /// When the standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        for definition in definitions::all() {
            if self
                .kind
                .as_ref()
                .is_none_or(|kind| *kind == definition.spec.names.kind)
            {
                output::print(&format!("---\n{}", definitions::yaml(&definition)?))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
