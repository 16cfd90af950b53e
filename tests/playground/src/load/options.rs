//! The load generator's command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use http::Uri;

use super::generator::{Protocol, Settings};
use super::shape::Shape;
use crate::sample::duration;

/// Which shape the load has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShapeName {
    /// `--rate`.
    Constant,
    /// From `--rate` up by `--amplitude` and back in each `--period`.
    Sine,
    /// As sine, but with stretches of the same rate below and above.
    Plateau,
    /// From `--rate` to `--rate` + `--amplitude` after one `--period`.
    Step,
    /// `--rate`, and `--amplitude` more during the last `--burst` of each `--period`.
    Bursty,
    /// From `--trace`, times `--scale`.
    Trace,
}

/// What load to make, and on whom.
#[derive(Args, Clone, Debug)]
pub struct LoadOptions {
    /// Where to: http://SERVICE.NAMESPACE:PORT/PATH (names of Services are resolved by the API in the playground, by
    /// DNS elsewhere).
    #[arg(long)]
    pub url: Uri,
    /// How the rate changes.
    #[arg(long, value_enum, default_value = "constant")]
    pub shape: ShapeName,
    /// Requests per second at the least.
    #[arg(long, default_value_t = 10.0)]
    pub rate: f64,
    /// Requests per second on top.
    #[arg(long, default_value_t = 0.0)]
    pub amplitude: f64,
    /// Length of one repetition.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub period: Duration,
    /// Length of a burst.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub burst: Duration,
    /// File of requests per second, one line a second.
    #[arg(long)]
    pub trace: Option<PathBuf>,
    /// Factor on the trace.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// How long; without it, until stopped.
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,
    /// How requests are spoken.
    #[arg(long, value_enum, default_value = "http1")]
    pub protocol: Protocol,
    /// When a request counts as failed.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
    /// Seed of the arrivals.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Ends with exit code 1 when more than this share of requests failed.
    #[arg(long, default_value_t = 1.0)]
    pub most_failures: f64,
}

impl LoadOptions {
    fn shape(&self) -> anyhow::Result<Shape> {
        let period_seconds = self.period.as_secs_f64();
        anyhow::ensure!(
            self.rate >= 0.0 && self.rate + self.amplitude >= 0.0,
            "--rate and --amplitude must not go below 0"
        );
        anyhow::ensure!(period_seconds > 0.0, "--period must be longer than nothing");
        Ok(match self.shape {
            ShapeName::Constant => Shape::Constant { rate: self.rate },
            ShapeName::Sine => Shape::Sine {
                base: self.rate,
                amplitude: self.amplitude,
                period_seconds,
            },
            ShapeName::Plateau => Shape::Plateau {
                base: self.rate,
                amplitude: self.amplitude,
                period_seconds,
            },
            ShapeName::Step => Shape::Step {
                before: self.rate,
                after: self.rate + self.amplitude,
                at_seconds: period_seconds,
            },
            ShapeName::Bursty => Shape::Bursty {
                base: self.rate,
                burst: self.rate + self.amplitude,
                every_seconds: period_seconds,
                length_seconds: self.burst.as_secs_f64().min(period_seconds),
            },
            ShapeName::Trace => Shape::trace(
                self.trace.as_ref().context("--shape trace needs --trace FILE")?,
                self.scale,
            )?,
        })
    }

    /// The settings of the generator.
    ///
    /// # Errors
    /// Names the option that makes no sense.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            shape: self.shape()?,
            duration: self.duration,
            protocol: self.protocol,
            uri: self.url.clone(),
            timeout: self.timeout,
            seed: self.seed,
        })
    }

    /// Service, namespace and port where the host is that of a Service: NAME.NAMESPACE or NAME.NAMESPACE.svc...
    pub fn service(&self) -> Option<(String, String, Option<String>)> {
        let mut labels = self.url.host()?.split('.');
        let (name, namespace) = (labels.next()?, labels.next()?);
        if labels.next().is_some_and(|third| third != "svc") || name.parse::<u8>().is_ok() {
            return None;
        }
        Some((
            name.into(),
            namespace.into(),
            self.url.port_u16().map(|port| port.to_string()),
        ))
    }

    /// Host and port for DNS.
    ///
    /// # Errors
    /// When the URL has no host.
    pub fn host(&self) -> anyhow::Result<(String, u16)> {
        let host = self.url.host().context("--url has no host")?;
        Ok((host.to_owned(), self.url.port_u16().unwrap_or(80)))
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
        options: LoadOptions,
    }

    fn options(line: &str) -> LoadOptions {
        Line::parse_from(std::iter::once("load").chain(line.split_whitespace())).options
    }

    #[test]
    fn the_host_of_a_service_is_recognised() {
        let service = |url: &str| options(&format!("--url {url}")).service();
        assert_eq!(
            service("http://web.shop:80/x"),
            Some(("web".into(), "shop".into(), Some("80".into())))
        );
        assert_eq!(
            service("http://web.shop.svc.cluster.local"),
            Some(("web".into(), "shop".into(), None))
        );
        assert_eq!(service("http://example.org.uk"), None);
        assert_eq!(service("http://127.0.0.1:80"), None);
    }

    #[test]
    fn shapes_are_read_from_options() {
        let settings = options("--url http://web.shop --shape sine --rate 5 --amplitude 10 --period 60s")
            .settings()
            .unwrap();
        assert_eq!(
            settings.shape,
            Shape::Sine {
                base: 5.0,
                amplitude: 10.0,
                period_seconds: 60.0
            }
        );
        assert!(
            options("--url http://web.shop --shape trace")
                .settings()
                .unwrap_err()
                .to_string()
                .contains("--trace")
        );
    }
}
