//! Edges of the latency histogram.
//!
//! Envoy records whole milliseconds in bins of two significant digits and counts what lies below an edge. Edges of two
//! significant digits are therefore exact, others are interpolated within a bin of at most a tenth.

/// The last edge over the longest objective, at least: how late is late must be told too.
const BEYOND: f64 = 4.0;

/// Ratio of neighbouring edges, where whole milliseconds allow it: a quantile is read with an error below 7 %.
pub const RATIO: f64 = 1.15;

/// The last edge below infinity, in milliseconds, unless an objective asks for more.
pub const LONGEST_MILLISECONDS: f64 = 60_000.0;

/// Edges in milliseconds, ascending: a geometric ladder with an exact edge at each objective's response time.
///
/// Objectives that are not positive finite numbers are left out.
#[must_use]
pub fn edges_milliseconds(objectives_seconds: &[f64]) -> Vec<f64> {
    let objectives = objectives_seconds.iter().map(|seconds| seconds * 1000.0);
    let objectives = objectives.filter(|edge| edge.is_finite() && *edge > 0.0);
    let longest = objectives
        .clone()
        .fold(LONGEST_MILLISECONDS, |longest, edge| longest.max(BEYOND * edge));
    let mut edges = ladder(longest);
    edges.extend(objectives.map(tidy));
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

fn ladder(longest: f64) -> Vec<f64> {
    let mut edges = vec![1.0];
    let mut exact = 1.0;
    while exact < longest {
        exact *= RATIO;
        edges.push(two_digits(exact).min(longest.round()));
    }
    edges.dedup();
    edges
}

/// Rounds to two significant digits, and to whole milliseconds.
fn two_digits(milliseconds: f64) -> f64 {
    let step = 10_f64.powf((milliseconds.log10().floor() - 1.0).max(0.0));
    (milliseconds / step).round() * step
}

/// Takes the noise of seconds times a thousand off: 0.1 s is 100 ms, not 100.00000000000001.
fn tidy(milliseconds: f64) -> f64 {
    (milliseconds * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ladder_is_geometric_in_whole_milliseconds() {
        let edges = edges_milliseconds(&[]);
        assert_eq!(edges.first(), Some(&1.0));
        assert_eq!(edges.last(), Some(&LONGEST_MILLISECONDS));
        assert!(edges.len() < 80, "{} edges", edges.len());
        for pair in edges.windows(2) {
            let [low, high] = pair else { unreachable!() };
            assert_eq!(high.fract(), 0.0, "{high} is not whole");
            assert!(high - low == 1.0 || high / low < 1.25, "{low} to {high}");
        }
    }

    #[test]
    fn objectives_are_edges() {
        let edges = edges_milliseconds(&[0.1, 0.2505, 1.5, f64::NAN, -1.0, 0.0]);
        for objective in [100.0, 250.5, 1500.0] {
            assert!(edges.contains(&objective), "{objective}");
        }
        assert!(edges.iter().all(|edge| *edge > 0.0));
    }

    #[test]
    fn the_ladder_reaches_beyond_a_slow_objective() {
        assert_eq!(edges_milliseconds(&[15.0]).last(), Some(&LONGEST_MILLISECONDS));
        let edges = edges_milliseconds(&[120.0]);
        assert_eq!(edges.last(), Some(&480_000.0));
        let between = edges
            .iter()
            .filter(|edge| (60_000.0..120_000.0).contains(*edge))
            .count();
        assert!(between >= 4, "{between} edges from a minute to two");
        assert!(edges_milliseconds(&[3600.0]).len() < 130);
    }

    proptest! {
        #[test]
        fn always_ascending_with_every_objective(objectives in proptest::collection::vec(0.0005_f64..100.0, 0..6)) {
            let edges = edges_milliseconds(&objectives);
            prop_assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
            for objective in objectives {
                prop_assert!(edges.iter().any(|edge| (edge - objective * 1000.0).abs() < 1e-5));
            }
        }
    }
}
