//! Reads a review the way an API server writes it, in one pass over its bytes.
//!
//! Most of a review is skipped: managed fields, environment, volumes. Skipping sixty-four bytes at a time is many times
//! as fast as looking at each, and is what a review costs. What comes otherwise than expected (an escaped key, a number
//! with a fraction, a field that comes twice) is not read here at all: [`Quick::read`] gives up, and serde_json, slower,
//! has the last word. Text that is skipped is matched for its brackets and quotes, and not looked into.

use std::borrow::Cow;
use std::ops::Range;

use crate::blocks::{nested, special};

/// Most elements of lists, labels and annotations that are kept of one review, old object and new one together. Three bytes
/// of JSON can become six hundred in memory; objects that people write have some tens of them.
pub const MOST_ELEMENTS: usize = 10_000;

/// Something that can be read quickly; `None` where it has to be read with more care.
pub(crate) trait Quick<'a>: Sized {
    /// Reads it.
    fn read(reader: &mut Reader<'a>) -> Option<Self>;
}

/// A position in JSON.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many more elements are kept.
    room: usize,
    /// A member that is passed over in whatever object it comes.
    unwanted: &'static str,
    /// What was passed over, for those who want to know.
    passed: Option<Vec<Range<usize>>>,
}

/// Text between quotes.
pub(crate) struct Quoted<'a> {
    /// As it is written.
    pub raw: &'a [u8],
    /// Whether there is a backslash in it.
    pub escaped: bool,
}

impl<'a> Quoted<'a> {
    /// What it says.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        if !self.escaped {
            return std::str::from_utf8(self.raw).ok().map(Cow::Borrowed);
        }
        let quoted = [b"\"", self.raw, b"\""].concat();
        serde_json::from_slice(&quoted).ok().map(Cow::Owned)
    }
}

impl<'a> Reader<'a> {
    /// At the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            room: MOST_ELEMENTS,
            unwanted: "",
            passed: None,
        }
    }

    /// Passes over a member in whatever object it comes.
    pub fn without(self, unwanted: &'static str) -> Self {
        Self { unwanted, ..self }
    }

    /// Reads one value that is all there is.
    pub fn whole<T: Quick<'a>>(mut self) -> Option<T> {
        self.only()
    }

    /// What is passed over where one value is read.
    pub fn passed_over<T: Quick<'a>>(mut self) -> Option<Vec<Range<usize>>> {
        self.passed = Some(Vec::new());
        self.only::<T>()?;
        self.passed
    }

    fn only<T: Quick<'a>>(&mut self) -> Option<T> {
        let value = T::read(self)?;
        self.peek().is_none().then_some(value)
    }

    /// Takes these very bytes where they are the next ones.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(bytes).then_some(())?;
        self.at += bytes.len();
        Some(())
    }

    /// Whether there is nothing more, not even white space.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Whether a member is passed over wherever it comes.
    pub fn is_unwanted(&self, key: &[u8]) -> bool {
        key == self.unwanted.as_bytes()
    }

    /// Makes room for an element that is kept, where there is some left.
    pub fn keep(&mut self) -> Option<()> {
        self.room = self.room.checked_sub(1)?;
        Some(())
    }

    /// The next byte that is not white space.
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Takes a byte where it is the next one.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes a word such as `null` where it is the next one.
    pub fn word(&mut self, word: &[u8]) -> bool {
        let found = self.peek().is_some() && self.bytes[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Hands the keys of an object to `member`, which has to read or to skip the value.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Quoted<'a>) -> Option<()>) -> Option<()> {
        self.list(b'{', b'}', |reader| {
            let key = reader.quoted()?;
            reader.take(b':').then_some(())?;
            member(reader, key)
        })
    }

    /// Lets `element` read the elements of a list.
    pub fn array(&mut self, element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b'[', b']', element)
    }

    fn list(&mut self, open: u8, close: u8, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(open).then_some(())?;
        if self.take(close) {
            return Some(());
        }
        loop {
            element(self)?;
            if !self.take(b',') {
                return self.take(close).then_some(());
            }
        }
    }

    /// Text between quotes.
    pub fn quoted(&mut self) -> Option<Quoted<'a>> {
        self.take(b'"').then_some(())?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += special(self.bytes.get(self.at..)?)?;
            match self.bytes[self.at] {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return None,
            }
        }
        let raw = &self.bytes[start..self.at];
        self.at += 1;
        Some(Quoted { raw, escaped })
    }

    /// A whole number.
    pub fn integer(&mut self) -> Option<i64> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'-')
            .count();
        let digits = std::str::from_utf8(&rest[..length]).ok()?;
        let leading = digits.trim_start_matches('-').starts_with('0') && digits != "0";
        self.at += length;
        // A fraction or an exponent would follow.
        let ends = !matches!(self.bytes.get(self.at), Some(b'.' | b'e' | b'E'));
        digits.parse().ok().filter(|_| ends && !leading)
    }

    /// Goes past a value that nobody wants.
    pub fn skip(&mut self) -> Option<()> {
        self.peek()?;
        let start = self.at;
        self.pass()?;
        if let Some(passed) = &mut self.passed {
            passed.push(start..self.at);
        }
        Some(())
    }

    /// Goes past a value.
    fn pass(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.quoted().map(drop),
            b'{' | b'[' => {
                self.at += nested(&self.bytes[self.at..])?;
                Some(())
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                self.at += self.bytes[self.at..].iter().position(ends)?;
                Some(())
            }
            _ => None,
        }
    }
}

