//! Which families to read.

/// Suffixes that a family's samples may carry.
const SUFFIXES: [&str; 6] = ["", "_bucket", "_count", "_sum", "_total", "_created"];

/// The families to read, by name or by how their name begins.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'f> {
    families: &'f [&'f str],
    prefixes: &'f [&'f str],
}

impl<'f> Filter<'f> {
    /// Families by name. A sample belongs to a family when it has its name, alone or with `_bucket`, `_count`, `_sum`,
    /// `_total` or `_created`; so a full sample name such as `requests_bucket` may stand here as well.
    #[must_use]
    pub const fn families(families: &'f [&'f str]) -> Self {
        Self {
            families,
            prefixes: &[],
        }
    }

    /// And everything whose name begins with one of these.
    #[must_use]
    pub const fn and_prefixes(self, prefixes: &'f [&'f str]) -> Self {
        Self { prefixes, ..self }
    }

    /// The name at the beginning of a line, when it is wanted.
    pub(super) fn wanted_name<'a>(&self, line: &'a [u8]) -> Option<&'a [u8]> {
        let family = self
            .families
            .iter()
            .find_map(|family| member_of(line, family.as_bytes()));
        let length = family.or_else(|| {
            self.prefixes
                .iter()
                .any(|prefix| line.starts_with(prefix.as_bytes()))
                .then(|| name_length(line))
        })?;
        line.get(..length)
    }

    /// The name of a line that is not wanted, up to and with the byte that ends it: lines that begin with this are not
    /// wanted either. Empty where that cannot be told.
    #[allow(clippy::unused_self)] // It speaks about this filter's verdict.
    pub(super) fn skippable<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match name_length(line) {
            0 => &[],
            length => line.get(..=length).unwrap_or_default(),
        }
    }
}

/// Length of the name at the beginning of the line, when it is the family's or one with a suffix.
fn member_of(line: &[u8], family: &[u8]) -> Option<usize> {
    let rest = line.strip_prefix(family)?;
    SUFFIXES.iter().find_map(|suffix| {
        let after = rest.strip_prefix(suffix.as_bytes())?;
        let ends = after.first().is_none_or(|byte| !is_name_byte(*byte));
        ends.then_some(family.len() + suffix.len())
    })
}

fn name_length(line: &[u8]) -> usize {
    line.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(line.len())
}

/// Whether a byte may stand in a metric name.
pub(super) const fn is_name_byte(byte: u8) -> bool {
    NAME_BYTES[byte as usize]
}

/// By table: a comparison with five ranges costs more than the rest of the work on a byte.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_' || byte as u8 == b':';
        byte += 1;
    }
    table
};
