//! Quantities and durations.

use valence::api::duration::{GoDuration, LONGEST_SECONDS};
use valence::api::quantity;

/// Reads the bytes as both, and writes what was read.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(value) = quantity::value(text) {
        assert!(value.is_finite(), "{text:?} is {value}");
    }
    if let Some(millicores) = quantity::millicores(text).filter(|millicores| *millicores < 1 << 50) {
        let written = valence_webhook::quantity::cpu_text(millicores);
        assert_eq!(
            valence_webhook::quantity::millicores(&written),
            Some(millicores),
            "{written}"
        );
    }
    if let Some(bytes) = quantity::bytes(text).filter(|bytes| *bytes < 1 << 50) {
        let written = valence_webhook::quantity::memory_text(bytes);
        assert_eq!(valence_webhook::quantity::bytes(&written), Some(bytes), "{written}");
    }
    // Two readers of the same notation, on either side of a border that must not depend on the other.
    assert_eq!(
        quantity::millicores(text),
        valence_webhook::quantity::millicores(text),
        "{text:?}"
    );
    assert_eq!(
        quantity::bytes(text),
        valence_webhook::quantity::bytes(text),
        "{text:?}"
    );
    if let Ok(seconds) = GoDuration(text.to_owned()).seconds() {
        assert!(seconds > 0.0 && seconds <= LONGEST_SECONDS, "{text:?} is {seconds} s");
        let again = GoDuration::from_seconds(seconds).seconds();
        assert!(
            seconds < 1e-6 || again.is_ok_and(|again| (again / seconds - 1.0).abs() < 0.01),
            "{text:?}"
        );
    }
}
