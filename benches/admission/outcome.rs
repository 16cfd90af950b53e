//! What came of a contestant's turns: of every figure the median, so that a turn in which the machine did something else
//! counts for nothing.

use std::time::Duration;

/// The figures of each turn.
#[derive(Default)]
pub struct Outcome {
    p50_microseconds: Vec<f64>,
    p99_microseconds: Vec<f64>,
    per_second: Vec<f64>,
    cpu_microseconds: Vec<f64>,
}

impl Outcome {
    /// A turn: the sorted times of its answers, its length, and the CPU time of the server.
    pub fn turn(&mut self, times: &[Duration], length: Duration, cpu: Duration) {
        let percentile = |percentile: f64| {
            let index = ((times.len() as f64 * percentile) as usize).min(times.len().saturating_sub(1));
            times.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        self.p50_microseconds.push(percentile(0.5));
        self.p99_microseconds.push(percentile(0.99));
        self.per_second.push(times.len() as f64 / length.as_secs_f64());
        self.cpu_microseconds.push(cpu.as_secs_f64() * 1e6 / times.len() as f64);
    }

    /// Half of the answers were there after this time.
    pub fn p50(&self) -> f64 {
        median(&self.p50_microseconds)
    }

    /// Ninety-nine of a hundred.
    pub fn p99(&self) -> f64 {
        median(&self.p99_microseconds)
    }

    /// Answers in a second.
    pub fn per_second(&self) -> f64 {
        median(&self.per_second)
    }

    /// CPU time of an answer.
    pub fn cpu(&self) -> f64 {
        median(&self.cpu_microseconds)
    }
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
