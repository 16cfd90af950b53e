//! What other versions wrote, and what this one makes of it. The files of `previous` were written by 0.1.0; they stay as
//! they are when the formats go on.

use serde_json::{Value, json};
use valence::api::Recommendation;
use valence::cache::keep;
use valence::core::checkpoint::CheckpointError;
use valence::core::decision::{Bounds, Decision};
use valence::core::{Advisor, Settings};

use super::observations::Application;

const CHECKPOINT: &str = include_str!("previous/checkpoint-0.1.0");
const RECOMMENDATION: &str = include_str!("previous/recommendation-0.1.0.json");

/// The end of the hour in which [`CHECKPOINT`] was learnt.
const THEN: f64 = 1_799_993_600.0;

/// What is decided from a checkpoint and the minute after it.
fn restored(checkpoint: &str) -> Result<Decision, CheckpointError> {
    let mut application = Application::new(1, 3);
    let objectives = vec![application.objective()];
    let mut advisor = Advisor::restore(
        checkpoint.trim_end(),
        objectives,
        Bounds::default(),
        Settings::default(),
    )?;
    let mut decision = advisor.decide(THEN);
    for window in 1..=4 {
        let now = THEN + 15.0 * f64::from(window);
        advisor.observe(&application.observe(now, 15.0));
        decision = advisor.decide(now);
    }
    Ok(decision)
}

#[test]
fn a_checkpoint_of_the_previous_version_gives_the_same_recommendation() {
    let decision = restored(CHECKPOINT).unwrap();
    let recommended: Value = serde_json::from_str(include_str!("previous/decision-0.1.0.json")).unwrap();
    assert_eq!(json!(decision.replicas), recommended["replicas"], "{decision:?}");
    let resources = decision.containers["app"];
    for (now, then) in [
        (
            resources.cpu_request.map(|cpu| cpu.0),
            &recommended["cpu_request_cores"],
        ),
        (
            resources.memory_request.map(|memory| memory.0 as f64),
            &recommended["memory_request_bytes"],
        ),
    ] {
        let (now, then) = (now.unwrap(), then.as_f64().unwrap());
        assert!((now / then - 1.0).abs() < 0.05, "{now} where it was {then}");
    }
}

#[test]
fn fields_of_a_later_version_are_no_harm_and_another_format_is_told() {
    let (version, body) = CHECKPOINT.trim_end().split_once(':').unwrap();
    let mut saved: Value = serde_json::from_str(body).unwrap();
    saved["later"] = json!({"anything": [1, 2, 3]});
    let decision = restored(&format!("{version}:{saved}")).unwrap();
    assert_eq!(decision, restored(CHECKPOINT).unwrap());
    let later = restored(&format!("v2:{saved}")).unwrap_err();
    assert!(
        matches!(&later, CheckpointError::Version { found } if found == "v2"),
        "{later}"
    );
}

/// Webhook and recommender of two versions work side by side during a rollout: what crosses between them is the status of
/// Recommendations.
#[test]
fn a_recommendation_of_another_version_is_the_same_plan() {
    let plan = |object: &Value| {
        let object: Recommendation = serde_json::from_value(object.clone()).unwrap();
        let known = keep::recommendation(kube::core::DeserializeGuard(Ok(object)), None);
        known.plan.map(|plan| plan.as_ref().clone()).unwrap()
    };
    let previous: Value = serde_json::from_str(RECOMMENDATION).unwrap();
    let known = plan(&previous);
    assert_eq!(known.replicas, Some(3));
    let mut later = previous.clone();
    later["spec"]["later"] = json!(true);
    later["status"]["later"] = json!({"anything": 1});
    later["status"]["state"] = json!("AStateOfLater");
    later["status"]["containers"][0]["later"] = json!("x");
    assert_eq!(plan(&later), known);
}