/// A field's name in JSON, worked out by the compiler from its name in Rust.
pub(crate) struct Key {
    bytes: [u8; 40],
    length: usize,
}

impl Key {
    /// `restart_policy` as `restartPolicy`; a name without underscores as it is.
    pub const fn of(field: &str) -> Self {
        let field = field.as_bytes();
        let mut key = Self {
            bytes: [0; 40],
            length: 0,
        };
        let mut position = 0;
        while position < field.len() {
            let upper = position > 0 && field[position - 1] == b'_';
            if field[position] != b'_' {
                key.bytes[key.length] = if upper {
                    field[position].to_ascii_uppercase()
                } else {
                    field[position]
                };
                key.length += 1;
            }
            position += 1;
        }
        key
    }

    /// Its text.
    pub const fn text(&self) -> &[u8] {
        self.bytes.split_at(self.length).0
    }
}

/// Reads a field, which may be null but may not come twice.
pub(crate) fn field<'a, T: Quick<'a>>(reader: &mut Reader<'a>, field: &mut Option<T>) -> Option<()> {
    if field.is_some() {
        return None;
    }
    if !reader.word(b"null") {
        *field = Some(T::read(reader)?);
    }
    Some(())
}

/// The name of a field, as it is given or as Rust has it.
macro_rules! name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident = $json:literal) => {
        $json
    };
}
pub(crate) use name;

/// Whether there may be more in JSON than is kept of it: commas and opening brackets outside of text are no fewer than the
/// elements of its lists and objects.
pub(crate) fn has_too_much(json: &[u8]) -> bool {
    let (mut in_text, mut escaped, mut elements) = (false, false, 0);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => elements += 1,
            _ => {}
        }
    }
    elements > MOST_ELEMENTS
}

/// Implements [`Quick`] for a structure of optional fields, named in camel case in JSON where no name is given.
macro_rules! quick {
    ($name:ident $(<$object:ident>)? { $($field:ident $(= $json:literal)?),* $(,)? } $($rest:tt)*) => {
        impl<'a $(, $object: $crate::reader::Quick<'a>)?> $crate::reader::Quick<'a> for $name<'a $(, $object)?> {
            fn read(reader: &mut $crate::reader::Reader<'a>) -> Option<Self> {
                $(let mut $field = None;)*
                reader.object(|reader, key| {
                    if key.escaped {
                        return None;
                    }
                    if reader.is_unwanted(key.raw) {
                        return reader.skip();
                    }
                    $({
                        const KEY: $crate::reader::Key = $crate::reader::Key::of($crate::reader::name!($field $(= $json)?));
                        if key.raw == KEY.text() {
                            return $crate::reader::field(reader, &mut $field);
                        }
                    })*
                    reader.skip()
                })?;
                Some(Self { $($field,)* $($rest)* })
            }
        }
    };
}
pub(crate) use quick;

/// Anything, as it is written.
pub(crate) struct Raw<'a>(pub &'a [u8]);

