//! What an application is like: the parameters of a [`Pod`](super::Pod).

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::law::ServiceTime;

/// Names that [`ApplicationProfile::preset`] knows.
pub const PRESETS: [&str; 5] = ["web", "bimodal", "io-heavy", "gc", "single-threaded"];

const MEBIBYTE: u64 = 1024 * 1024;

/// How an application treats requests, CPU and memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApplicationProfile {
    /// CPU time of a request in seconds on one core.
    pub cpu: ServiceTime,
    /// Waits off the CPU within a request.
    pub downstream: Option<Downstream>,
    /// Stop-the-world pauses.
    pub garbage_collection: Option<GarbageCollection>,
    /// Threads that can be on a CPU at once; 1 is a single-threaded application.
    pub threads: u32,
    /// Requests that are worked on at once, each holding a worker through its waits as well; `None` is an
    /// asynchronous application without such a limit.
    pub workers: Option<u32>,
    /// Requests that may wait for a worker; one more is refused.
    pub queue_limit: u32,
    /// Order in which runnable requests get the CPU.
    pub discipline: Discipline,
    /// CPU used without any request, in cores.
    pub background_cpu_cores: f64,
    /// Start and warm-up.
    pub start: Start,
    /// Memory.
    pub memory: Memory,
}

/// How runnable requests share the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discipline {
    /// All at once, each at an equal share, as threads under the kernel's fair scheduler.
    ProcessorSharing,
    /// In order of arrival, as tasks of an event loop that run until they wait.
    FirstInFirstOut,
}

/// Waits of a request for something downstream, such as a database. They split its CPU time into equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downstream {
    /// Number of waits in each request, 1 to 8.
    pub waits: u8,
    /// Law of one wait.
    pub wait: ServiceTime,
}

/// A garbage collector that stops the world after a given amount of work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GarbageCollection {
    /// CPU seconds of requests between two collections (allocation follows work).
    pub every_cpu_seconds: f64,
    /// CPU time of one collection on one core.
    pub pause: ServiceTime,
}

/// From creation to full speed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Shortest time from creation until ready, in seconds.
    pub least_seconds: f64,
    /// Longest time from creation until ready, in seconds.
    pub most_seconds: f64,
    /// CPU used while starting, in cores (bounded by the limit).
    pub cpu_cores: f64,
    /// Time from ready until full speed, in seconds (cold caches, a compiler at work).
    pub warm_up_seconds: f64,
    /// How many times the CPU time of a request is at first; it falls to 1 in a straight line.
    pub warm_up_factor: f64,
}

/// What a pod holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Without load, in bytes.
    pub base_bytes: u64,
    /// For each request per second, averaged over a minute (caches, heap that follows allocation).
    pub bytes_per_request_per_second: u64,
    /// For each request in flight.
    pub bytes_per_request: u64,
    /// What leaks in an hour.
    pub leak_bytes_per_hour: u64,
}

/// A profile that describes no application.
#[derive(Debug, Error, PartialEq)]
pub enum ProfileError {
    /// A number is negative, infinite or not a number.
    #[error("{field} must be a finite number that is not negative, not {value}")]
    NotANumber {
        /// Path of the field.
        field: String,
        /// What it holds.
        value: f64,
    },
    /// A number is outside its range.
    #[error("{field} must be {expected}, not {value}")]
    OutOfRange {
        /// Path of the field.
        field: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What it holds.
        value: f64,
    },
}

impl Default for ApplicationProfile {
    fn default() -> Self {
        Self {
            cpu: ServiceTime::Lognormal {
                mean_seconds: 0.010,
                sigma: 0.6,
            },
            downstream: Some(Downstream {
                waits: 1,
                wait: ServiceTime::Lognormal {
                    mean_seconds: 0.005,
                    sigma: 0.4,
                },
            }),
            garbage_collection: None,
            threads: 8,
            workers: Some(64),
            queue_limit: 1024,
            discipline: Discipline::ProcessorSharing,
            background_cpu_cores: 0.005,
            start: Start {
                least_seconds: 30.0,
                most_seconds: 60.0,
                cpu_cores: 0.3,
                warm_up_seconds: 30.0,
                warm_up_factor: 1.5,
            },
            memory: Memory {
                base_bytes: 120 * MEBIBYTE,
                bytes_per_request_per_second: MEBIBYTE / 2,
                bytes_per_request: 256 * 1024,
                leak_bytes_per_hour: 0,
            },
        }
    }
}

impl ApplicationProfile {
    /// A profile of [`PRESETS`]; `None` for any other name.
    pub fn preset(name: &str) -> Option<Self> {
        let web = Self::default();
        Some(match name {
            "web" => web,
            "bimodal" => Self {
                cpu: ServiceTime::Bimodal {
                    short_mean_seconds: 0.006,
                    long_mean_seconds: 0.030,
                    long_share: 0.1,
                    sigma: 0.25,
                },
                ..web
            },
            "io-heavy" => Self {
                cpu: ServiceTime::Lognormal {
                    mean_seconds: 0.005,
                    sigma: 0.5,
                },
                downstream: Some(Downstream {
                    waits: 3,
                    wait: ServiceTime::Lognormal {
                        mean_seconds: 0.008,
                        sigma: 0.5,
                    },
                }),
                workers: None,
                ..web
            },
            "gc" => Self {
                garbage_collection: Some(GarbageCollection {
                    every_cpu_seconds: 4.0,
                    pause: ServiceTime::Lognormal {
                        mean_seconds: 0.025,
                        sigma: 0.3,
                    },
                }),
                ..web
            },
            "single-threaded" => Self {
                cpu: ServiceTime::Lognormal {
                    mean_seconds: 0.008,
                    sigma: 0.5,
                },
                threads: 1,
                workers: None,
                discipline: Discipline::FirstInFirstOut,
                ..web
            },
            _ => return None,
        })
    }

