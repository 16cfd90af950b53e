//! From counters that only grow to what happened between two scrapes of a pod.

use std::collections::HashMap;
use std::sync::Arc;

use super::envoy::Reading;
use super::subject::Restarts;
use crate::core::histogram::Histogram;

/// A reading that is older than this many intervals, and than so many seconds, is no longer the start of a window: the load
/// would be spread over a time that nobody looked at.
const OLDEST_START: f64 = 2.5;
const OLDEST_START_SECONDS: f64 = 10.0;

/// A reading, and when it was taken in seconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Stamped {
    /// When it was taken.
    pub at_seconds: f64,
    /// What was read.
    pub reading: Reading,
}

/// When a pod began.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// When it was made, in seconds since the Unix epoch.
    pub created_at_seconds: f64,
    /// When it became ready.
    pub ready_at_seconds: Option<f64>,
}

/// What happened at one pod between two scrapes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// Time between the two in seconds.
    pub seconds: f64,
    /// Response times of the requests that ended.
    pub latency: Histogram,
    /// Requests that began.
    pub arrivals: Option<u64>,
    /// Requests that ended with a server error.
    pub failures: u64,
}

/// Remembers the last reading of every pod.
#[derive(Debug, Default)]
pub struct Tracks {
    pods: HashMap<String, Track>,
    round: u64,
}

#[derive(Debug, Default)]
struct Track {
    reading: Option<Stamped>,
    restarts: Option<Arc<[Restarts]>>,
    round: u64,
}

impl Tracks {
    /// Begins a round; pods that no round asks about are forgotten by [`Tracks::forget_absent`].
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// Forgets the pods that this round did not ask about.
    pub fn forget_absent(&mut self) {
        let round = self.round;
        self.pods.retain(|_, track| track.round == round);
    }

    /// Number of pods that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether no pod is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// What happened at a pod since its last reading, which must be recent. `None` where this reading is the first one:
    /// what it counts may be of any age, unless the pod itself is younger than the interval.
    ///
    /// A counter that fell has started anew and counts from zero. A clock that was set back makes the reading a first one.
    /// A young pod counts since it became ready, and for an interval at least: it had no requests in the rest of it.
    pub fn window(&mut self, pod: &str, now: Stamped, interval_seconds: f64, beginning: Beginning) -> Option<Window> {
        let oldest = (interval_seconds * OLDEST_START).max(OLDEST_START_SECONDS);
        let is_recent = |seconds: f64| (0.0..=oldest).contains(&seconds);
        match self.track(pod).reading.replace(now.clone()) {
            Some(earlier) => {
                let seconds = now.at_seconds - earlier.at_seconds;
                (is_recent(seconds) && seconds > 0.0).then(|| since(&now.reading, &earlier.reading, seconds))
            }
            None => {
                let ready = beginning.ready_at_seconds.unwrap_or(beginning.created_at_seconds);
                let seconds = (now.at_seconds - ready).max(interval_seconds);
                is_recent(now.at_seconds - beginning.created_at_seconds)
                    .then(|| since(&now.reading, &Reading::default(), seconds))
            }
        }
    }

    /// The containers that were restarted since the last round; the first sight of one says nothing.
    pub fn restarted<'n>(&mut self, pod: &str, now: &'n Arc<[Restarts]>) -> Vec<&'n Restarts> {
        let before = self.track(pod).restarts.replace(Arc::clone(now));
        let before = before.as_deref().unwrap_or_default();
        let more = |now: &&Restarts| {
            let mut before = before.iter();
            before.any(|before| before.container == now.container && before.count < now.count)
        };
        now.iter().filter(more).collect()
    }

    fn track(&mut self, pod: &str) -> &mut Track {
        let round = self.round;
        let track = self.pods.entry(pod.to_owned()).or_default();
        track.round = round;
        track
    }
}

