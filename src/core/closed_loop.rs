//! The advisor and a toy service, together: what it does about load, failures, silence and restarts.

#![allow(clippy::unwrap_used)]

mod bounds;
mod restarts;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::advisor::Advisor;
use super::checkpoint::{self, CheckpointError, MOST_BYTES};
use super::decision::{Bound, Bounds, ContainerBounds, Flag, ModelState};
use super::histogram::Histogram;
use super::model::Model;
use super::objective::Objective;
use super::observation::{ContainerObservation, Observation, PodObservation, PodPhase, Resources};
use super::planner::Planner;
use super::settings::Settings;
use super::toy::{Toy, advisor, objective};
use super::units::{Bytes, Cores};

#[test]
fn saves_and_keeps_the_objective() {
    let (mut toy, mut advisor) = (Toy::new(12, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 160);
    let before = toy.served;
    let decision = toy.steps(&mut advisor, 80);
    let (served, late) = (toy.served.0 - before.0, toy.served.1 - before.1);
    assert_eq!(decision.state, ModelState::Confident);
    let cores = f64::from(toy.replicas()) * toy.size().cpu_request.unwrap().0;
    assert!(cores <= 6.0, "{cores} cores for 2 cores of work");
    assert!(late * 100 <= served, "{late} of {served} late");
}

#[test]
fn in_a_hurry_it_is_confident_within_two_minutes() {
    let bounds = Bounds {
        live: true,
        ..Bounds::default()
    };
    let (mut toy, mut advisor) = (
        Toy::new(8, 100.0),
        Advisor::new(vec![objective()], bounds, Settings::hurried()),
    );
    let states: Vec<ModelState> = (0..8).map(|_| toy.step(&mut advisor).state).collect();
    assert!(states.contains(&ModelState::Confident), "{states:?}");
    toy.steps(&mut advisor, 16);
    assert!(toy.replicas() < 8 || toy.size().cpu_request.is_some_and(|cpu| cpu.0 < 1.0));
}

#[test]
fn scales_out_at_once_when_load_doubles_and_recovers() {
    let (mut toy, mut advisor) = (Toy::new(6, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 160);
    let before = toy.replicas();
    toy.load = 400.0;
    toy.steps(&mut advisor, 2);
    assert!(toy.replicas() > before, "{} then {}", before, toy.replicas());
    toy.steps(&mut advisor, 14);
    let late_before = toy.served;
    toy.steps(&mut advisor, 8);
    let (served, late) = (toy.served.0 - late_before.0, toy.served.1 - late_before.1);
    assert!(late * 50 <= served, "{late} of {served} late after the step");
}

#[test]
fn while_load_jumps_pods_are_added_and_none_is_replaced() {
    let (mut toy, mut advisor) = (Toy::new(6, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 160);
    let size = toy.size();
    for load in [450.0, 900.0] {
        toy.load = load;
        for _ in 0..12 {
            toy.step(&mut advisor);
            assert_eq!(toy.size().cpu_request, size.cpu_request, "at {load} requests/s");
        }
    }
}

#[test]
fn nothing_is_scaled_in_blind() {
    let (mut toy, mut advisor) = (Toy::new(6, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 120);
    let before = toy.replicas();
    toy.scraped = false;
    toy.load = 20.0;
    let mut blind = 0;
    assert!(
        toy.step(&mut advisor).replicas.unwrap() >= before,
        "at the first window without metrics"
    );
    for _ in 0..40 {
        let decision = toy.step(&mut advisor);
        assert!(toy.replicas() >= before);
        if decision.state == ModelState::MetricsMissing {
            blind += 1;
            assert!(decision.explanation.summary.contains("blind"));
        }
    }
    assert!(blind >= 30, "only {blind} of 40 decisions knew that they were blind");
    assert_eq!(advisor.state(), ModelState::MetricsMissing);
    toy.scraped = true;
    toy.steps(&mut advisor, 60);
    assert!(toy.replicas() < before);
}

#[test]
fn nothing_shrinks_on_an_old_figure_of_cpu() {
    let (mut toy, mut advisor) = (Toy::new(6, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 120);
    toy.measured = false;
    toy.steps(&mut advisor, 10);
    let (before, size) = (toy.replicas(), toy.size());
    toy.load = 20.0;
    let decision = toy.steps(&mut advisor, 40);
    assert_eq!((toy.replicas(), toy.size()), (before, size));
    assert!(
        decision.explanation.summary.contains("CPU"),
        "{:?}",
        decision.explanation
    );
    toy.load = 500.0;
    toy.steps(&mut advisor, 4);
    assert!(toy.replicas() > before, "load alone is reason enough to grow");
    toy.load = 20.0;
    toy.measured = true;
    // A load that came once in the last half hour is kept capacity for.
    toy.steps(&mut advisor, 160);
    assert!(toy.replicas() < before);
}

#[test]
fn an_out_of_memory_kill_raises_memory_at_once() {
    let (mut toy, mut advisor) = (Toy::new(3, 50.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 10);
    toy.kill = true;
    let decision = toy.step(&mut advisor);
    let limit = decision.containers["app"].memory_limit.unwrap();
    assert_eq!(decision.explanation.bound, Bound::Memory);
    assert!(limit.0 as f64 >= 1.3 * f64::from(512_u32 << 20), "{limit:?}");
}

#[test]
fn memory_raised_twice_a_day_is_doubled() {
    let (mut toy, mut advisor) = (Toy::new(3, 50.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 10);
    let mut raised = [0.0; 3];
    for limit in &mut raised {
        toy.kill = true;
        let decision = toy.step(&mut advisor);
        *limit = decision.containers["app"].memory_limit.unwrap().0 as f64;
        toy.steps(&mut advisor, 10);
    }
    assert!(
        raised[1] >= 2.0 * raised[0] && raised[2] >= 2.0 * raised[1],
        "{raised:?}"
    );
    // Two days later a kill is met by what it asks for alone.
    advisor.decide(toy.now);
    toy.now += 2.0 * 86_400.0;
    toy.steps(&mut advisor, 3);
    let before = toy.size().memory_limit.unwrap().0 as f64;
    toy.kill = true;
    let after = toy.step(&mut advisor).containers["app"].memory_limit.unwrap().0 as f64;
    assert!(after > 1.2 * before && after < 1.5 * before, "{before} {after}");
}

#[test]
fn a_kill_without_a_memory_limit_raises_the_request() {
    let mut toy = Toy::new(3, 50.0);
    let size = Resources {
        memory_limit: None,
        ..toy.size()
    };
    toy = toy.sized(size);
    let mut advisor = advisor(vec![objective()]);
    toy.steps(&mut advisor, 5);
    toy.kill = true;
    let raised = toy.step(&mut advisor).containers["app"];
    assert!(raised.memory_request > size.memory_request, "{raised:?}");
    assert_eq!(raised.memory_limit, None);
    let then = toy.step(&mut advisor).containers["app"];
    assert_eq!(then.memory_request, raised.memory_request, "one kill raises once");
}

#[test]
fn a_quiet_night_leaves_pods_that_the_day_can_grow_from() {
    let (mut toy, mut advisor) = (Toy::new(6, 120.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 480);
    let day = toy.size().cpu_request.unwrap().0;
    let mut sizes = vec![day];
    let mut live = |toy: &mut Toy, load: f64, windows: u32| {
        toy.load = load;
        for _ in 0..windows {
            toy.step(&mut advisor);
            let size = toy.size().cpu_request.unwrap().0;
            if sizes.last() != Some(&size) {
                sizes.push(size);
            }
        }
    };
    live(&mut toy, 3.0, 2400);
    live(&mut toy, 120.0, 480);
    assert!(sizes.len() <= 3, "{sizes:?} in 15 hours");
    assert!(sizes.iter().all(|size| *size >= 0.7 * day), "{sizes:?}");
}

#[test]
fn a_slow_dependency_is_unattainable_and_the_extra_pods_are_given_back() {
    let (mut toy, mut advisor) = (Toy::new(4, 200.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 160);
    let before = toy.replicas();
    toy.elsewhere = 0.5;
    let states: Vec<ModelState> = (0..40).map(|_| toy.step(&mut advisor).state).collect();
    assert!(states.contains(&ModelState::Unattainable), "{states:?}");
    assert!(toy.replicas() <= before + 2, "{} then {}", before, toy.replicas());
    toy.elsewhere = 0.01;
    toy.steps(&mut advisor, 40);
    assert_ne!(advisor.state(), ModelState::Unattainable);
}

#[test]
fn an_outage_of_an_objective_of_the_median_is_no_passing_violation() {
    for percentile in [0.5, 0.75, 0.99] {
        let objective = Objective {
            percentile,
            ..objective()
        };
        let (mut toy, mut advisor) = (Toy::new(4, 200.0), advisor(vec![objective]));
        toy.steps(&mut advisor, 160);
        let before = toy.replicas();
        toy.elsewhere = 0.5;
        toy.steps(&mut advisor, 2);
        assert!(toy.replicas() > before, "p{percentile}: {} as before", toy.replicas());
    }
}

#[test]
fn a_slow_objective_is_not_given_up_before_an_answer_can_be_fast() {
    let slow = Objective {
        response_time_seconds: 120.0,
        ..objective()
    };
    let (mut toy, mut advisor) = (Toy::new(4, 200.0), advisor(vec![slow]));
    toy.response_time = 120.0;
    toy.bounds = (-30..20).map(|step| 120.0 * 1.15_f64.powi(step)).collect();
    toy.steps(&mut advisor, 160);
    toy.elsewhere = 400.0;
    // Nothing that began after the first step of capacity has ended within its start and the response time.
    let states: Vec<ModelState> = (0..12).map(|_| toy.step(&mut advisor).state).collect();
    assert!(!states.contains(&ModelState::Unattainable), "{states:?}");
}

#[test]
fn new_code_is_drift_and_does_not_shrink() {
    let (mut toy, mut advisor) = (Toy::new(4, 100.0), advisor(vec![objective()]));
    toy.steps(&mut advisor, 120);
    let before = toy.replicas();
    toy.template = "b".into();
    toy.per_request = 0.015;
    assert_eq!(toy.step(&mut advisor).state, ModelState::Drift);
    assert!(toy.replicas() >= before);
    toy.steps(&mut advisor, 60);
    let learnt = advisor.numbers()["cpu_per_request_seconds"];
    assert!((learnt / 0.015 - 1.0).abs() < 0.1, "{learnt}");
}

#[test]
fn little_traffic_never_looks_good_for_lack_of_data() {
    let (mut toy, mut advisor) = (Toy::new(4, 0.05), advisor(vec![objective()]));
    let decision = toy.steps(&mut advisor, 200);
    assert_ne!(decision.state, ModelState::Confident);
    assert_eq!(toy.replicas(), 4);
}

#[test]
fn of_several_objectives_all_hold() {
    let declared = Objective {
        throughput_per_second: Some(400.0),
        slo: "declared".into(),
        ..objective()
    };
    let replicas = |objectives: Vec<Objective>| {
        let (mut toy, mut advisor) = (Toy::new(8, 100.0), advisor(objectives));
        toy.steps(&mut advisor, 200);
        f64::from(toy.replicas()) * toy.size().cpu_request.unwrap().0
    };
    let (live, both) = (replicas(vec![objective()]), replicas(vec![objective(), declared]));
    assert!(
        live < 3.0 && both >= 4.0,
        "{live} cores for 100/s, {both} where 400/s are declared as well"
    );
}

#[test]
fn a_ramp_is_no_drift_though_cpu_figures_lag_behind() {
    let (mut toy, mut advisor) = (Toy::new(4, 100.0), advisor(vec![objective()]));
    toy.lag = 2;
    toy.steps(&mut advisor, 80);
    for _ in 0..40 {
        toy.load += 10.0;
        assert_ne!(
            toy.step(&mut advisor).state,
            ModelState::Drift,
            "at {} requests/s",
            toy.load
        );
    }
    let learnt = advisor.numbers()["cpu_per_request_seconds"];
    assert!((learnt / 0.01 - 1.0).abs() < 0.1, "{learnt}");
}

#[test]
fn a_small_service_that_was_scaled_in_does_not_run_away_when_load_rises_fourfold() {
    for load in [4.0, 10.0, 25.0] {
        for lag in 0..3 {
            let (mut toy, mut advisor) = (Toy::new(3, load), advisor(vec![objective()]));
            toy.lag = lag;
            toy.steps(&mut advisor, 200);
            assert!(toy.replicas() <= 2, "{} for {load}/s", toy.replicas());
            toy.load *= 4.0;
            // Twice what the load needs at the half of the request that is safe before anything is known.
            let cores = toy.load * toy.per_request;
            for window in 0..60 {
                toy.step(&mut advisor);
                let most = (4.0 * cores / toy.size().cpu_request.unwrap().0).ceil() as u32 + 2;
                assert!(
                    toy.replicas() <= most,
                    "{} replicas in window {window} after a rise to {}/s, at most {most}; CPU figures {lag} windows old",
                    toy.replicas(),
                    toy.load
                );
            }
            let before = toy.served;
            toy.steps(&mut advisor, 60);
            let (served, late) = (toy.served.0 - before.0, toy.served.1 - before.1);
            assert!(late * 50 <= served, "{late} of {served} late at {}/s", toy.load);
        }
    }
}

fn any_container() -> impl Strategy<Value = ContainerObservation> {
    let some = |most: f64| prop::option::of(0.0..most);
    (some(8.0), some(4e9), some(4.0), some(8.0), some(4e9), any::<bool>()).prop_map(
        |(cpu, memory, request, limit, memory_limit, killed_for_memory)| ContainerObservation {
            cpu: cpu.map(Cores),
            memory: memory.map(|bytes| Bytes(bytes as u64)),
            resources: Resources {
                cpu_request: request.map(Cores),
                cpu_limit: limit.map(Cores),
                memory_request: None,
                memory_limit: memory_limit.map(|bytes| Bytes(bytes as u64)),
            },
            killed_for_memory,
        },
    )
}

fn any_pod() -> impl Strategy<Value = PodObservation> {
    let phase = prop::sample::select(vec![
        PodPhase::Starting,
        PodPhase::Ready,
        PodPhase::Ready,
        PodPhase::Terminating,
        PodPhase::Failing,
    ]);
    (phase, any::<bool>(), 0_u64..5000, -2000.0_f64..2000.0, any_container()).prop_map(
        |(phase, scraped, requests, ready, container)| PodObservation {
            name: "pod".into(),
            template: if requests % 7 == 0 { "b" } else { "a" }.into(),
            phase,
            created_at_seconds: 1.8e9 - 2000.0,
            ready_at_seconds: (phase == PodPhase::Ready).then_some(1.8e9 + ready),
            scraped,
            requests_per_second: requests as f64 / 15.0,
            containers: BTreeMap::from([("app".to_owned(), container)]),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_comes_the_bounds_hold_and_the_checkpoint_restores(
        windows in prop::collection::vec((prop::collection::vec(any_pod(), 0..6), prop::collection::vec(0_u64..3000, 4), 0_u32..12), 1..40),
    ) {
        let bounds = Bounds { min_replicas: Some(2), max_replicas: Some(9), live: true, ..Bounds::default() };
        let mut advisor = Advisor::new(vec![objective()], bounds.clone(), Settings::default());
        for (index, (pods, counts, desired)) in windows.into_iter().enumerate() {
            let at = 1.8e9 + 15.0 * index as f64;
            let latency = Histogram { upper_bounds_seconds: [0.05, 0.2, 1.0].into(), counts };
            advisor.observe(&Observation {
                at_seconds: at,
                window_seconds: 15.0,
                load_per_second: latency.total() as f64 / 15.0,
                latency,
                failures: 3,
                pods,
                template: "a".into(),
                desired_replicas: desired,
                rolling_out: false,
            });
            let decision = advisor.decide(at);
            if decision.state != ModelState::Cold {
                prop_assert!((2..=9).contains(&decision.replicas.unwrap()));
            }
            let sizes = decision.containers.values().filter_map(|resources| resources.cpu_request);
            prop_assert!(sizes.into_iter().all(|cpu| cpu.0.is_finite() && cpu.0 >= 0.0));
        }
        let text = advisor.checkpoint();
        prop_assert!(Advisor::restore(&text, vec![objective()], bounds, Settings::default()).is_ok(), "{}", text);
    }
}