impl<'a> Quick<'a> for Raw<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.peek()?;
        let start = reader.at;
        reader.pass()?;
        Some(Self(&reader.bytes[start..reader.at]))
    }
}

impl Quick<'_> for bool {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let is_true = reader.word(b"true");
        (is_true || reader.word(b"false")).then_some(is_true)
    }
}

impl Quick<'_> for i64 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.integer()
    }
}

impl<'a> Quick<'a> for Cow<'a, str> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.quoted()?.text()
    }
}

impl<'a, T: Quick<'a>> Quick<'a> for Vec<T> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut elements = Self::new();
        reader.array(|reader| {
            reader.keep()?;
            elements.push(T::read(reader)?);
            Some(())
        })?;
        Some(elements)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The position after the first value, found one byte at a time.
    fn slowly(json: &[u8]) -> Option<usize> {
        let (mut depth, mut in_text, mut escaped) = (0, false, false);
        for (position, byte) in json.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b'{' | b'[' if !in_text => depth += 1,
                b'}' | b']' if !in_text => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(position + 1);
            }
        }
        None
    }

    fn skipped(json: &[u8]) -> Option<usize> {
        let mut reader = Reader::new(json);
        reader.skip().map(|()| reader.at)
    }

    /// Nested lists and objects with as many quotes, backslashes and brackets in their text as can be.
    fn nested() -> impl Strategy<Value = Value> {
        let leaf = r#"[\\"{}\[\]a]{0,90}"#.prop_map(Value::from);
        leaf.prop_recursive(5, 40, 5, |inner| {
            let pairs = (r#"[\\"{}]{0,9}"#, inner.clone());
            prop_oneof![
                proptest::collection::vec(inner, 0..5).prop_map(Value::from),
                proptest::collection::vec(pairs, 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Quotes, backslashes and brackets fall on every place of a block.
        #[test]
        fn blocks_are_skipped_as_bytes_are(value in nested(), more in "[\\]}\",]{0,80}") {
            let json = format!("[{value}]{more}");
            prop_assert_eq!(skipped(json.as_bytes()), slowly(json.as_bytes()));
            prop_assert_eq!(skipped(json.as_bytes()), Some(json.len() - more.len()));
        }

        /// Any text, of any length, ends where it ends.
        #[test]
        fn texts_are_skipped_and_read(text in "[\"\\\\a-zé\u{0}-\u{1f}]{0,150}", lead in 0_usize..70) {
            let json = serde_json::json!([" ".repeat(lead), {"text": text}, 1]).to_string();
            prop_assert_eq!(skipped(json.as_bytes()), Some(json.len()));
            let quoted = serde_json::to_string(&text).unwrap();
            let read = Reader::new(quoted.as_bytes()).whole::<Cow<'_, str>>();
            prop_assert_eq!(read.as_deref(), Some(text.as_str()));
        }

        /// A number is read as serde_json reads it, or left to it.
        #[test]
        fn numbers_are_read(number in "-?[0-9]{1,20}([.eE][0-9]{1,2})?") {
            if let Some(read) = Reader::new(number.as_bytes()).whole::<i64>() {
                prop_assert_eq!(read, serde_json::from_str::<i64>(&number).unwrap());
            }
        }
    }

    #[test]
    fn usual_numbers_are_read() {
        let read = |text: &str| Reader::new(text.as_bytes()).whole::<i64>();
        assert_eq!(
            ["0", "8080", "-3", " 12 "].map(read),
            [Some(0), Some(8080), Some(-3), Some(12)]
        );
        assert_eq!(
            ["", "-", "007", "1.0", "1e3", "1 2", "99999999999999999999"].map(read),
            [None; 7]
        );
    }

    #[test]
    fn deep_nesting_is_no_trouble() {
        let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(skipped(deep.as_bytes()), Some(deep.len()));
        assert_eq!(skipped(&deep.as_bytes()[..deep.len() - 1]), None);
    }

    #[test]
    fn keys_are_in_camel_case() {
        let text = |field: &str| String::from_utf8(Key::of(field).text().to_vec()).unwrap();
        assert_eq!(
            text("termination_grace_period_seconds"),
            "terminationGracePeriodSeconds"
        );
        assert_eq!(text("externalIPs"), "externalIPs");
    }
}
