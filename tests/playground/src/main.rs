//! Runs the playground.
fn main() {}
