//! The operator from the outside: its manifests, its binary and the real Envoy on the playground.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod convergence;
mod faults;
mod live;
mod objectives;
mod rollouts;
mod support;
mod surroundings;
