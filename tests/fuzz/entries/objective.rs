//! A ServiceLevelObjective and the annotations of a Deployment, as a watch delivers them.

use std::collections::BTreeMap;

use valence::api::ServiceLevelObjective;
use valence::recommender::annotations;

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
    let wishes = annotations::read(written);
    let bounds = wishes.bounds;
    assert!(
        bounds
            .min_replicas
            .zip(bounds.max_replicas)
            .is_none_or(|(least, most)| least <= most)
    );
    assert!(
        bounds
            .min_cpu
            .zip(bounds.max_cpu)
            .is_none_or(|(least, most)| least.0 <= most.0)
    );
    assert!(
        bounds
            .min_memory
            .zip(bounds.max_memory)
            .is_none_or(|(least, most)| least.0 <= most.0)
    );
    for ignored in &wishes.ignored {
        assert!(
            ignored.to_string().len() < 1024,
            "what is told of a bad value is bounded"
        );
    }
}