    /// The same application on a slower machine: CPU times, waits and pauses take `factor` times as long.
    #[must_use]
    pub fn slowed(mut self, factor: f64) -> Self {
        self.cpu = self.cpu.scaled(factor);
        if let Some(downstream) = &mut self.downstream {
            downstream.wait = downstream.wait.scaled(factor);
        }
        if let Some(collection) = &mut self.garbage_collection {
            collection.pause = collection.pause.scaled(factor);
            collection.every_cpu_seconds *= factor;
        }
        self
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// Names the first field that makes no sense.
    pub fn validate(&self) -> Result<(), ProfileError> {
        self.durations()
            .into_iter()
            .try_for_each(|(field, value)| number(field, value))?;
        range("threads", f64::from(self.threads), self.threads >= 1, "at least 1")?;
        range(
            "cpu",
            self.cpu.mean_seconds(),
            self.cpu.mean_seconds() > 0.0,
            "above 0 on average",
        )?;
        if let Some(workers) = self.workers {
            range("workers", f64::from(workers), workers >= 1, "at least 1")?;
        }
        if let Some(downstream) = &self.downstream {
            let waits = downstream.waits;
            range("downstream.waits", f64::from(waits), (1..=8).contains(&waits), "1 to 8")?;
        }
        if let Some(collection) = &self.garbage_collection {
            let every = collection.every_cpu_seconds;
            range("garbage_collection.every_cpu_seconds", every, every > 0.0, "above 0")?;
        }
        let start = &self.start;
        range(
            "start.most_seconds",
            start.most_seconds,
            start.most_seconds >= start.least_seconds,
            "the longest",
        )?;
        range(
            "start.warm_up_factor",
            start.warm_up_factor,
            start.warm_up_factor >= 1.0,
            "at least 1",
        )
    }

    fn durations(&self) -> Vec<(String, f64)> {
        let start = &self.start;
        let mut fields = vec![
            ("background_cpu_cores".to_owned(), self.background_cpu_cores),
            ("start.least_seconds".to_owned(), start.least_seconds),
            ("start.most_seconds".to_owned(), start.most_seconds),
            ("start.cpu_cores".to_owned(), start.cpu_cores),
            ("start.warm_up_seconds".to_owned(), start.warm_up_seconds),
            ("start.warm_up_factor".to_owned(), start.warm_up_factor),
        ];
        let mut law = |path: &str, law: &ServiceTime| {
            fields.extend(
                law.parameters()
                    .into_iter()
                    .map(|(name, value)| (format!("{path}.{name}"), value)),
            );
        };
        law("cpu", &self.cpu);
        if let Some(downstream) = &self.downstream {
            law("downstream.wait", &downstream.wait);
        }
        if let Some(collection) = &self.garbage_collection {
            law("garbage_collection.pause", &collection.pause);
        }
        fields
    }
}

fn number(field: String, value: f64) -> Result<(), ProfileError> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(ProfileError::NotANumber { field, value })
    }
}

fn range(field: &'static str, value: f64, holds: bool, expected: &'static str) -> Result<(), ProfileError> {
    if holds {
        Ok(())
    } else {
        Err(ProfileError::OutOfRange { field, expected, value })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_preset_is_valid_and_survives_json() {
        for name in PRESETS {
            let profile = ApplicationProfile::preset(name).unwrap();
            profile.validate().unwrap();
            let json = serde_json::to_string(&profile).unwrap();
            assert_eq!(
                serde_json::from_str::<ApplicationProfile>(&json).unwrap(),
                profile,
                "{name}"
            );
        }
        assert_eq!(ApplicationProfile::preset("nonsense"), None);
    }

    #[test]
    fn a_bad_parameter_is_named() {
        let cpu = ServiceTime::Exponential { mean_seconds: f64::NAN };
        let profile = ApplicationProfile {
            cpu,
            ..ApplicationProfile::default()
        };
        assert!(
            profile
                .validate()
                .unwrap_err()
                .to_string()
                .starts_with("cpu.mean_seconds must be")
        );
        let profile = ApplicationProfile {
            threads: 0,
            ..ApplicationProfile::default()
        };
        assert_eq!(
            profile.validate().unwrap_err().to_string(),
            "threads must be at least 1, not 0"
        );
    }

    #[test]
    fn missing_fields_take_their_defaults_and_unknown_ones_are_refused() {
        let profile: ApplicationProfile = serde_json::from_str(r#"{"threads": 2}"#).unwrap();
        assert_eq!(
            profile,
            ApplicationProfile {
                threads: 2,
                ..ApplicationProfile::default()
            }
        );
        assert!(serde_json::from_str::<ApplicationProfile>(r#"{"threds": 2}"#).is_err());
    }

    #[test]
    fn a_slower_machine_takes_longer() {
        let slow = ApplicationProfile::default().slowed(4.0);
        assert!((slow.cpu.mean_seconds() - 0.04).abs() < 1e-12);
    }
}
