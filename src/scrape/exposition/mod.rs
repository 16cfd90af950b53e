//! Reads the Prometheus text format: only the families that are asked for, without copying and without allocating.
//!
//! An Envoy has thousands of lines of which we need a hundred. Lines of other families cost a search for their end
//! and one comparison; a line of ours is checked in full and handed to a visitor as slices of the input.
//!
//! Understood are the [text format] 0.0.4 and what [OpenMetrics] adds to it: exemplars, `_created`, timestamps in
//! seconds, `# EOF`, which nothing may follow. Line ends may be CRLF. Label names may be quoted, as Prometheus 3 writes
//! those that are not plain; quoted metric names (`{"name"}`) are none of ours and skipped.
//!
//! [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
//! [OpenMetrics]: https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md

mod error;
mod filter;
mod labels;
mod line;
mod number;

pub use error::{ParseError, Reason};
pub use filter::Filter;
pub use labels::{Label, Labels};

use memchr::memchr;

/// One sample, in slices of the exposition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Name as written, suffixes such as `_bucket` among it.
    pub name: &'a str,
    /// Its labels.
    pub labels: Labels<'a>,
    /// Its value.
    pub value: f64,
    /// Its timestamp as written: milliseconds in the text format, seconds in OpenMetrics.
    pub timestamp: Option<f64>,
}

/// What an honest exposition does not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line, in bytes.
    pub line_bytes: usize,
    /// Most samples of the families that are asked for.
    pub samples: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 64 << 10,
            samples: 100_000,
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines, comments among them.
    pub lines: usize,
    /// Samples that were visited.
    pub samples: usize,
}

/// The line that ends OpenMetrics.
const END: &[u8] = b"# EOF";

fn is_end(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").unwrap_or(line) == END
}

/// Calls `visit` with every sample of the families that `filter` lets through, in their order.
///
/// # Errors
/// At the first line that is too long, or that is of a wanted family and malformed. What was visited before it should
/// then be thrown away. A last line without its end is an error too: its number may have been cut short.
pub fn parse<'a>(
    exposition: &'a [u8],
    filter: &Filter<'_>,
    limits: &Limits,
    mut visit: impl FnMut(Sample<'a>),
) -> Result<Summary, ParseError> {
    let mut summary = Summary::default();
    let mut skipped: &[u8] = &[];
    let mut rest = exposition;
    while !rest.is_empty() {
        summary.lines += 1;
        let fail = |reason| ParseError {
            line: summary.lines,
            reason,
        };
        let end = memchr(b'\n', rest);
        let (raw, following) = rest.split_at(end.unwrap_or(rest.len()));
        rest = following.get(1..).unwrap_or_default();
        if raw.len() > limits.line_bytes {
            return Err(fail(Reason::LineTooLong));
        }
        if raw.first() == Some(&b'#') && end.is_some() {
            if is_end(raw) {
                return match rest {
                    [] => Ok(summary),
                    _ => Err(ParseError {
                        line: summary.lines + 1,
                        reason: Reason::AfterEnd,
                    }),
                };
            }
            continue;
        }
        // Samples of a family stand together, so most lines begin like the one before.
        if !skipped.is_empty() && raw.starts_with(skipped) && end.is_some() {
            continue;
        }
        let text = line::trim(raw);
        match text.first() {
            None => continue,
            // With blanks before it a line is a comment, whatever it says.
            Some(b'#') if end.is_some() || text == END => continue,
            Some(_) if end.is_none() => return Err(fail(Reason::Unfinished)),
            Some(first) if !line::may_begin(*first) => return Err(fail(Reason::Name)),
            Some(_) => {}
        }
        let Some(name) = filter.wanted_name(text) else {
            skipped = filter.skippable(text);
            continue;
        };
        let sample = line::sample(text, name).map_err(fail)?;
        summary.samples += 1;
        if summary.samples > limits.samples {
            return Err(fail(Reason::TooManySamples));
        }
        visit(sample);
    }
    Ok(summary)
}
