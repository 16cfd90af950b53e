//! What comes in: the sidecars' counters, and the CPU and memory in use.

pub mod exposition;
