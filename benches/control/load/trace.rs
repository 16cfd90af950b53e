//! Recorded load from a file.

use std::path::Path;

use super::Load;

/// Why a file is no trace.
#[derive(Debug)]
pub enum TraceError {
    /// It cannot be read.
    Read(std::io::Error),
    /// A line is no rate.
    Line {
        /// Its number, from 1.
        number: usize,
        /// What it holds.
        text: String,
    },
    /// It holds no line.
    Empty,
}

impl std::fmt::Display for TraceError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(error) => write!(formatter, "{error}"),
            Self::Line { number, text } => write!(formatter, "line {number}: {text:?} is not a number of requests"),
            Self::Empty => write!(formatter, "no lines"),
        }
    }
}

impl std::error::Error for TraceError {}

/// Reads a file of requests per second, one line a second; empty lines, and whatever follows a `#`, are passed over.
///
/// # Errors
/// When the file cannot be read, has no rates, or a line is no finite, non-negative number.
pub fn read(path: &Path) -> Result<Load, TraceError> {
    parse(&std::fs::read_to_string(path).map_err(TraceError::Read)?)
}

fn parse(text: &str) -> Result<Load, TraceError> {
    let rates = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| rate(index + 1, line))
        .collect::<Result<Vec<_>, _>>()?;
    if rates.is_empty() {
        Err(TraceError::Empty)
    } else {
        Ok(Load::new(rates))
    }
}

fn rate(number: usize, line: &str) -> Result<f64, TraceError> {
    match line.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err(TraceError::Line {
            number,
            text: line.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_line_is_one_second() {
        assert_eq!(
            parse("157\n158.5\n\n159\n").unwrap(),
            Load::new(vec![157.0, 158.5, 159.0])
        );
    }

    #[test]
    fn comments_and_the_ways_of_other_systems_are_passed_over() {
        let text = "\u{feff}# a trace\r\n157\r\n158.5 # peak\r\n\r\n1e2\r\n";
        assert_eq!(parse(text).unwrap(), Load::new(vec![157.0, 158.5, 100.0]));
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(
            parse("1\nx\n").unwrap_err().to_string(),
            "line 2: \"x\" is not a number of requests"
        );
        assert_eq!(
            parse("1\n-2\n").unwrap_err().to_string(),
            "line 2: \"-2\" is not a number of requests"
        );
        assert_eq!(parse("\n").unwrap_err().to_string(), "no lines");
    }
}
