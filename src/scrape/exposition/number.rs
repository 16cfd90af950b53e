//! Numbers as the format writes them.

/// More digits than this may not fit a double exactly and take the general way.
const EXACT_DIGITS: usize = 15;

/// The characters up to the next blank, and what follows.
pub(super) fn token(text: &str) -> (&str, &str) {
    let end = text
        .bytes()
        .position(|byte| matches!(byte, b' ' | b'\t'))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A decimal number, `NaN`, or an infinity in any of its spellings.
pub(super) fn float(text: &str) -> Option<f64> {
    match whole(text.as_bytes()) {
        Some(value) => Some(value as f64),
        None => text.parse().ok(),
    }
}

/// Counters are whole numbers, nearly always.
fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > EXACT_DIGITS {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => Some(value * 10 + u64::from(byte - b'0')),
        _ => None,
    })
}
