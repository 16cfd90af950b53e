//! Quantities of Kubernetes, as far as CPU and memory use them.

use crate::core::units::{Bytes, Cores};

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
    let plain = number.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '+')
        && number
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let value = number.parse::<f64>().ok()? * factor;
    (plain && value.is_finite()).then_some(value)
}

/// A CPU quantity in thousandths of a core, rounded up as Kubernetes does.
#[must_use]
pub fn millicores(text: &str) -> Option<u64> {
    value(text).map(|cores| (cores * 1000.0 - 1e-6).ceil().max(0.0) as u64)
}

/// A memory quantity in bytes, rounded up as Kubernetes does.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    value(text).map(|bytes| bytes.ceil() as u64)
}

/// CPU as a quantity in thousandths of a core, rounded up.
#[must_use]
pub fn cpu_text(cpu: Cores) -> String {
    let thousandths = (cpu.0 * 1000.0 - 1e-6).ceil().max(1.0) as u64;
    if thousandths.is_multiple_of(1000) {
        (thousandths / 1000).to_string()
    } else {
        format!("{thousandths}m")
    }
}

/// Memory as a quantity in mebibytes, rounded up.
#[must_use]
pub fn memory_text(memory: Bytes) -> String {
    let mebibytes = memory.0.div_ceil(1_048_576).max(1);
    if mebibytes.is_multiple_of(1024) {
        format!("{}Gi", mebibytes / 1024)
    } else {
        format!("{mebibytes}Mi")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_writes() {
        for (text, expected) in [
            ("250m", 0.25),
            ("1.5", 1.5),
            ("128Mi", 134_217_728.0),
            ("2e3", 2000.0),
            ("500M", 5e8),
            ("1k", 1e3),
            ("3E", 3e18),
            ("1Ei", 1_152_921_504_606_846_976.0),
            ("100n", 1e-7),
        ] {
            let read = value(text).unwrap_or(f64::NAN);
            assert!((read - expected).abs() <= expected * 1e-12, "{text}: {read}");
        }
        for text in ["", "fast", "-1", "1 Mi", "Mi", "1MiB", "inf", "nan", "0x10"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn rounds_up_and_reads_back() {
        assert_eq!(millicores("1500u"), Some(2));
        assert_eq!(millicores("100m"), Some(100));
        assert_eq!(bytes("1.5Ki"), Some(1536));
        assert_eq!(cpu_text(Cores(0.25)), "250m");
        assert_eq!(cpu_text(Cores(0.2501)), "251m");
        assert_eq!(cpu_text(Cores(2.0)), "2");
        assert_eq!(memory_text(Bytes(1)), "1Mi");
        assert_eq!(memory_text(Bytes(134_217_729)), "129Mi");
        assert_eq!(memory_text(Bytes(2 << 30)), "2Gi");
    }
}
