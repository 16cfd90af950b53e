//! How the rate of requests changes with time.

use std::f64::consts::TAU;
use std::path::Path;

use anyhow::Context;

/// Requests per second as a function of seconds since the start.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Always the same.
    Constant {
        /// Requests per second.
        rate: f64,
    },
    /// Rises from the base by the amplitude and falls back, over and over.
    Sine {
        /// Requests per second at the lowest.
        base: f64,
        /// How many more at the highest.
        amplitude: f64,
        /// Seconds from low to low.
        period_seconds: f64,
    },
    /// At the base, slowly up to the top for a quarter of the time, slowly back to the base, over and over.
    Plateau {
        /// Requests per second at the base.
        base: f64,
        /// How many more at the top.
        amplitude: f64,
        /// Seconds from one beginning to the next.
        period_seconds: f64,
    },
    /// One change.
    Step {
        /// Requests per second before it.
        before: f64,
        /// Requests per second after it.
        after: f64,
        /// When it comes, in seconds.
        at_seconds: f64,
    },
    /// A base with bursts.
    Bursty {
        /// Requests per second between bursts.
        base: f64,
        /// Requests per second within a burst.
        burst: f64,
        /// Seconds from burst to burst.
        every_seconds: f64,
        /// Seconds that a burst lasts.
        length_seconds: f64,
    },
    /// As recorded, one number a second; the last one stays.
    Trace {
        /// Requests per second, one for each second.
        rates: Vec<f64>,
    },
}

impl Shape {
    /// Requests per second at a time.
    pub fn rate(&self, seconds: f64) -> f64 {
        let rate = match self {
            Self::Constant { rate } => *rate,
            Self::Sine {
                base,
                amplitude,
                period_seconds,
            } => base + amplitude * (1.0 - (TAU * seconds / period_seconds).cos()) / 2.0,
            Self::Plateau {
                base,
                amplitude,
                period_seconds,
            } => base + amplitude * plateau(seconds.rem_euclid(*period_seconds) / period_seconds),
            Self::Step {
                before,
                after,
                at_seconds,
            } => {
                if seconds < *at_seconds {
                    *before
                } else {
                    *after
                }
            }
            Self::Bursty {
                base,
                burst,
                every_seconds,
                length_seconds,
            } => {
                if seconds.rem_euclid(*every_seconds) < every_seconds - length_seconds {
                    *base
                } else {
                    *burst
                }
            }
            Self::Trace { rates } => {
                let index = (seconds.max(0.0) as usize).min(rates.len().saturating_sub(1));
                rates.get(index).copied().unwrap_or(0.0)
            }
        };
        rate.max(0.0)
    }

    /// Reads a trace: one number of requests per second on each line, multiplied by `scale`.
    ///
    /// # Errors
    /// When the file cannot be read or a line is not a number; the message names the line.
    pub fn trace(file: &Path, scale: f64) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse_trace(&text, scale).with_context(|| format!("in {}", file.display()))
    }

    fn parse_trace(text: &str, scale: f64) -> anyhow::Result<Self> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let rates: anyhow::Result<Vec<f64>> = lines
            .map(|(index, line)| {
                let rate: f64 = line
                    .trim()
                    .parse()
                    .with_context(|| format!("line {}: {line:?} is not a number", index + 1))?;
                anyhow::ensure!(
                    rate.is_finite() && rate >= 0.0,
                    "line {}: {line:?} is not a rate",
                    index + 1
                );
                Ok(rate * scale)
            })
            .collect();
        let rates = rates?;
        anyhow::ensure!(!rates.is_empty(), "no line holds a number");
        Ok(Self::Trace { rates })
    }
}

/// Height from 0 to 1 at a share of the period: up from 2/12 to 4/12, down from 7/12 to 9/12.
fn plateau(share: f64) -> f64 {
    (6.0 * share - 1.0).min(4.5 - 6.0 * share).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shapes_have_the_rates_that_they_describe() {
        let sine = Shape::Sine {
            base: 10.0,
            amplitude: 40.0,
            period_seconds: 100.0,
        };
        assert!((sine.rate(0.0) - 10.0).abs() < 1e-9 && (sine.rate(50.0) - 50.0).abs() < 1e-9);
        let step = Shape::Step {
            before: 1.0,
            after: 2.0,
            at_seconds: 5.0,
        };
        assert_eq!((step.rate(4.9), step.rate(5.0)), (1.0, 2.0));
        let plateau = Shape::Plateau {
            base: 10.0,
            amplitude: 40.0,
            period_seconds: 120.0,
        };
        let rates = [0.0, 20.0, 30.0, 40.0, 70.0, 80.0, 90.0, 120.0].map(|at| plateau.rate(at));
        let expected = [10.0, 10.0, 30.0, 50.0, 50.0, 30.0, 10.0, 10.0];
        assert!(
            rates
                .iter()
                .zip(expected)
                .all(|(rate, expected)| (rate - expected).abs() < 1e-9),
            "{rates:?}"
        );
        let bursty = Shape::Bursty {
            base: 1.0,
            burst: 9.0,
            every_seconds: 10.0,
            length_seconds: 2.0,
        };
        assert_eq!((bursty.rate(7.9), bursty.rate(8.0), bursty.rate(10.0)), (1.0, 9.0, 1.0));
    }

    #[test]
    fn a_trace_is_read_line_by_line() {
        let trace = Shape::parse_trace("10\n20\n\n", 0.5).unwrap();
        assert_eq!((trace.rate(0.5), trace.rate(1.0), trace.rate(99.0)), (5.0, 10.0, 10.0));
        let error = Shape::parse_trace("10\nmany\n", 1.0).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(Shape::parse_trace("-1", 1.0).is_err() && Shape::parse_trace("", 1.0).is_err());
    }
}
