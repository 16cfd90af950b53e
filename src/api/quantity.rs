//! Quantities of Kubernetes in the units of the core; they are read as admission reads them.

pub use valence_webhook::quantity::{bytes, millicores, value};

use crate::core::units::{Bytes, Cores};

/// A mebibyte in bytes.
const MEBIBYTE: u64 = 1 << 20;

/// CPU as a quantity in thousandths of a core, rounded up: `250m`, `2`.
#[must_use]
pub fn cpu_text(cpu: Cores) -> String {
    let thousandths = (cpu.0 * 1000.0 - 1e-6).ceil().max(1.0) as u64;
    valence_webhook::quantity::cpu_text(thousandths)
}

/// Memory as a quantity in mebibytes, rounded up: `128Mi`, `2Gi`.
#[must_use]
pub fn memory_text(memory: Bytes) -> String {
    valence_webhook::quantity::memory_text(memory.0.div_ceil(MEBIBYTE).max(1) * MEBIBYTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_up() {
        assert_eq!(cpu_text(Cores(0.25)), "250m");
        assert_eq!(cpu_text(Cores(0.2501)), "251m");
        assert_eq!(cpu_text(Cores(2.0)), "2");
        assert_eq!(memory_text(Bytes(1)), "1Mi");
        assert_eq!(memory_text(Bytes(134_217_729)), "129Mi");
        assert_eq!(memory_text(Bytes(2 << 30)), "2Gi");
    }
}
