//! The sample application's command line.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::application::{ApplicationProfile, Start};

/// What the sample application is like.
#[derive(Args, Clone, Debug)]
pub struct ApplicationOptions {
    /// Port to serve HTTP/1.1 and HTTP/2 without TLS on.
    #[arg(long, default_value_t = 8080, env = "PORT")]
    pub port: u16,
    /// Profile to start from: web, bimodal, io-heavy, gc, single-threaded.
    #[arg(long, default_value = "web")]
    pub profile: String,
    /// Mean CPU time of a request, instead of the profile's.
    #[arg(long, value_parser = duration)]
    pub cpu_time: Option<Duration>,
    /// Factor on the CPU time of every request, as a slower release would have.
    #[arg(long, default_value_t = 1.0)]
    pub demand_scale: f64,
    /// Factor on the waits for what is downstream.
    #[arg(long, default_value_t = 1.0)]
    pub downstream_scale: f64,
    /// Threads that can be on a CPU at once, instead of the profile's.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Time from the start of the process until it serves.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub start_time: Duration,
    /// Time from then until full speed.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub warm_up: Duration,
    /// Memory held without load, in MiB, instead of the profile's.
    #[arg(long)]
    pub memory_mib: Option<u64>,
    /// Memory that leaks in an hour, in MiB.
    #[arg(long, default_value_t = 0)]
    pub leak_mib_per_hour: u64,
    /// Share of requests answered with status 503 (grpc-status 14), 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub error_share: f64,
    /// CPU limit in cores, where no kubelet of the playground sets it.
    #[arg(long, env = "CPU_LIMIT")]
    pub cpu_limit: Option<f64>,
    /// Seed of all randomness; without it every start differs.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Reads "100ms", "1.5s", "2m".
///
/// # Errors
/// For anything that is not such a duration, and for negative ones.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    let signed: jiff::SignedDuration = text.parse().with_context(|| format!("{text:?} is not a duration"))?;
    Duration::try_from(signed).with_context(|| format!("{text:?} is negative"))
}

impl ApplicationOptions {
    /// The profile that the options describe.
    ///
    /// # Errors
    /// Names the option that makes no sense.
    pub fn profile(&self) -> anyhow::Result<ApplicationProfile> {
        let mut profile = ApplicationProfile::preset(&self.profile).with_context(|| {
            format!(
                "--profile {:?} is not one of {:?}",
                self.profile,
                crate::application::PRESETS
            )
        })?;
        if let Some(cpu_time) = self.cpu_time {
            profile.cpu = profile.cpu.scaled(cpu_time.as_secs_f64() / profile.cpu.mean_seconds());
        }
        if let Some(threads) = self.threads {
            profile.threads = threads;
        }
        if let Some(mebibytes) = self.memory_mib {
            profile.memory.base_bytes = mebibytes << 20;
        }
        profile.memory.leak_bytes_per_hour += self.leak_mib_per_hour << 20;
        let start = self.start_time.as_secs_f64();
        profile.start = Start {
            least_seconds: start,
            most_seconds: start,
            warm_up_seconds: self.warm_up.as_secs_f64(),
            ..profile.start
        };
        profile.validate()?;
        anyhow::ensure!(
            (0.0..=1.0).contains(&self.error_share),
            "--error-share must be from 0 to 1"
        );
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: ApplicationOptions,
    }

    fn options(line: &str) -> ApplicationOptions {
        Line::parse_from(std::iter::once("application").chain(line.split_whitespace())).options
    }

    #[test]
    fn options_change_the_profile() {
        let profile = options("--cpu-time 20ms --start-time 3s --leak-mib-per-hour 1")
            .profile()
            .unwrap();
        assert!((profile.cpu.mean_seconds() - 0.020).abs() < 1e-9);
        assert_eq!(profile.start.least_seconds, 3.0);
        assert_eq!(profile.memory.leak_bytes_per_hour, 1 << 20);
    }

    #[test]
    fn nonsense_is_named() {
        assert!(
            options("--profile fast")
                .profile()
                .unwrap_err()
                .to_string()
                .contains("--profile")
        );
        assert!(
            options("--error-share 2")
                .profile()
                .unwrap_err()
                .to_string()
                .contains("--error-share")
        );
        assert!(duration("-1s").is_err() && duration("soon").is_err());
    }
}
