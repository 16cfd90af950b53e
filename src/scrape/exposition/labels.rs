//! The labels of a sample.

use std::borrow::Cow;

use memchr::memchr2;

use super::error::Reason;
use super::line::blanks;

/// Labels that are kept as they were found; further ones, which Envoy does not have, are looked for again.
const KEPT: usize = 4;

/// The labels between the braces: checked once, read as often as needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    kept: [Label<'a>; KEPT],
    count: usize,
    further: &'a str,
}

/// A label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label<'a> {
    /// Its name; of one in quotes, which may have any characters, what stands between them, escapes and all.
    pub name: &'a str,
    /// Its value as written, escapes and all.
    pub raw: &'a str,
}

impl<'a> Label<'a> {
    /// The value. Only one that has escapes is copied.
    #[must_use]
    pub fn value(&self) -> Cow<'a, str> {
        match self.raw.contains('\\') {
            true => Cow::Owned(unescape(self.raw)),
            false => Cow::Borrowed(self.raw),
        }
    }
}

impl<'a> Labels<'a> {
    /// The labels in their order.
    pub fn iter(&self) -> impl Iterator<Item = Label<'a>> + use<'a> {
        let (kept, mut further) = (*self, self.further);
        let beyond = std::iter::from_fn(move || {
            // The text was checked when the line was read.
            let (label, rest) = next(further).ok()??;
            further = rest;
            Some(label)
        });
        kept.kept.into_iter().take(kept.count).chain(beyond)
    }

    /// The value of a label as written, escapes and all; the first where a name stands twice.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.find(name).map(|label| label.raw)
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.find(name).map(|label| label.value())
    }

    fn find(&self, name: &str) -> Option<Label<'a>> {
        let kept = self.kept.iter().take(self.count).find(|label| label.name == name);
        match kept {
            None if !self.further.is_empty() => self.iter().find(|label| label.name == name),
            kept => kept.copied(),
        }
    }
}

/// Reads labels up to the closing brace; `text` begins after the opening one.
pub(super) fn block(text: &str) -> Result<(Labels<'_>, &str), Reason> {
    let mut labels = Labels::default();
    let (mut rest, mut further) = (text, None);
    while let Some((label, after)) = next(rest)? {
        match labels.kept.get_mut(labels.count) {
            Some(place) => {
                *place = label;
                labels.count += 1;
            }
            None => further = further.or(Some(rest)),
        }
        rest = after;
    }
    let rest = blanks(rest);
    let after = rest.strip_prefix('}').ok_or(Reason::Labels)?;
    if let Some(further) = further {
        labels.further = further.get(..further.len() - rest.len()).ok_or(Reason::Labels)?;
    }
    Ok((labels, after))
}

/// The label at the beginning and what follows it and its comma; `None` at the end of the labels.
fn next(text: &str) -> Result<Option<(Label<'_>, &str)>, Reason> {
    let text = blanks(text);
    let Some(first) = text.as_bytes().first().filter(|first| **first != b'}') else {
        return Ok(None);
    };
    let (name, rest) = match first {
        b'"' => quoted_name(text)?,
        first if first.is_ascii_digit() => return Err(Reason::LabelName),
        _ => text
            .split_at_checked(name_length(text.as_bytes()))
            .ok_or(Reason::LabelName)?,
    };
    let rest = blanks(rest)
        .strip_prefix('=')
        .filter(|_| !name.is_empty())
        .ok_or(Reason::LabelName)?;
    let quoted = blanks(rest).strip_prefix('"').ok_or(Reason::LabelValue)?;
    let length = quoted_length(quoted.as_bytes()).ok_or(Reason::LabelValue)?;
    let (raw, rest) = quoted.split_at_checked(length).ok_or(Reason::LabelValue)?;
    let rest = blanks(rest.get(1..).unwrap_or_default());
    let rest = match rest.as_bytes().first() {
        Some(b',') => rest.get(1..).unwrap_or_default(),
        Some(b'}') | None => rest,
        Some(_) => return Err(Reason::Labels),
    };
    Ok(Some((Label { name, raw }, rest)))
}

/// A name in quotes, and what follows it: UTF-8 names stand so. None of ours does, but a family of ours may have one.
#[cold]
fn quoted_name(text: &str) -> Result<(&str, &str), Reason> {
    let quoted = text.strip_prefix('"').ok_or(Reason::LabelName)?;
    let length = quoted_length(quoted.as_bytes()).ok_or(Reason::LabelName)?;
    let (name, rest) = quoted.split_at_checked(length).ok_or(Reason::LabelName)?;
    Ok((name, rest.get(1..).unwrap_or_default()))
}

fn name_length(text: &[u8]) -> usize {
    text.iter().position(|byte| !is_label_byte(*byte)).unwrap_or(text.len())
}

/// Values are mostly shorter than what a vectorised search needs to pay.
const SHORT: usize = 24;

/// Length up to the quote that is not escaped.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let short = rest.iter().take(SHORT).position(|byte| matches!(byte, b'"' | b'\\'));
        let found = at + short.or_else(|| memchr2(b'"', b'\\', rest))?;
        match text.get(found)? {
            b'"' => return Some(found),
            _ => at = found + 2,
        }
    }
}

/// `\\`, `\"` and `\n`; any other escape stands for itself, as OpenMetrics says.
fn unescape(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            value.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => value.push('\n'),
            Some(escaped @ ('\\' | '"')) => value.push(escaped),
            other => {
                value.push('\\');
                value.extend(other);
            }
        }
    }
    value
}

/// Whether a byte may stand in a label name.
const fn is_label_byte(byte: u8) -> bool {
    super::filter::is_name_byte(byte) && byte != b':'
}
