//! Where bytes of others enter Valence, and what must hold whatever they are.
//!
//! The fuzz targets run these on what libFuzzer makes up, `tests/hostile` on the corpus and on random changes of it, so
//! that a stable compiler covers them as well.

pub mod admission;
pub mod checkpoint;
pub mod exposition;
pub mod objective;
pub mod quantity;
