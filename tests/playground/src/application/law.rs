//! Laws from which durations are drawn.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// The law of a duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "law", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServiceTime {
    /// Always the same.
    Constant {
        /// The duration in seconds.
        seconds: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean in seconds.
        mean_seconds: f64,
    },
    /// Lognormal: most requests are short, a few several times longer.
    Lognormal {
        /// Mean in seconds (of the duration, not of its logarithm).
        mean_seconds: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Two kinds of requests, each lognormal around its own mean, such as hits and misses of a cache.
    Bimodal {
        /// Mean of the short kind in seconds.
        short_mean_seconds: f64,
        /// Mean of the long kind in seconds.
        long_mean_seconds: f64,
        /// Share of the long kind, 0 to 1.
        long_share: f64,
        /// Standard deviation of the logarithm within each kind.
        sigma: f64,
    },
}

impl ServiceTime {
    /// Draws one duration in seconds.
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f64 {
        match *self {
            Self::Constant { seconds } => seconds,
            Self::Exponential { mean_seconds } => -mean_seconds * open_uniform(rng).ln(),
            Self::Lognormal { mean_seconds, sigma } => lognormal(rng, mean_seconds, sigma),
            Self::Bimodal {
                short_mean_seconds,
                long_mean_seconds,
                long_share,
                sigma,
            } => {
                let long = rng.random::<f64>() < long_share;
                lognormal(rng, if long { long_mean_seconds } else { short_mean_seconds }, sigma)
            }
        }
    }

    /// Mean in seconds.
    pub fn mean_seconds(&self) -> f64 {
        match *self {
            Self::Constant { seconds } => seconds,
            Self::Exponential { mean_seconds } | Self::Lognormal { mean_seconds, .. } => mean_seconds,
            Self::Bimodal {
                short_mean_seconds,
                long_mean_seconds,
                long_share,
                ..
            } => short_mean_seconds + long_share * (long_mean_seconds - short_mean_seconds),
        }
    }

    /// The same law with every duration multiplied by `factor`.
    pub fn scaled(self, factor: f64) -> Self {
        match self {
            Self::Constant { seconds } => Self::Constant {
                seconds: seconds * factor,
            },
            Self::Exponential { mean_seconds } => Self::Exponential {
                mean_seconds: mean_seconds * factor,
            },
            Self::Lognormal { mean_seconds, sigma } => Self::Lognormal {
                mean_seconds: mean_seconds * factor,
                sigma,
            },
            Self::Bimodal {
                short_mean_seconds,
                long_mean_seconds,
                long_share,
                sigma,
            } => Self::Bimodal {
                short_mean_seconds: short_mean_seconds * factor,
                long_mean_seconds: long_mean_seconds * factor,
                long_share,
                sigma,
            },
        }
    }

    /// The parameters that must be finite and not negative, by name.
    pub(super) fn parameters(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Self::Constant { seconds } => vec![("seconds", seconds)],
            Self::Exponential { mean_seconds } => vec![("mean_seconds", mean_seconds)],
            Self::Lognormal { mean_seconds, sigma } => vec![("mean_seconds", mean_seconds), ("sigma", sigma)],
            Self::Bimodal {
                short_mean_seconds,
                long_mean_seconds,
                long_share,
                sigma,
            } => vec![
                ("short_mean_seconds", short_mean_seconds),
                ("long_mean_seconds", long_mean_seconds),
                ("long_share", long_share),
                ("sigma", sigma),
            ],
        }
    }
}

/// A lognormal duration of the given mean: the logarithm's mean is `ln(mean) - sigma²/2`.
fn lognormal<R: Rng + ?Sized>(rng: &mut R, mean: f64, sigma: f64) -> f64 {
    mean * (sigma * standard_normal(rng) - sigma * sigma / 2.0).exp()
}

/// A standard normal number by the Box-Muller transform.
fn standard_normal<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    let radius = (-2.0 * open_uniform(rng).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// A uniform number above 0 and up to 1, of which a logarithm can be taken.
fn open_uniform<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    1.0 - rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn samples_have_the_mean_that_the_law_states() {
        let laws = [
            ServiceTime::Constant { seconds: 0.02 },
            ServiceTime::Exponential { mean_seconds: 0.02 },
            ServiceTime::Lognormal {
                mean_seconds: 0.02,
                sigma: 0.8,
            },
            ServiceTime::Bimodal {
                short_mean_seconds: 0.01,
                long_mean_seconds: 0.1,
                long_share: 0.1,
                sigma: 0.3,
            },
        ];
        for law in laws {
            let mut rng = StdRng::seed_from_u64(7);
            let mean = (0..200_000).map(|_| law.sample(&mut rng)).sum::<f64>() / 200_000.0;
            assert!((mean / law.mean_seconds() - 1.0).abs() < 0.02, "{law:?}: {mean}");
        }
    }

    #[test]
    fn a_lognormal_tail_is_where_its_formula_puts_it() {
        let law = ServiceTime::Lognormal {
            mean_seconds: 1.0,
            sigma: 0.6,
        };
        let mut rng = StdRng::seed_from_u64(1);
        let mut samples: Vec<f64> = (0..200_000).map(|_| law.sample(&mut rng)).collect();
        samples.sort_by(f64::total_cmp);
        let p99 = samples[198_000];
        // exp(sigma * 2.3263 - sigma² / 2)
        assert!((p99 - 3.373).abs() < 0.1, "{p99}");
    }

    #[test]
    fn scaling_scales_the_mean() {
        let law = ServiceTime::Bimodal {
            short_mean_seconds: 0.01,
            long_mean_seconds: 0.1,
            long_share: 0.1,
            sigma: 0.3,
        };
        assert!((law.scaled(3.0).mean_seconds() - 3.0 * law.mean_seconds()).abs() < 1e-12);
    }
}
