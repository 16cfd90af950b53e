//! The demo: Valence as an operator on the playground, with a workload whose load rises and falls.

pub mod cli;
mod install;
mod look;
mod run;
mod summary;
mod view;
