//! What the owner of a workload allows, and what is told of a decision.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_declared_throughput_is_sized_for_exactly() {
    let declared = Objective {
        throughput_per_second: Some(200.0),
        ..objective()
    };
    let (mut toy, mut advisor) = (Toy::new(4, 100.0), advisor(vec![declared]));
    let decision = toy.steps(&mut advisor, 200);
    assert!(decision.flags.contains(&Flag::Extrapolated), "{:?}", decision.flags);
    let replicas = toy.replicas();
    toy.load = 40.0;
    toy.steps(&mut advisor, 60);
    assert_eq!(toy.replicas(), replicas, "the live load does not matter");
    toy.load = 300.0;
    let decision = toy.steps(&mut advisor, 4);
    assert!(decision.flags.contains(&Flag::ThroughputExceeded));
}

#[test]
fn bounds_of_the_user_hold() {
    let bounds = Bounds {
        disruption_budget: true,
        live: true,
        ..Bounds::default()
    };
    let mut small = Advisor::new(vec![objective()], bounds, Settings::default());
    let mut toy = Toy::new(4, 5.0);
    toy.steps(&mut small, 240);
    assert_eq!(toy.replicas(), 2);
    let bounds = Bounds {
        max_replicas: Some(3),
        live: true,
        ..Bounds::default()
    };
    let mut capped = Advisor::new(vec![objective()], bounds, Settings::default());
    let mut toy = Toy::new(3, 500.0);
    toy.steps(&mut capped, 60);
    assert_eq!(toy.replicas(), 3);
}

/// Bounds that leave one CPU request.
fn held(cores: f64) -> Bounds {
    let bounds = ContainerBounds {
        min_cpu: Some(Cores(cores)),
        max_cpu: Some(Cores(cores)),
        ..ContainerBounds::default()
    };
    Bounds {
        live: true,
        containers: BTreeMap::from([("app".to_owned(), bounds)]),
        ..Bounds::default()
    }
}

#[test]
fn the_only_size_that_the_user_allows_waits_for_no_confidence() {
    let mut advisor = Advisor::new(vec![objective()], held(0.75), Settings::default());
    let mut toy = Toy::new(4, 100.0);
    let states: Vec<_> = (0..8).map(|_| toy.step(&mut advisor).state).collect();
    assert!(!states.contains(&ModelState::Confident), "{states:?}");
    assert_eq!(toy.size().cpu_request, Some(Cores(0.75)));
}

#[test]
fn a_size_that_the_user_comes_to_forbid_is_left_at_the_next_look() {
    let mut advisor = Advisor::new(vec![objective()], held(0.75), Settings::default());
    let mut toy = Toy::new(4, 100.0);
    toy.steps(&mut advisor, 240);
    assert_eq!(toy.size().cpu_request, Some(Cores(0.75)));
    // The last is less than the load needs, and than any plan of the model's own.
    for cores in [0.651, 0.833, 0.101] {
        advisor.set_bounds(held(cores));
        toy.steps(&mut advisor, 20);
        assert_eq!(toy.size().cpu_request, Some(Cores(cores)));
    }
}

#[test]
fn a_reaction_that_meets_the_most_is_not_told_as_the_least() {
    let bounds = Bounds {
        live: true,
        max_replicas: Some(1),
        ..Bounds::default()
    };
    let mut advisor = Advisor::new(vec![objective()], bounds, Settings::default());
    let mut toy = Toy::new(1, 50.0);
    toy.steps(&mut advisor, 160);
    toy.elsewhere = 0.3;
    let summaries: Vec<_> = (0..30).map(|_| toy.step(&mut advisor).explanation.summary).collect();
    assert!(
        summaries.iter().any(|summary| summary.contains("max-replicas")),
        "{summaries:#?}"
    );
    assert!(
        !summaries.iter().any(|summary| summary.contains("no less than")),
        "{summaries:#?}"
    );
}

