//! The baselines of the control benchmark against their documented behaviour, and the simulator against itself.

#[path = "../benches/control/report/bootstrap.rs"]
mod bootstrap;
#[path = "../benches/control/cluster/mod.rs"]
mod cluster;
#[path = "../benches/control/contestants.rs"]
#[expect(dead_code, reason = "the benchmark itself uses more of it")]
mod contestants;
#[path = "../benches/control/controllers/mod.rs"]
mod controllers;
#[path = "../benches/control/load/mod.rs"]
mod load;
#[path = "../benches/control/scenario.rs"]
#[expect(dead_code, reason = "the benchmark itself uses more of it")]
mod scenario;
#[path = "../benches/control/search.rs"]
mod search;
#[path = "../benches/control/simulation.rs"]
#[expect(dead_code, reason = "the benchmark itself uses more of it")]
mod simulation;

mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crate::cluster::{Size, Vertical, World, WorldSettings};
    use crate::contestants::{Contestant, Effort, Preparation};
    use crate::scenario::{self, Scenario};

    const EFFORT: Effort = Effort {
        warm_up: 600,
        seeds: 1,
        other_seeds: 1,
    };

    fn scenario(name: &str) -> Scenario {
        let mut suite = scenario::suite(Path::new("no traces here"));
        let index = suite.iter().position(|scenario| scenario.name == name).unwrap();
        let mut scenario = suite.swap_remove(index);
        scenario.seconds = 1800;
        scenario
    }

    fn run(contestant: Contestant, scenario: &Scenario, world: WorldSettings) -> crate::simulation::Outcome {
        contestant.run(scenario, &Preparation::default(), world, 1, &EFFORT)
    }

    #[test]
    fn a_run_repeats_itself() {
        let scenario = scenario("diurnal");
        let twice = [0, 1].map(|_| run(Contestant::Valence, &scenario, WorldSettings::default()).record);
        assert_eq!(twice[0].violating, twice[1].violating);
        assert_eq!(twice[0].seconds, twice[1].seconds);
    }

    #[test]
    fn every_request_ends_once() {
        let scenario = scenario("constant");
        let record = run(Contestant::Hpa(0.7), &scenario, WorldSettings::default()).record;
        let began: u64 = record.seconds.iter().map(|second| u64::from(second.began)).sum();
        // Some began before the judged time and ended within it, as many as are in flight at once.
        assert!(record.requests.abs_diff(began) < 100, "{} of {began}", record.requests);
        let expected = 75.0 * scenario.seconds as f64;
        assert!((began as f64 / expected - 1.0).abs() < 0.02);
    }

    #[test]
    fn cpu_used_is_what_the_requests_needed() {
        let scenario = scenario("constant");
        let record = run(Contestant::Hpa(0.7), &scenario, WorldSettings::default()).record;
        let needed = record.requests as f64 * scenario.profile.cpu.mean_seconds();
        assert!(
            (record.used_core_seconds / needed - 1.0).abs() < 0.05,
            "{} {needed}",
            record.used_core_seconds
        );
        assert!(record.charged_core_seconds >= record.requested_core_seconds);
    }

    #[test]
    fn an_hpa_holds_its_target() {
        let scenario = scenario("constant");
        for target in [0.5, 0.7] {
            let record = run(Contestant::Hpa(target), &scenario, WorldSettings::default()).record;
            let utilisation = record.used_core_seconds / record.requested_core_seconds;
            // Whole pods and a tolerance of 10%.
            assert!((utilisation / target - 1.0).abs() < 0.15, "{target}: {utilisation}");
        }
    }

    #[test]
    fn an_hpa_does_not_scale_in_without_metrics() {
        let scenario = scenario("blackout");
        assert_eq!(
            run(Contestant::Hpa(0.7), &scenario, WorldSettings::default())
                .record
                .blind_scale_ins,
            0
        );
    }

    #[test]
    fn neighbours_make_requests_matter() {
        let scenario = scenario("constant");
        let share = |contended_share: f64| {
            let world = WorldSettings {
                contended_share,
                ..WorldSettings::default()
            };
            run(Contestant::Hpa(0.7), &scenario, world).record.violation_share()
        };
        let [alone, some, crowded] = [0.0, 0.3, 0.9].map(share);
        assert!(alone < 0.5 * some && some < 0.5 * crowded, "{alone} {some} {crowded}");
    }

    #[test]
    fn a_deploy_replaces_every_pod_and_new_code_needs_more() {
        let scenario = scenario("deploy");
        let record = run(Contestant::Hpa(0.7), &scenario, WorldSettings::default()).record;
        assert!(record.pod_starts >= 8);
        let deployed = record.deployed_at.unwrap();
        assert!((1260.0..1620.0).contains(&deployed), "{deployed}");
        let cores = |from: usize| {
            let minutes = record.seconds[from..from + 180].iter();
            minutes.map(|second| f64::from(second.requested_cores)).sum::<f64>() / 180.0
        };
        let (old, new) = (cores(1020), cores(record.seconds.len() - 180));
        assert!(
            new > 1.1 * old,
            "{old} cores, then {new} for code that takes 1.5 times the CPU time"
        );
    }

    #[test]
    fn a_leak_ends_in_kills() {
        let mut scenario = scenario("leak");
        scenario.seconds = 3600;
        assert!(
            run(Contestant::Hpa(0.7), &scenario, WorldSettings::default())
                .record
                .memory_kills
                > 0
        );
    }

    #[test]
    fn the_oracle_is_cheaper_than_an_hpa() {
        let scenario = scenario("diurnal");
        let world = WorldSettings::default();
        let preparation = Contestant::Oracle.prepare(&scenario, world, &EFFORT);
        let oracle = Contestant::Oracle
            .run(&scenario, &preparation, world, 1, &EFFORT)
            .record;
        let hpa = run(Contestant::Hpa(0.7), &scenario, world).record;
        assert!(oracle.charged_core_seconds < 0.9 * hpa.charged_core_seconds);
        assert!(oracle.violation_share() <= 0.01);
    }

    #[test]
    fn a_warm_up_shows_nothing_of_what_is_judged() {
        let mut step = scenario("step");
        step.seconds = 3600;
        let load = step.load_after_warm_up(1, 2400);
        let highest = (0..2400).map(|second| load.rate(second)).fold(0.0, f64::max);
        assert!(highest < 0.8 * step.mean_rate, "{highest} of {}", step.mean_rate);
        let bursty = scenario("bursty");
        let (warm, judged) = (bursty.load_after_warm_up(1, 600), bursty.load(1));
        assert!((0..600).all(|second| warm.rate(599 - second) != judged.rate(second)));
        assert_eq!(warm.rate(600), judged.rate(0));
    }

    /// Pods started for a change of their size, of three; every one of them has it in the end.
    fn started_for_a_size(vertical: Vertical) -> u64 {
        let scenario = scenario("constant");
        let settings = WorldSettings {
            vertical,
            ..WorldSettings::default()
        };
        let size = |cores| Size {
            cpu_request: cores,
            cpu_limit: 2.0 * cores,
            memory_request: 1 << 30,
            memory_limit: 1 << 30,
        };
        let mut world = World::new(scenario.profile.clone(), 0.1, (3, size(1.0)), settings, 1);
        world.judged = true;
        world.resize(size(1.5));
        (1..600).for_each(|second| world.tick(f64::from(second), 1.0));
        assert_eq!(world.current_replicas(), 3);
        assert!(world.members.iter().all(|member| member.size == size(1.5)));
        assert_eq!(world.record.size_changes, u64::from(vertical == Vertical::Rollout));
        assert_eq!(world.record.vertical_restarts, world.record.pod_starts);
        world.record.pod_starts
    }

    #[test]
    fn a_resize_in_place_restarts_nothing_and_a_rollout_everything() {
        assert_eq!(started_for_a_size(Vertical::InPlace), 0);
        assert_eq!(started_for_a_size(Vertical::Rollout), 3);
    }
}
