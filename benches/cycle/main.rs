//! What a recommender costs: one decision cycle, and one round of scrapes of ten thousand sidecars.
//!
//! Each part is a process of its own, so that none is told of the memory of another.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod api;
mod cluster;
mod models;
mod observations;
mod others;
mod process;
mod scrapes;
mod sidecars;

use std::process::Command;

const DEPLOYMENTS: usize = 1000;
const PODS: usize = 10;
/// Containers of each pod, the application and its sidecar among them.
const CONTAINERS: usize = 20;

fn main() {
    let part = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    match part.as_deref() {
        Some("models") => models::measure(),
        Some("scrapes") => scrapes::measure(),
        Some("others") => others::serve(),
        _ => {
            println!("{DEPLOYMENTS} Deployments, {PODS} pods each, {CONTAINERS} containers in each pod");
            for part in ["models", "scrapes"] {
                println!();
                let program = std::env::current_exe().expect("this program has a name");
                let status = Command::new(program).arg(part).status().expect("this program starts");
                assert!(status.success(), "{part} failed");
            }
        }
    }
}

/// A line of a table.
fn row(what: &str, number: String, note: &str) {
    println!("{what:<44} {number:>14} {note}");
}
