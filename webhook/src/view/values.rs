//! Values of fields: text, maps of text, and ports by number or name.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::reader::{Quick, Reader};

/// Text that is borrowed unless it had to be unescaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'a> Quick<'a> for Text<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Cow::read(reader).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Labels, annotations or quantities: few enough that a search from the front is the fastest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Pairs<'a> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(held, _)| &**held == key)
            .map(|(_, value)| &**value)
    }

    /// Keys and values in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Pairs<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(4).min(64));
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

impl<'a> Quick<'a> for Pairs<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut pairs = Vec::new();
        reader.object(|reader, key| {
            reader.keep()?;
            pairs.push((key.text().map(Text)?, Text::read(reader)?));
            Some(())
        })?;
        Some(Self(pairs))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// A port by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortReference<'a> {
    /// Its number.
    Number(i64),
    /// Its name.
    Name(Text<'a>),
}

struct PortVisitor;

impl<'de> Visitor<'de> for PortVisitor {
    type Value = PortReference<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a port number or the name of a port")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<PortReference<'de>, E> {
        Ok(PortReference::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<PortReference<'de>, E> {
        i64::try_from(number).map(PortReference::Number).map_err(E::custom)
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<PortReference<'de>, E> {
        Ok(PortReference::Name(name.into()))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<PortReference<'de>, E> {
        Ok(PortReference::Name(Text(Cow::Owned(name.to_owned()))))
    }
}

impl<'a> Quick<'a> for PortReference<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        match reader.peek()? {
            b'"' => Text::read(reader).map(Self::Name),
            _ => reader.integer().map(Self::Number),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for PortReference<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}
