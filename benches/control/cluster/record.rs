//! What is counted of a run, from the end of the warm-up on.

/// Ratio of two neighbouring edges of the exact histogram behind p99 of a minute.
const FINE_RATIO: f64 = 1.01;
const FINE_BUCKETS: usize = 1600;
const FINE_LEAST_SECONDS: f64 = 1e-4;

/// One second of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Requests that began.
    pub began: u32,
    /// Requests that were answered or failed.
    pub ended: u32,
    /// Of those, slower than the objective or failed.
    pub violating: u32,
    /// Pods that serve.
    pub ready: u16,
    /// Pods that exist.
    pub pods: u16,
    /// Cores requested by all pods.
    pub requested_cores: f32,
}

/// Everything counted.
#[derive(Clone, Debug)]
pub struct Record {
    objective_seconds: f64,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// Exact p99 of each minute in seconds; 0 without requests.
    pub minute_p99_seconds: Vec<f64>,
    fine: Vec<u32>,
    /// Requests that ended.
    pub requests: u64,
    /// Requests slower than the objective, failed or lost.
    pub violating: u64,
    /// Requests refused or lost.
    pub failed: u64,
    /// CPU requested, in core-seconds.
    pub requested_core_seconds: f64,
    /// The larger of CPU requested and CPU used, in core-seconds: what is compared.
    pub charged_core_seconds: f64,
    /// CPU limits, in core-seconds; a pod without a limit counts with its node's cores.
    pub limit_core_seconds: f64,
    /// CPU used, in core-seconds.
    pub used_core_seconds: f64,
    /// Memory requested, in byte-seconds.
    pub memory_byte_seconds: f64,
    /// Pods created.
    pub pod_starts: u64,
    /// Containers killed for memory.
    pub memory_kills: u64,
    /// Pods replaced for another size.
    pub vertical_restarts: u64,
    /// Times that all pods were to be replaced for another size.
    pub size_changes: u64,
    /// When the last pod of new code became ready, in seconds of the judged time.
    pub deployed_at: Option<f64>,
    /// Times that replicas were lowered while no metrics arrived.
    pub blind_scale_ins: u64,
}

impl Record {
    /// Nothing counted yet.
    pub fn new(objective_seconds: f64) -> Self {
        Self {
            objective_seconds,
            seconds: Vec::new(),
            minute_p99_seconds: Vec::new(),
            fine: vec![0; FINE_BUCKETS],
            requests: 0,
            violating: 0,
            failed: 0,
            requested_core_seconds: 0.0,
            charged_core_seconds: 0.0,
            limit_core_seconds: 0.0,
            used_core_seconds: 0.0,
            memory_byte_seconds: 0.0,
            pod_starts: 0,
            memory_kills: 0,
            vertical_restarts: 0,
            size_changes: 0,
            deployed_at: None,
            blind_scale_ins: 0,
        }
    }

    /// A request was answered.
    pub fn answered(&mut self, latency_seconds: f64) {
        let place = (latency_seconds / FINE_LEAST_SECONDS).max(1.0).ln() / FINE_RATIO.ln();
        self.fine[(place as usize).min(FINE_BUCKETS - 1)] += 1;
        self.ended(latency_seconds > self.objective_seconds);
    }

    /// Requests were refused or lost.
    pub fn failed(&mut self, requests: u64) {
        self.failed += requests;
        self.fine[FINE_BUCKETS - 1] += requests as u32;
        (0..requests).for_each(|_| self.ended(true));
    }

    fn ended(&mut self, violates: bool) {
        self.requests += 1;
        self.violating += u64::from(violates);
        if let Some(second) = self.seconds.last_mut() {
            second.ended += 1;
            second.violating += u32::from(violates);
        }
    }

    /// A request began.
    pub fn began(&mut self) {
        if let Some(second) = self.seconds.last_mut() {
            second.began += 1;
        }
    }

    /// A new second begins; every sixtieth closes a minute.
    pub fn next_second(&mut self, ready: usize, pods: usize, requested_cores: f64) {
        if !self.seconds.is_empty() && self.seconds.len().is_multiple_of(60) {
            self.close_minute();
        }
        self.seconds.push(Second {
            ready: ready as u16,
            pods: pods as u16,
            requested_cores: requested_cores as f32,
            ..Second::default()
        });
    }

