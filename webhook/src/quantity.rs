//! Quantities of Kubernetes, as far as CPU and memory use them, in whole thousandths of a core and whole bytes.

/// Suffixes with their factors; the binary ones first, since `M` is also the start of `Mi`.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// The value of a quantity such as `250m`, `1.5`, `128Mi` or `2e3`; `None` where it is not one, or is negative.
#[must_use]
pub fn value(text: &str) -> Option<f64> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, *factor)))
        .unwrap_or((text, 1.0));
    let starts_well = number.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+');
    let plain = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let value = number.parse::<f64>().ok()? * factor;
    (starts_well && number.chars().all(plain) && value.is_finite()).then_some(value)
}

/// A whole number of at most nine digits and its suffix: nearly all quantities are one, and need no fractions.
fn whole(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take(10).take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let number = number
        .bytes()
        .fold(0_u64, |number, digit| number.wrapping_mul(10) + u64::from(digit - b'0'));
    (1..=9).contains(&digits).then_some((number, suffix))
}

/// A CPU quantity in thousandths of a core, rounded up as Kubernetes does.
#[must_use]
pub fn millicores(text: &str) -> Option<u64> {
    match whole(text) {
        Some((number, "m")) => Some(number),
        Some((number, "")) => Some(number * 1000),
        _ => fractional_millicores(text),
    }
}

fn fractional_millicores(text: &str) -> Option<u64> {
    // What is a whole number but for the last digits of its binary form is that number.
    let slack = |thousandths: f64| (thousandths * 4.0 * f64::EPSILON).clamp(1e-6, 0.5);
    value(text).map(|cores| (cores * 1000.0 - slack(cores * 1000.0)).ceil().max(0.0) as u64)
}

/// A memory quantity in bytes, rounded up as Kubernetes does.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    match whole(text) {
        Some((number, "")) => Some(number),
        Some((number, "Ki")) => Some(number << 10),
        Some((number, "Mi")) => Some(number << 20),
        Some((number, "Gi")) => Some(number << 30),
        _ => fractional_bytes(text),
    }
}

fn fractional_bytes(text: &str) -> Option<u64> {
    value(text).map(|bytes| bytes.ceil() as u64)
}

/// CPU as a quantity: `250m`, `2`.
#[must_use]
pub fn cpu_text(millicores: u64) -> String {
    if millicores.is_multiple_of(1000) {
        number_text(millicores / 1000, "")
    } else {
        number_text(millicores, "m")
    }
}

/// Memory as a quantity with the largest binary suffix that keeps it exact: `128Mi`, `1Gi`, `1000`.
#[must_use]
pub fn memory_text(bytes: u64) -> String {
    for (suffix, factor) in [("Gi", 1_u64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(factor) {
            return number_text(bytes / factor, suffix);
        }
    }
    number_text(bytes, "")
}

/// Digits and a suffix: what formatting would take some hundred instructions for.
fn number_text(mut number: u64, suffix: &str) -> String {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let mut text = String::with_capacity(24);
    text.extend(digits[start..].iter().copied().map(char::from));
    text.push_str(suffix);
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, expected) in [
            ("250m", 250),
            ("1.5", 1500),
            ("2e3", 2_000_000),
            ("100n", 1),
            ("0", 0),
            ("1k", 1_000_000),
            ("751619276800m", 751_619_276_800),
            ("+1099999993222", 1_099_999_993_222_000),
            ("99999999999999999999999999", u64::MAX),
        ] {
            assert_eq!(millicores(text), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("128Mi", 134_217_728),
            ("500M", 500_000_000),
            ("1.5Ki", 1536),
            ("1000m", 1),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in [
            "", "fast", "-1", "1 Mi", "Mi", "1MiB", "inf", "nan", "NaN", "0x10", "1_000",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(amount in 0_u64..1 << 50) {
            prop_assert_eq!(bytes(&memory_text(amount)), Some(amount));
            prop_assert_eq!(millicores(&cpu_text(amount >> 20)), Some(amount >> 20));
        }

        /// Whole numbers are read as they would be with fractions in mind.
        #[test]
        fn whole_numbers_are_read_alike(text in "[0-9]{1,11}(|m|k|M|Ki|Mi|Gi)") {
            prop_assert_eq!(millicores(&text), fractional_millicores(&text));
            prop_assert_eq!(bytes(&text), fractional_bytes(&text));
        }

        #[test]
        fn nothing_makes_it_panic(text in ".{0,20}") {
            let _ = (millicores(&text), bytes(&text));
        }
    }
}
