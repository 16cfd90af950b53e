//! CPU and memory that containers use, averaged over a window as a metrics server does.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::instance::Usage;

/// Time between two samples.
pub const SAMPLING: Duration = Duration::from_secs(1);

/// Samples of one container.
#[derive(Default)]
struct Samples(VecDeque<(Instant, Usage)>);

impl Samples {
    fn push(&mut self, now: Instant, usage: Usage, window: Duration) {
        self.0.push_back((now, usage));
        while self.0.len() > 2
            && self
                .0
                .get(1)
                .is_some_and(|(time, _)| now.duration_since(*time) >= window)
        {
            self.0.pop_front();
        }
    }

    /// Cores and bytes over the window; `None` until there are two samples.
    fn rate(&self) -> Option<(f64, u64)> {
        let ((first, before), (last, after)) = (self.0.front()?, self.0.back()?);
        let time = last.duration_since(*first).as_secs_f64();
        (time > 0.0).then(|| {
            (
                ((after.cpu_seconds - before.cpu_seconds) / time).max(0.0),
                after.memory_bytes,
            )
        })
    }
}

/// Averages for all containers, by the pod's UID and the container's name.
#[derive(Default)]
pub struct Averages {
    samples: HashMap<(String, String), Samples>,
}

impl Averages {
    /// Takes one sample of every container that runs; the others are forgotten.
    pub fn sample(&mut self, now: Instant, window: Duration, running: Vec<((String, String), Usage)>) {
        let names: std::collections::HashSet<&(String, String)> = running.iter().map(|(name, _)| name).collect();
        self.samples.retain(|name, _| names.contains(name));
        for (name, usage) in running {
            self.samples.entry(name).or_default().push(now, usage, window);
        }
    }

    /// Cores and bytes of a container.
    pub fn of(&self, pod: &str, container: &str) -> Option<(f64, u64)> {
        self.samples.get(&(pod.to_owned(), container.to_owned()))?.rate()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn usage_is_averaged_over_the_window_only() {
        let mut averages = Averages::default();
        let name = ("uid".to_owned(), "app".to_owned());
        let start = Instant::now();
        let window = Duration::from_secs(5);
        for second in 0..=20u64 {
            // Half a core for ten seconds, then two cores.
            let cpu_seconds = if second <= 10 {
                second as f64 * 0.5
            } else {
                5.0 + (second - 10) as f64 * 2.0
            };
            let usage = Usage {
                cpu_seconds,
                memory_bytes: second,
            };
            averages.sample(start + Duration::from_secs(second), window, vec![(name.clone(), usage)]);
            if second == 10 {
                assert_eq!(averages.of("uid", "app").unwrap().0, 0.5);
            }
        }
        assert_eq!(averages.of("uid", "app"), Some((2.0, 20)));
        averages.sample(start, window, Vec::new());
        assert_eq!(averages.of("uid", "app"), None);
    }
}
