//! The operator from the outside: its manifests, its binary and the real Envoy on the playground.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod ask;
mod beside;
mod changes;
mod connections;
mod convergence;
mod faults;
mod live;
mod objectives;
mod rights;
mod rollouts;
mod rotation;
#[path = "../shop/mod.rs"]
mod shop;
mod support;
mod surroundings;
