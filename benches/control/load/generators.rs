//! Made loads. Each is a mean rate shaped over `seconds`, the same for the same seed.

use std::f64::consts::TAU;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Load;

/// The same rate throughout.
pub fn constant(mean: f64, seconds: usize) -> Load {
    Load::new(vec![mean; seconds])
}

/// One slow wave, a third below and above the mean, with a little noise.
pub fn diurnal(mean: f64, seconds: usize, seed: u64) -> Load {
    let wave = |second: usize| 1.0 - 0.35 * (TAU * second as f64 / seconds as f64).cos();
    shaped(mean, seconds, seed, 0.03, wave)
}

/// Around the mean with strong, correlated noise: swings of a quarter within minutes, a tenth within seconds.
pub fn noisy(mean: f64, seconds: usize, seed: u64) -> Load {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6e6f_6973);
    let (mut slow, mut fast) = (0.0, 0.0);
    let rates = (0..seconds).map(|_| {
        slow = drift(&mut rng, slow, 180.0, 0.2);
        fast = drift(&mut rng, fast, 4.0, 0.1);
        mean * f64::max(1.0 + slow + fast, 0.1)
    });
    Load::new(rates.collect())
}

/// A calm rate interrupted, every five minutes or so, by bursts of up to a minute and two and a half times that rate.
pub fn bursty(mean: f64, seconds: usize, seed: u64) -> Load {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6275_7273);
    let mut factors = vec![0.8; seconds];
    let mut second = 120;
    while second < seconds {
        let (length, height) = (rng.random_range(15..60), rng.random_range(1.2..2.0));
        factors
            .iter_mut()
            .skip(second)
            .take(length)
            .for_each(|factor| *factor = height);
        second += length + rng.random_range(120..480);
    }
    shaped(mean, seconds, seed, 0.05, |second| factors[second])
}

/// Two thirds of the mean, and from the middle on twice as much.
pub fn step(mean: f64, seconds: usize, seed: u64) -> Load {
    shaped(mean, seconds, seed, 0.03, |second| {
        if second < seconds / 2 { 2.0 / 3.0 } else { 4.0 / 3.0 }
    })
}

/// A whole day in `seconds`: a low night, a steep morning, a noon peak, an afternoon and a higher evening peak.
pub fn day(mean: f64, seconds: usize, seed: u64) -> Load {
    const HOURS: [f64; 25] = [
        0.55, 0.45, 0.38, 0.34, 0.33, 0.36, 0.50, 0.75, 1.05, 1.22, 1.28, 1.33, 1.40, 1.34, 1.25, 1.20, 1.18, 1.22,
        1.35, 1.52, 1.60, 1.45, 1.10, 0.78, 0.55,
    ];
    let hour = |second: usize| {
        let place = 24.0 * second as f64 / seconds as f64;
        let (index, rest) = (place as usize, place.fract());
        HOURS[index] * (1.0 - rest) + HOURS[index + 1] * rest
    };
    shaped(mean, seconds, seed, 0.05, hour)
}

/// `shape` times the mean with correlated noise of the given standard deviation.
fn shaped(mean: f64, seconds: usize, seed: u64, noise: f64, shape: impl Fn(usize) -> f64) -> Load {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x7368_6170);
    let mut state = 0.0;
    let rates = (0..seconds).map(|second| {
        state = drift(&mut rng, state, 20.0, noise);
        mean * shape(second) * f64::max(1.0 + state, 0.1)
    });
    Load::new(rates.collect())
}

/// One second of a stationary, mean-reverting process with the given correlation time and standard deviation.
fn drift(rng: &mut StdRng, state: f64, correlation_seconds: f64, deviation: f64) -> f64 {
    let keep = (-1.0_f64 / correlation_seconds).exp();
    // The sum of twelve uniform numbers is close enough to a normal one for noise.
    let normal = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
    state * keep + deviation * (1.0 - keep * keep).sqrt() * normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_keep_their_mean_and_repeat() {
        type Generator = fn(f64, usize, u64) -> Load;
        let generators: [(&str, Generator); 5] = [
            ("diurnal", diurnal),
            ("noisy", noisy),
            ("bursty", bursty),
            ("step", step),
            ("day", day),
        ];
        for (name, generator) in generators {
            let load = generator(100.0, 3600, 1);
            assert!((80.0..125.0).contains(&load.mean()), "{name}: {}", load.mean());
            assert_eq!(load, generator(100.0, 3600, 1), "{name}");
            assert_ne!(load, generator(100.0, 3600, 2), "{name}");
        }
    }

    #[test]
    fn a_step_doubles() {
        let load = step(90.0, 3600, 3);
        let average = |from: usize| (from..from + 600).map(|second| load.rate(second)).sum::<f64>() / 600.0;
        assert!((average(2400) / average(600) - 2.0).abs() < 0.1);
    }
}
