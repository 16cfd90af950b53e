//! Resource quantities: parsed exactly, and written in the canonical form that the API server stores.

use serde_json::Value;

const NANOS: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Decimal,
    Exponent,
    Binary,
}

/// An amount in billionths of the unit, with the suffix family that it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    /// Billionths of a core, of a byte, or of one.
    pub(crate) nanos: i128,
    form: Form,
}

impl Quantity {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|letter: char| !matches!(letter, '0'..='9' | '.' | '+' | '-'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let nanos = decimal_nanos(number)?;
        if let Some((_, power)) = BINARY.iter().find(|(known, _)| *known == suffix) {
            return Some(Self {
                nanos: nanos.checked_mul(1_i128 << power)?,
                form: Form::Binary,
            });
        }
        if let Some((_, power)) = DECIMAL.iter().find(|(known, _)| *known == suffix) {
            return Some(Self {
                nanos: scale(nanos, *power)?,
                form: Form::Decimal,
            });
        }
        let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        Some(Self {
            nanos: scale(nanos, power)?,
            form: Form::Exponent,
        })
    }

    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Number(number) => Self::parse(&number.to_string()),
            _ => None,
        }
    }

    /// Zero, written in decimal.
    pub(crate) const ZERO: Self = Self {
        nanos: 0,
        form: Form::Decimal,
    };

    /// A whole number.
    pub(crate) fn whole(count: i64) -> Self {
        Self {
            nanos: i128::from(count) * NANOS,
            form: Form::Decimal,
        }
    }

    /// The difference.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            nanos: self.nanos - other.nanos,
            form: self.form,
        }
    }

    /// The sum, in the form of the first that is not zero.
    pub(crate) fn plus(self, other: Self) -> Self {
        let form = if self.nanos == 0 { other.form } else { self.form };
        Self {
            nanos: self.nanos + other.nanos,
            form,
        }
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return formatter.write_str("0");
        }
        if self.form == Form::Binary && self.nanos % NANOS == 0 {
            let units = self.nanos / NANOS;
            let fits = BINARY.iter().rev().find(|(_, power)| units % (1_i128 << power) == 0);
            return match fits {
                Some((suffix, power)) => write!(formatter, "{}{suffix}", units >> power),
                None => write!(formatter, "{units}"),
            };
        }
        for (suffix, power) in DECIMAL.iter().rev() {
            let unit = 10_i128.pow((power + 9) as u32);
            if self.nanos % unit == 0 {
                let mantissa = self.nanos / unit;
                return match (self.form, power) {
                    (Form::Exponent, 0) | (Form::Decimal | Form::Binary, _) => write!(formatter, "{mantissa}{suffix}"),
                    (Form::Exponent, _) => write!(formatter, "{mantissa}e{power}"),
                };
            }
        }
        Ok(())
    }
}

/// The canonical text of a JSON quantity, or `None` when it is none.
pub(crate) fn canonical(value: &Value) -> Option<String> {
    Quantity::from_value(value).map(|quantity| quantity.to_string())
}

fn scale(nanos: i128, power: i32) -> Option<i128> {
    if power >= 0 {
        nanos.checked_mul(10_i128.checked_pow(power as u32)?)
    } else {
        let divisor = 10_i128.checked_pow(power.unsigned_abs())?;
        // Finer than a billionth is rounded up, away from zero.
        let up = i128::from(nanos % divisor != 0) * nanos.signum();
        Some(nanos / divisor + up)
    }
}

fn decimal_nanos(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let padded: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Some(sign * (whole.checked_mul(NANOS)? + padded.parse::<i128>().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_forms() {
        for (written, stored) in [
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000", "1k"),
            ("128974848", "128974848"),
            ("0", "0"),
            ("1e3", "1e3"),
            ("100u", "100u"),
            ("2.5Ki", "2560"),
        ] {
            assert_eq!(canonical(&json!(written)).unwrap(), stored, "{written}");
        }
        assert_eq!(canonical(&json!(1)).unwrap(), "1");
        assert_eq!(canonical(&json!("fast")), None);
        assert_eq!(canonical(&json!("")), None);
    }

    #[test]
    fn quantities_compare_across_suffixes() {
        assert!(Quantity::parse("1Gi").unwrap().nanos > Quantity::parse("1G").unwrap().nanos);
        assert_eq!(
            Quantity::parse("1").unwrap().nanos,
            Quantity::parse("1000m").unwrap().nanos
        );
    }
}