    /// Closes the minute under way.
    pub fn close_minute(&mut self) {
        let total: u64 = self.fine.iter().map(|&count| u64::from(count)).sum();
        let mut beyond = 0;
        // The share above p99 is counted from the slow end.
        let slowest = self.fine.iter().rposition(|&count| {
            beyond += u64::from(count);
            beyond as f64 > 0.01 * total as f64
        });
        let p99 = slowest.map_or(0.0, |bucket| FINE_LEAST_SECONDS * FINE_RATIO.powi(bucket as i32 + 1));
        self.minute_p99_seconds.push(if total == 0 { 0.0 } else { p99 });
        self.fine.fill(0);
    }

    /// Share of requests that kept the objective's response time.
    pub fn violation_share(&self) -> f64 {
        self.violating as f64 / self.requests.max(1) as f64
    }

    /// Minutes in which more than `allowed` of the requests were too slow.
    pub fn minutes_in_violation(&self, allowed: f64) -> f64 {
        let violates = |minute: &&[Second]| {
            let ended: u32 = minute.iter().map(|second| second.ended).sum();
            let violating: u32 = minute.iter().map(|second| second.violating).sum();
            f64::from(violating) > allowed * f64::from(ended)
        };
        self.seconds.chunks(60).filter(violates).count() as f64
    }

    /// Seconds from `from` until the objective is kept again: until the first 30 s in which no more than `allowed` of the
    /// requests were too slow, with the two minutes that they begin kept as well, and which start after the first violation; 0
    /// where there was none within two minutes.
    pub fn recovery_seconds(&self, from: usize, allowed: f64) -> f64 {
        const WINDOW: usize = 30;
        const LASTING: usize = 120;
        let kept = |start: usize, window: usize| {
            let window = &self.seconds[start..(start + window).min(self.seconds.len())];
            let ended: u32 = window.iter().map(|second| second.ended).sum();
            let violating: u32 = window.iter().map(|second| second.violating).sum();
            f64::from(violating) <= allowed * f64::from(ended)
        };
        let last = self.seconds.len().saturating_sub(WINDOW);
        let Some(first) = (from..(from + 120).min(last)).find(|&start| !kept(start, WINDOW)) else {
            return 0.0;
        };
        let end = (first..last).find(|&start| kept(start, WINDOW) && kept(start, LASTING));
        (end.unwrap_or(self.seconds.len()) - from) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p99_of_a_minute_is_exact_to_a_percent() {
        let mut record = Record::new(0.1);
        record.next_second(1, 1, 1.0);
        (1..=1000).for_each(|rank| record.answered(f64::from(rank) / 1000.0));
        record.close_minute();
        assert!(
            (record.minute_p99_seconds[0] / 0.99 - 1.0).abs() < 0.015,
            "{:?}",
            record.minute_p99_seconds
        );
        assert!((record.violation_share() - 0.9).abs() < 0.002);
    }

    #[test]
    fn recovery_ends_with_the_first_good_window() {
        let mut record = Record::new(0.1);
        for second in 0..600 {
            record.next_second(1, 1, 1.0);
            let slow = (100..150).contains(&second);
            (0..100).for_each(|_| record.answered(if slow { 0.2 } else { 0.05 }));
        }
        assert_eq!(record.recovery_seconds(100, 0.01), 50.0);
        assert_eq!(record.recovery_seconds(200, 0.01), 0.0);
        assert_eq!(record.minutes_in_violation(0.01), 2.0);
    }

    #[test]
    fn half_a_minute_before_the_next_violation_is_no_recovery() {
        let mut record = Record::new(0.1);
        for second in 0..600 {
            record.next_second(1, 1, 1.0);
            let slow = (100..150).contains(&second) || (185..200).contains(&second);
            (0..100).for_each(|_| record.answered(if slow { 0.2 } else { 0.05 }));
        }
        assert_eq!(record.recovery_seconds(100, 0.01), 100.0);
    }
}
