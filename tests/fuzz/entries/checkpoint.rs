//! A checkpoint that somebody edited by hand: refused, or good enough to decide from.

use valence::core::checkpoint::MOST_BYTES;
use valence::core::decision::Bounds;
use valence::core::objective::Objective;
use valence::core::{Advisor, Settings};

/// Restores it, decides and writes it again.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let objective = Objective {
        slo: "web".to_owned(),
        percentile: 0.99,
        response_time_seconds: 0.1,
        throughput_per_second: None,
    };
    let restore = |text: &str| Advisor::restore(text, vec![objective.clone()], Bounds::default(), Settings::default());
    let Ok(mut advisor) = restore(text) else { return };
    for window in 0..3 {
        let decision = advisor.decide(1_800_000_000.0 + 15.0 * f64::from(window));
        for resources in decision.containers.values() {
            let cpu = [resources.cpu_request, resources.cpu_limit];
            assert!(
                cpu.into_iter().flatten().all(|cpu| cpu.0.is_finite() && cpu.0 >= 0.0),
                "{resources:?}"
            );
        }
    }
    let _ = (advisor.compliance(), advisor.curves(), advisor.numbers());
    let written = advisor.checkpoint();
    assert!(written.len() <= MOST_BYTES, "{} bytes", written.len());
    assert!(restore(&written).is_ok(), "what was written cannot be read: {written}");
}
