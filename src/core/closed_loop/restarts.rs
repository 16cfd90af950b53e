//! What a restart, and whoever looks, finds of what was learnt.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn the_same_inputs_give_the_same_decisions() {
    let run = || {
        let (mut toy, mut advisor) = (Toy::new(8, 150.0), advisor(vec![objective()]));
        (0..120).map(|_| toy.step(&mut advisor)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// Ones for noughts, so that whatever is left out of a checkpoint shows.
fn filled(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Number(number) if number.as_f64() == Some(0.0) => *value = 1.into(),
        Value::Array(values) => values.iter_mut().for_each(filled),
        Value::Object(values) => values.values_mut().for_each(filled),
        _ => {}
    }
}

#[test]
fn whatever_is_in_a_checkpoint_is_in_the_next_one() {
    let objectives = vec![objective()];
    let (mut toy, mut advisor) = (Toy::new(8, 200.0), advisor(objectives.clone()));
    toy.steps(&mut advisor, 200);
    let text = advisor.checkpoint();
    let (version, body) = text.split_once(':').unwrap();
    let mut saved: serde_json::Value = serde_json::from_str(body).unwrap();
    for name in [
        "pace",
        "reaction",
        "trusted",
        "sized_at",
        "sized_before",
        "memory_raised_at",
        "drift_at",
        "most_used",
        "cpu_at",
        "capacity",
        "starting",
    ] {
        filled(&mut saved[name]);
    }
    saved["larger"] = saved["plan"].clone();
    let text = format!("{version}:{saved}");
    let restored = Advisor::restore(&text, objectives, Bounds::default(), Settings::default()).unwrap();
    let again = restored.checkpoint();
    let again: serde_json::Value = serde_json::from_str(again.split_once(':').unwrap().1).unwrap();
    for (name, value) in saved.as_object().unwrap() {
        assert_eq!(format!("{}", again[name]), format!("{value}"), "{name}");
    }
}

#[test]
fn a_pod_of_many_containers_has_a_checkpoint_with_those_that_use_most() {
    let mut model = Model {
        highest_load: 50.0,
        ..Model::default()
    };
    for number in 0..160 {
        let name = format!("container-{number}");
        // The one that works comes last by name as well.
        let per_request = if number == 159 { 0.0123456789 } else { 0.0 };
        let (demand, memory) = (
            model.demands.entry(name.clone()).or_default(),
            model.memories.entry(name).or_default(),
        );
        for step in 0..40 {
            let (load, at) = (f64::from(20 + step % 30), f64::from(step) * 15.0);
            demand.learn(load, 0.0012345 + per_request * load, 1.0);
            memory.learn(at, load, Bytes(123_456_789 + step as u64));
        }
    }
    // A small one that was killed: nothing else tells that it needs more.
    let killed = model.memories.entry("container-killed".to_owned()).or_default();
    killed.killed(Bytes(12 << 20));
    let text = checkpoint::write(&model, &Planner::default(), &[objective()]);
    assert!(!text.is_empty() && text.len() < MOST_BYTES, "{} bytes", text.len());
    let (restored, _) = checkpoint::read(&text, &[objective()]).unwrap();
    assert!(restored.demands["container-159"].known() && restored.demands.len() < 160);
    assert!(restored.memories["container-killed"].was_killed_at(None) && restored.memories.len() < 160);
}

#[test]
fn a_restart_loses_nothing() {
    let objectives: Vec<Objective> = [0.5, 0.75, 0.9, 0.95, 0.99]
        .map(|percentile| Objective {
            percentile,
            slo: format!("p{percentile}"),
            ..objective()
        })
        .to_vec();
    let (mut toy, mut advisor) = (Toy::new(8, 200.0), advisor(objectives.clone()));
    toy.steps(&mut advisor, 200);
    let text = advisor.checkpoint();
    assert!(text.len() < MOST_BYTES && !text.is_empty(), "{} bytes", text.len());
    let bounds = Bounds {
        live: true,
        ..Bounds::default()
    };
    let mut restored = Advisor::restore(&text, objectives, bounds.clone(), Settings::default()).unwrap();
    let observation = toy.observe();
    for each in [&mut advisor, &mut restored] {
        each.observe(&observation);
    }
    let (before, after) = (advisor.decide(toy.now), restored.decide(toy.now));
    assert_eq!((after.state, after.replicas), (before.state, before.replicas));
    assert_eq!(after.containers, before.containers);
    let needed = |advisor: &Advisor| advisor.numbers()["cpu_per_request_seconds"];
    assert!((needed(&restored) / needed(&advisor) - 1.0).abs() < 1e-4);
    assert_eq!(
        Advisor::restore("", vec![], bounds.clone(), Settings::default())
            .map(|_| ())
            .map_err(|error| error.to_string()),
        Err("checkpoint has version \"\", this build reads version 1".to_owned())
    );
    let damaged = &text[..text.len() / 2];
    let error = Advisor::restore(damaged, vec![], bounds, Settings::default()).unwrap_err();
    assert!(matches!(error, CheckpointError::Malformed(_)), "{error}");
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let (mut toy, mut first) = (Toy::new(8, 200.0), advisor(vec![objective()]));
    toy.steps(&mut first, 160);
    let bounds = Bounds {
        live: true,
        ..Bounds::default()
    };
    let text = first.checkpoint();
    let restored = Advisor::restore(&text, vec![objective()], bounds, Settings::default()).unwrap();
    for mut advisor in [restored, first] {
        let mut toy = toy.clone();
        toy.turn_back(7200.0);
        toy.load = 20.0;
        let before = toy.replicas();
        toy.steps(&mut advisor, 40);
        assert!(toy.replicas() < before, "{} as before", toy.replicas());
    }
}

#[test]
fn read_outs_tell_what_was_learnt() {
    let (mut toy, mut advisor) = (Toy::new(4, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 120);
    let curve = &advisor.curves()[0];
    assert!(
        curve
            .points
            .windows(2)
            .all(|pair| pair[0].latency_seconds <= pair[1].latency_seconds)
    );
    assert!(
        curve
            .points
            .iter()
            .all(|point| point.upper_bound_seconds >= point.latency_seconds)
    );
    assert!(!curve.observed.is_empty() && curve.safe_load_per_second.is_some());
    let compliance = &advisor.compliance()[0];
    assert!(compliance.compliance.unwrap() > 0.9 && compliance.recent_requests > 1000);
}
