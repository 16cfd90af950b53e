//! The labels of a sample.

use std::borrow::Cow;

use memchr::memchr2;

use super::error::Reason;
use super::line::blanks;

/// The labels between the braces: checked once, read as often as needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    text: &'a str,
}

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// Its name.
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
    /// The value of a label as written, escapes and all; the first where a name stands twice.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        { *self }.find(|label| label.name == name).map(|label| label.raw)
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        { *self }.find(|label| label.name == name).map(|label| label.value())
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        // The text was checked when the line was read.
        let (label, rest) = next(self.text).ok()??;
        self.text = rest;
        Some(label)
    }
}

/// Reads labels up to the closing brace; `text` begins after the opening one.
pub(super) fn block(text: &str) -> Result<(Labels<'_>, &str), Reason> {
    let mut rest = text;
    while let Some((_, after)) = next(rest)? {
        rest = after;
    }
    let rest = blanks(rest);
    let after = rest.strip_prefix('}').ok_or(Reason::Labels)?;
    let labels = text.get(..text.len() - rest.len()).ok_or(Reason::Labels)?;
    Ok((Labels { text: labels }, after))
}

/// The label at the beginning and what follows it and its comma; `None` at the end of the labels.
fn next(text: &str) -> Result<Option<(Label<'_>, &str)>, Reason> {
    let text = blanks(text);
    if text.is_empty() || text.starts_with('}') {
        return Ok(None);
    }
    let length = text.bytes().position(|byte| !is_label_byte(byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Reason::LabelName);
    }
    let rest = blanks(rest).strip_prefix('=').ok_or(Reason::LabelName)?;
    let quoted = blanks(rest).strip_prefix('"').ok_or(Reason::LabelValue)?;
    let length = quoted_length(quoted.as_bytes()).ok_or(Reason::LabelValue)?;
    let (raw, rest) = quoted.split_at(length);
    let rest = blanks(rest.get(1..).unwrap_or_default());
    let rest = match rest.as_bytes().first() {
        Some(b',') => rest.get(1..).unwrap_or_default(),
        Some(b'}') | None => rest,
        Some(_) => return Err(Reason::Labels),
    };
    Ok(Some((Label { name, raw }, rest)))
}

/// Length up to the quote that is not escaped.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', text.get(at..)?)?;
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

const fn is_label_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
