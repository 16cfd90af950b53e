//! A ServiceLevelObjective and the annotations of a Deployment, as a watch delivers them.

use std::collections::BTreeMap;

use valence::api::ServiceLevelObjective;
use valence_webhook::annotations::Wishes;

/// Reads the bytes as either.
pub fn run(bytes: &[u8]) {
    if let Ok(object) = serde_json::from_slice::<ServiceLevelObjective>(bytes) {
        check_objective(&object);
    }
    if let Ok(written) = serde_json::from_slice::<BTreeMap<String, String>>(bytes) {
        check_annotations(&written);
    }
}

fn check_objective(object: &ServiceLevelObjective) {
    if let Ok(selector) = object.spec.selector.compile() {
        // Labels that are none of a Deployment's own must not panic either.
        let _ = selector.matches(&BTreeMap::new());
    }
    for objective in object.spec.objectives("fuzz").unwrap_or_default() {
        assert!(objective.percentile > 0.0 && objective.percentile < 1.0);
        assert!(objective.response_time_seconds > 0.0 && objective.response_time_seconds.is_finite());
        assert!(
            objective
                .throughput_per_second
                .is_none_or(|throughput| throughput > 0.0 && throughput.is_finite())
        );
    }
}

fn check_annotations(written: &BTreeMap<String, String>) {
    let wishes = Wishes::read(|key| written.get(key).map(String::as_str));
    let bounds = &wishes.bounds;
    for range in [
        bounds.replicas,
        bounds.cpu_millicores("app"),
        bounds.memory_bytes("app"),
    ] {
        let ascends = range.min.zip(range.max).is_none_or(|(least, most)| least <= most);
        assert!(ascends, "a most below its least protects nobody: {range:?}");
    }
    for ignored in &wishes.invalid {
        assert!(
            ignored.to_string().len() < 1024,
            "what is told of a bad value is bounded"
        );
    }
}