#[test]
fn who_set_a_bound_is_told_and_what_less_would_mean() {
    let summary = |bounds: Bounds, load: f64| {
        let mut advisor = Advisor::new(vec![objective()], Bounds { live: true, ..bounds }, Settings::default());
        let mut toy = Toy::new(3, load);
        toy.steps(&mut advisor, 240).explanation
    };
    let by_budget = Bounds {
        disruption_budget: true,
        ..Bounds::default()
    };
    let by_user = Bounds {
        min_replicas: Some(3),
        disruption_budget: true,
        ..Bounds::default()
    };
    let capped = Bounds {
        max_replicas: Some(3),
        ..Bounds::default()
    };
    for (bounds, load, who) in [
        (by_budget, 5.0, "PodDisruptionBudget needs 2 replicas"),
        (by_user, 5.0, "min-replicas asks for 3 replicas"),
        (capped, 700.0, "max-replicas allows no more than 3 replicas"),
    ] {
        let told = summary(bounds, load);
        assert!(told.bound == Bound::Limit && told.summary.contains(who), "{told:?}");
    }
    let alone = summary(Bounds::default(), 5.0);
    assert!(alone.next_smaller.contains("m CPU would need"), "{alone:?}");
    let several = summary(Bounds::default(), 200.0);
    assert!(several.next_smaller.contains("MiB and run at"), "{several:?}");
}

#[test]
fn several_objectives_of_one_slo_each_have_their_budget() {
    let both = vec![
        objective(),
        Objective {
            percentile: 0.5,
            ..objective()
        },
    ];
    let (mut toy, mut advisor) = (Toy::new(4, 100.0), advisor(both));
    let inputs = toy.steps(&mut advisor, 20).explanation.inputs;
    assert!(
        inputs.contains_key("slo_p99_200ms_error_budget_left_ratio"),
        "{inputs:?}"
    );
    assert!(inputs.contains_key("slo_p50_200ms_error_budget_left_ratio"));
}

#[test]
fn every_state_is_told_with_its_numbers() {
    let (mut toy, mut advisor) = (Toy::new(8, 200.0), advisor(vec![objective()]));
    let learning = toy.steps(&mut advisor, 3).explanation.summary;
    assert!(
        learning.contains("of 8 samples") && learning.contains("of 300 requests"),
        "{learning}"
    );
    toy.steps(&mut advisor, 120);
    toy.load = 60.0;
    toy.template = "b".into();
    let drift = toy.step(&mut advisor).explanation.summary;
    assert!(drift.contains("changed 0 s ago"), "{drift}");
    toy.load = 200.0;
    toy.steps(&mut advisor, 80);
    toy.elsewhere = 0.5;
    let told = (0..60).map(|_| toy.step(&mut advisor)).collect::<Vec<_>>();
    let given_up = told.iter().find(|one| one.state == ModelState::Unattainable).unwrap();
    assert!(
        given_up.explanation.summary.contains("100.0% of the newest requests"),
        "{given_up:?}"
    );
    toy.kill = true;
    let killed = toy.step(&mut advisor).explanation;
    assert!(
        killed.bound == Bound::Memory && killed.summary.contains("MiB"),
        "{killed:?}"
    );
    toy.scraped = false;
    let blind = toy.steps(&mut advisor, 8).explanation.summary;
    assert!(blind.contains("120 s ago"), "{blind}");
}

/// What a pod of one core with far too much memory is given when CPU is held to one core and `container` to three quarters
/// of a GiB at least.
fn resized(container: &str) -> Resources {
    let core = ContainerBounds {
        min_cpu: Some(Cores(1.0)),
        max_cpu: Some(Cores(1.0)),
        ..ContainerBounds::default()
    };
    let mut containers = BTreeMap::from([("app".to_owned(), core)]);
    containers.entry(container.to_owned()).or_default().min_memory = Some(Bytes(768 << 20));
    let bounds = Bounds {
        live: true,
        containers,
        ..Bounds::default()
    };
    let mut toy = Toy::new(4, 200.0).sized(Resources {
        cpu_request: Some(Cores(1.0)),
        cpu_limit: Some(Cores(2.0)),
        memory_request: Some(Bytes(2 << 30)),
        memory_limit: Some(Bytes(4 << 30)),
    });
    let mut advisor = Advisor::new(vec![objective()], bounds, Settings::default());
    toy.steps(&mut advisor, 200);
    toy.size()
}

#[test]
fn a_saving_of_memory_alone_needs_no_more_than_the_usual_share() {
    // 1.7 GiB too much at 0.13 cores a GiB is a sixth of what a pod of one core costs: more than a tenth, less than a fifth.
    let size = resized("beside");
    assert_eq!(size.cpu_request, Some(Cores(1.0)));
    assert!(size.memory_request.unwrap() < Bytes(768 << 20), "{size:?}");
}

#[test]
fn bounds_hold_for_the_container_that_they_name() {
    assert_eq!(resized("app").memory_request, Some(Bytes(768 << 20)));
}
