//! One line.

use super::Sample;
use super::error::Reason;
use super::labels::{self, Labels};
use super::number;

/// A line without blanks around it and without the CR of a CRLF.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match (line.first(), line.last()) {
        (Some(b' ' | b'\t'), _) | (_, Some(b' ' | b'\t')) => trim_blanks(line),
        _ => line,
    }
}

#[cold]
fn trim_blanks(line: &[u8]) -> &[u8] {
    let Some(start) = line.iter().position(|byte| !is_blank(*byte)) else {
        return &[];
    };
    let end = line
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

/// Whether a sample's line may begin with this byte.
pub(super) const fn may_begin(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | b'{')
}

/// Reads a trimmed line that begins with `name`.
pub(super) fn sample<'a>(line: &'a [u8], name: &[u8]) -> Result<Sample<'a>, Reason> {
    let line = std::str::from_utf8(line).map_err(|_| Reason::Encoding)?;
    let (name, rest) = line.split_at_checked(name.len()).ok_or(Reason::Name)?;
    let (labels, rest) = match blanks(rest).strip_prefix('{') {
        Some(inside) => labels::block(inside)?,
        // Without labels only a blank parts the name from the value.
        None if rest.as_bytes().first().copied().is_some_and(is_blank) => (Labels::default(), rest),
        None => return Err(Reason::Name),
    };
    let (value, rest) = number::token(after_blank(rest));
    let value = number::float(value).ok_or(Reason::Value)?;
    if rest.is_empty() {
        return Ok(Sample {
            name,
            labels,
            value,
            timestamp: None,
        });
    }
    let (timestamp, rest) = timestamp(blanks(rest))?;
    if !rest.is_empty() {
        exemplar(rest)?;
    }
    Ok(Sample {
        name,
        labels,
        value,
        timestamp,
    })
}

fn timestamp(rest: &str) -> Result<(Option<f64>, &str), Reason> {
    if rest.is_empty() || rest.starts_with('#') {
        return Ok((None, rest));
    }
    let (token, rest) = number::token(rest);
    let timestamp = number::float(token)
        .filter(|timestamp| timestamp.is_finite())
        .ok_or(Reason::Timestamp)?;
    Ok((Some(timestamp), blanks(rest)))
}

/// `# {labels} value [timestamp]`: checked, not kept.
fn exemplar(text: &str) -> Result<(), Reason> {
    let inside = text
        .strip_prefix('#')
        .map(blanks)
        .and_then(|text| text.strip_prefix('{'))
        .ok_or(Reason::Exemplar)?;
    let (_, rest) = labels::block(inside)?;
    let (value, rest) = number::token(blanks(rest));
    number::float(value).ok_or(Reason::Exemplar)?;
    let (_, rest) = timestamp(blanks(rest))?;
    match rest {
        "" => Ok(()),
        _ => Err(Reason::Exemplar),
    }
}

/// Like [`blanks`], quickest where there is exactly one.
fn after_blank(text: &str) -> &str {
    blanks(text.strip_prefix(' ').unwrap_or(text))
}

/// The text without blanks at its beginning. There are hardly ever any.
pub(super) fn blanks(text: &str) -> &str {
    match text.as_bytes().first() {
        Some(b' ' | b'\t') => text.trim_start_matches([' ', '\t']),
        _ => text,
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
