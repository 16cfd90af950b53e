//! A served application, simulated: what one pod does with its requests, its CPU and its memory.
//!
//! Pure and driven by events: nothing here knows a runtime or a clock. Times are seconds on any scale that the caller
//! keeps ascending; the same seed and the same calls give the same results. The sample application of the playground
//! runs one [`Pod`] in real time, the benchmark runs many as fast as it can.
//!
//! Requests arrive, take a worker, spend CPU time drawn from a [`ServiceTime`] law, wait off the CPU for whatever is
//! downstream, and leave. The [`Processor`] enforces what the kernel does: a number of cores, a CFS quota for each
//! period of 100 ms, and stop-the-world pauses of a garbage collector. No formula for a percentile appears anywhere:
//! response times are what comes out.

mod law;
mod pod;
mod processor;
mod profile;

pub use law::ServiceTime;
pub use pod::{Completion, Pod, PodLimits, RequestId};
pub use processor::{CFS_PERIOD_SECONDS, Processor, Throttling};
pub use profile::{
    ApplicationProfile, Discipline, Downstream, GarbageCollection, Memory, PRESETS, ProfileError, Start,
};
