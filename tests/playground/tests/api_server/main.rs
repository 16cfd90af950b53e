//! The API server as its clients see it: kube-rs, `kubectl`, and webhooks of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod admission;
mod custom_resources;
mod deletion;
mod faults;
mod kubectl;
mod objects;
mod ownership;
mod policies;
mod rights;
mod support;
mod watches;