fn since(now: &Reading, earlier: &Reading, seconds: f64) -> Window {
    let latency = now.latency.since(&earlier.latency);
    // The counters of one Envoy start anew together, and the histogram shows it most surely.
    let anew = now.latency.total() < earlier.latency.total();
    let counted = |now: u64, earlier: u64| if anew || now < earlier { now } else { now - earlier };
    Window {
        seconds,
        latency,
        arrivals: now
            .arrivals
            .map(|arrivals| counted(arrivals, earlier.arrivals.unwrap_or_default())),
        failures: counted(now.failures, earlier.failures),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn reading(within: u64, beyond: u64) -> Reading {
        let latency = Histogram::from_cumulative(&[(0.1, within), (f64::INFINITY, within + beyond)]);
        Reading {
            latency,
            arrivals: Some(within + beyond + 1),
            failures: beyond,
        }
    }

    fn tracks() -> Tracks {
        let mut tracks = Tracks::default();
        tracks.begin();
        tracks
    }

    fn at(at_seconds: f64, reading: Reading) -> Stamped {
        Stamped { at_seconds, reading }
    }

    fn made(created_at_seconds: f64) -> Beginning {
        Beginning {
            created_at_seconds,
            ready_at_seconds: None,
        }
    }

    #[test]
    fn the_first_reading_of_an_old_pod_only_starts_a_window() {
        let mut tracks = tracks();
        assert_eq!(tracks.window("a", at(1000.0, reading(100, 1)), 15.0, made(0.0)), None);
        let window = tracks
            .window("a", at(1015.0, reading(130, 3)), 15.0, made(0.0))
            .unwrap();
        assert_eq!(window.latency.counts, vec![30, 2]);
        assert_eq!((window.arrivals, window.failures), (Some(32), 2));
    }

    #[test]
    fn a_young_pod_counts_from_its_start() {
        let window = tracks().window("a", at(1000.0, reading(7, 0)), 15.0, made(990.0));
        let window = window.unwrap();
        assert_eq!(window.latency.total(), 7);
        assert_eq!(window.seconds, 15.0, "it had no requests in the rest of the interval");
        let ready = Beginning {
            ready_at_seconds: Some(975.0),
            ..made(965.0)
        };
        let window = tracks().window("a", at(1000.0, reading(7, 0)), 15.0, ready);
        assert_eq!(window.unwrap().seconds, 25.0);
    }

    #[test]
    fn a_window_is_as_long_as_the_time_between_its_readings() {
        let mut tracks = tracks();
        tracks.window("a", at(1000.0, reading(100, 0)), 15.0, made(0.0));
        let late = tracks.window("a", at(1018.5, reading(285, 0)), 15.0, made(0.0));
        assert_eq!(late.unwrap().seconds, 18.5);
        let after_a_miss = tracks.window("a", at(1050.0, reading(600, 0)), 15.0, made(0.0));
        assert_eq!(after_a_miss.unwrap().seconds, 31.5);
    }

    #[test]
    fn counters_that_start_anew_count_from_zero() {
        let mut tracks = tracks();
        tracks.window("a", at(1000.0, reading(100, 5)), 15.0, made(0.0));
        let window = tracks.window("a", at(1015.0, reading(4, 1)), 15.0, made(0.0)).unwrap();
        assert_eq!(window.latency.counts, vec![4, 1]);
        assert_eq!((window.arrivals, window.failures), (Some(6), 1));
    }

    #[test]
    fn a_gap_or_a_clock_set_back_starts_over() {
        let mut tracks = tracks();
        let mut window = |at_seconds, count| tracks.window("a", at(at_seconds, reading(count, 0)), 15.0, made(0.0));
        window(1000.0, 100);
        assert_eq!(window(1100.0, 900), None);
        assert_eq!(window(500.0, 950), None);
        assert_eq!(window(515.0, 960).unwrap().latency.total(), 10);
    }

    #[test]
    fn where_rounds_are_seconds_apart_a_busy_node_is_no_gap() {
        let mut tracks = tracks();
        let mut window = |at_seconds, count| tracks.window("a", at(at_seconds, reading(count, 0)), 1.0, made(0.0));
        window(1000.0, 100);
        assert_eq!(window(1009.0, 900).unwrap().latency.total(), 800);
        assert_eq!(window(1020.0, 950), None);
    }

    #[test]
    fn restarts_are_told_once_and_absent_pods_forgotten() {
        let mut tracks = tracks();
        let mut restarted = |counts: &[(&str, i32)]| {
            let now: Arc<[_]> = counts
                .iter()
                .map(|(container, count)| Restarts {
                    container: (*container).into(),
                    count: *count,
                    for_memory: false,
                })
                .collect();
            let restarted = tracks.restarted("a", &now);
            restarted
                .iter()
                .map(|one| one.container.to_string())
                .collect::<Vec<_>>()
        };
        assert!(restarted(&[("web", 3)]).is_empty());
        assert_eq!(restarted(&[("envoy", 7), ("web", 4)]), ["web"]);
        assert!(restarted(&[("envoy", 7), ("web", 4)]).is_empty());
        assert_eq!(restarted(&[("web", 4), ("envoy", 8)]), ["envoy"]);
        tracks.begin();
        tracks.forget_absent();
        assert!(tracks.is_empty());
    }
}
