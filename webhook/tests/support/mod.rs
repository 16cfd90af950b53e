//! What the tests of this crate share.
#![allow(dead_code, clippy::unwrap_used)]

pub mod case;
pub mod cluster;
pub mod envoy;
pub mod strict;
pub mod upstream;

/// The value of the first line with a name and a piece of its labels.
pub fn value(exposition: &str, name: &str, label: &str) -> Option<f64> {
    let line = exposition
        .lines()
        .find(|line| line.split('{').next() == Some(name) && line.contains(label))?;
    line.rsplit(' ').next()?.parse().ok()
}
