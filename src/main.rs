//! The valence binary.
fn main() {}
