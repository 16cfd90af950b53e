//! Durations as Go and Kubernetes write them: `100ms`, `1.5s`, `1m30s`.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What the API server accepts, before CEL looks at the value.
pub const PATTERN: &str = r"^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$";

/// The longest response time that an objective may name, in seconds.
pub const LONGEST_SECONDS: f64 = 3600.0;

/// Units from the longest to the shortest, in seconds.
const UNITS: [(&str, f64); 7] = [
    ("h", 3600.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ns", 1e-9),
];

/// A duration in the notation of Go, kept as it was written.
///
/// It is not parsed while an object is read, so that one bad object cannot stop a watch: ask [`GoDuration::seconds`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoDuration(pub String);

/// Why a text is not a duration that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It does not follow the notation.
    #[error("{0:?} is not a duration such as 100ms, 1.5s or 1m30s")]
    Notation(String),
    /// It is zero or longer than an hour.
    #[error("{0:?} must be more than 0 and at most 1h")]
    Range(String),
}

impl GoDuration {
    /// The duration in seconds.
    ///
    /// # Errors
    /// When the text does not follow the notation, or the duration is zero or longer than an hour.
    pub fn seconds(&self) -> Result<f64, DurationError> {
        let seconds = parse(&self.0).ok_or_else(|| DurationError::Notation(self.0.clone()))?;
        if seconds > 0.0 && seconds <= LONGEST_SECONDS {
            Ok(seconds)
        } else {
            Err(DurationError::Range(self.0.clone()))
        }
    }

    /// Writes seconds in the shortest unit that keeps three significant digits, as `87.4ms`.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        let (unit, size) = if seconds >= 1.0 {
            ("s", 1.0)
        } else if seconds >= 1e-3 {
            ("ms", 1e-3)
        } else {
            ("us", 1e-6)
        };
        Self(format!("{}{unit}", three_digits(seconds / size)))
    }
}

/// Rounds to three significant digits and drops what does not count.
fn three_digits(value: f64) -> String {
    let decimals = match value {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The sum of the parts of a duration in seconds; `None` where the notation is not followed.
fn parse(text: &str) -> Option<f64> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, following) = after.split_at(letters);
        sum += number * UNITS.iter().find(|(name, _)| *name == unit)?.1;
        rest = following;
    }
    Some(sum)
}

/// A decimal number without a sign or exponent, and what follows it.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let whole = !number.starts_with('.') && !number.ends_with('.');
    if number.is_empty() || !whole {
        None
    } else {
        Some((number.parse().ok()?, rest))
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let duration = Self(text.to_owned());
        duration.seconds().map(|_| duration)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seconds(text: &str) -> Result<f64, DurationError> {
        GoDuration(text.to_owned()).seconds()
    }

    #[test]
    fn reads_what_go_writes() {
        for (text, expected) in [
            ("100ms", 0.1),
            ("1.5s", 1.5),
            ("1m30s", 90.0),
            ("250us", 250e-6),
            ("250µs", 250e-6),
            ("1h", 3600.0),
            ("0.5m", 30.0),
            ("1s500ms", 1.5),
        ] {
            assert!((seconds(text).unwrap() - expected).abs() < 1e-12, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_duration_and_says_which() {
        for text in [
            "fast", "", "100", "ms", "-1s", "+1s", "1e3s", "1.s", ".5s", "1 s", "1s ", "1d", "1..5s",
        ] {
            let error = seconds(text).unwrap_err();
            assert_eq!(error, DurationError::Notation(text.to_owned()));
            assert!(error.to_string().contains(&format!("{text:?}")));
        }
    }

    #[test]
    fn refuses_nothing_and_more_than_an_hour() {
        for text in ["0s", "0ms", "1h1ns", "2h"] {
            assert_eq!(seconds(text).unwrap_err(), DurationError::Range(text.to_owned()));
        }
    }

    #[test]
    fn writes_three_significant_digits() {
        for (value, text) in [
            (0.1, "100ms"),
            (0.0874, "87.4ms"),
            (1.5, "1.5s"),
            (0.00025, "250us"),
            (90.0, "90s"),
            (0.0, "0us"),
        ] {
            assert_eq!(GoDuration::from_seconds(value).0, text);
        }
    }
}
