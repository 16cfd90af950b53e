//! Contestants measured in turns within one run, so that whatever else the machine does meets all of them alike.
//!
//! (Criterion measures one after the other; on a busy machine their ratio then says little.)

use std::time::{Duration, Instant};

/// Turns of each contestant.
const TURNS: usize = 61;
/// Length of a turn.
const TURN: Duration = Duration::from_millis(15);

/// Something to measure.
pub struct Contestant<'a> {
    /// What it is called in the table.
    pub name: &'a str,
    /// Does the work once.
    pub work: Box<dyn FnMut() + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant.
    pub fn new(name: &'a str, work: impl FnMut() + 'a) -> Self {
        Self {
            name,
            work: Box::new(work),
        }
    }
}

/// Median time of one piece of work for each contestant, in their order, after a warm-up.
pub fn medians(contestants: &mut [Contestant<'_>]) -> Vec<Duration> {
    let repeats: Vec<u32> = contestants
        .iter_mut()
        .map(|contestant| repeats(&mut contestant.work))
        .collect();
    let mut times = vec![Vec::with_capacity(TURNS); contestants.len()];
    for _ in 0..TURNS {
        for ((contestant, repeats), times) in contestants.iter_mut().zip(&repeats).zip(&mut times) {
            let begun = Instant::now();
            (0..*repeats).for_each(|_| (contestant.work)());
            times.push(begun.elapsed() / *repeats);
        }
    }
    times.iter_mut().map(|times| median(times)).collect()
}

/// How often the work fits into a turn; finding out is the warm-up.
fn repeats(work: &mut dyn FnMut()) -> u32 {
    let begun = Instant::now();
    let mut done = 0_u32;
    while begun.elapsed() < TURN * 10 {
        work();
        done += 1;
    }
    (done / 10).max(1)
}

/// The middle one.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
