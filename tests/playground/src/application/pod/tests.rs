#![allow(clippy::unwrap_used)]

use super::super::law::ServiceTime;
use super::super::profile::{Downstream, GarbageCollection};
use super::*;

fn plain(seconds: f64) -> ApplicationProfile {
    ApplicationProfile {
        cpu: ServiceTime::Constant { seconds },
        downstream: None,
        background_cpu_cores: 0.0,
        ..ApplicationProfile::default()
    }
}

fn warm(profile: ApplicationProfile, limit: Option<f64>) -> Pod {
    Pod::warm(
        Arc::new(profile),
        PodLimits {
            cpu_limit: limit,
            cpu_capacity: 4.0,
        },
        1,
        0.0,
    )
}

fn latencies(pod: &mut Pod, until: f64) -> Vec<f64> {
    let mut completed = Vec::new();
    pod.advance(until, &mut completed);
    completed.iter().map(|completion| completion.latency_seconds).collect()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

#[test]
fn a_request_alone_takes_its_cpu_time_and_its_waits() {
    let wait = ServiceTime::Constant { seconds: 0.004 };
    let downstream = Some(Downstream { waits: 2, wait });
    let mut pod = warm(
        ApplicationProfile {
            downstream,
            ..plain(0.009)
        },
        None,
    );
    pod.arrive(0.0, &mut StdRng::seed_from_u64(0));
    let latency = latencies(&mut pod, 1.0);
    assert!((latency[0] - 0.017).abs() < 1e-6);
    close(pod.cpu_used_seconds(), 0.009);
    assert_eq!(pod.in_flight(), 0);
}

#[test]
fn waking_at_each_next_event_gives_the_same_as_one_long_step() {
    let run = |stepwise: bool| {
        let profile = ApplicationProfile::preset("gc").unwrap();
        let mut pod = warm(profile, Some(0.8));
        let mut rng = StdRng::seed_from_u64(3);
        let mut completed = Vec::new();
        for arrival in 0..400 {
            let at = f64::from(arrival) * 0.014;
            while let Some(event) = pod.next_event().filter(|event| stepwise && *event <= at) {
                pod.advance(event, &mut completed);
            }
            pod.advance(at, &mut completed);
            pod.arrive(at, &mut rng);
        }
        pod.advance(20.0, &mut completed);
        completed
    };
    let (stepped, whole) = (run(true), run(false));
    assert_eq!(stepped.len(), 400);
    for (a, b) in stepped.iter().zip(&whole) {
        assert_eq!(a.id, b.id);
        close(a.latency_seconds, b.latency_seconds);
    }
}

#[test]
fn workers_are_held_through_waits_and_the_queue_is_bounded() {
    let downstream = Some(Downstream {
        waits: 1,
        wait: ServiceTime::Constant { seconds: 0.010 },
    });
    let profile = ApplicationProfile {
        workers: Some(1),
        queue_limit: 1,
        downstream,
        ..plain(0.002)
    };
    let mut pod = warm(profile, None);
    let mut rng = StdRng::seed_from_u64(0);
    assert!(pod.arrive(0.0, &mut rng).is_some());
    assert!(pod.arrive(0.0, &mut rng).is_some());
    assert_eq!(pod.arrive(0.0, &mut rng), None);
    let latency = latencies(&mut pod, 1.0);
    close(latency[0], 0.012);
    close(latency[1], 0.024);
}

#[test]
fn a_new_pod_starts_then_warms_up() {
    let limits = PodLimits {
        cpu_limit: None,
        cpu_capacity: 4.0,
    };
    let mut pod = Pod::new(Arc::new(plain(0.010)), limits, 5, 100.0);
    let ready = pod.ready_at();
    assert!((130.0..=160.0).contains(&ready));
    assert!(!pod.is_ready(ready - 0.1) && pod.is_ready(ready));
    let mut rng = StdRng::seed_from_u64(0);
    let mut completed = Vec::new();
    for age in [0.0, 15.0, 30.0] {
        pod.advance(ready + age, &mut completed);
        pod.arrive(ready + age, &mut rng);
    }
    pod.advance(ready + 60.0, &mut completed);
    for (completion, expected) in completed.iter().zip([0.015, 0.0125, 0.010]) {
        close(completion.latency_seconds, expected);
    }
    assert!((pod.cpu_used_seconds() - (0.3 * (ready - 100.0) + 0.0375)).abs() < 1e-6);
}

#[test]
fn a_deploy_makes_requests_dearer() {
    let mut pod = warm(plain(0.010), None);
    pod.set_demand_scale(1.5);
    pod.arrive(0.0, &mut StdRng::seed_from_u64(0));
    close(latencies(&mut pod, 1.0)[0], 0.015);
}

#[test]
fn a_collector_pauses_after_so_much_work() {
    let pause = ServiceTime::Constant { seconds: 0.1 };
    let collection = GarbageCollection {
        every_cpu_seconds: 0.025,
        pause,
    };
    let mut pod = warm(
        ApplicationProfile {
            garbage_collection: Some(collection),
            ..plain(0.010)
        },
        None,
    );
    let mut rng = StdRng::seed_from_u64(0);
    let mut completed = Vec::new();
    for request in 0..4 {
        pod.advance(f64::from(request) * 0.02, &mut completed);
        pod.arrive(f64::from(request) * 0.02, &mut rng);
    }
    pod.advance(1.0, &mut completed);
    // The third ends the budget of 25 ms at 50 ms; the fourth, at 60 ms, waits until 150 ms.
    close(completed[2].latency_seconds, 0.010);
    close(completed[3].latency_seconds, 0.100);
}

#[test]
fn memory_follows_load_requests_and_leaks() {
    let mut pod = warm(plain(0.001), None);
    let base = pod.memory_bytes(0.0);
    assert_eq!(base, 120 * 1024 * 1024);
    let mut rng = StdRng::seed_from_u64(0);
    let mut completed = Vec::new();
    for request in 0..60_000 {
        let at = f64::from(request) * 0.01;
        pod.advance(at, &mut completed);
        pod.arrive(at, &mut rng);
    }
    let loaded = pod.memory_bytes(600.0) as f64 - base as f64;
    // 100 requests per second at half a mebibyte each.
    assert!((loaded / (50.0 * 1024.0 * 1024.0) - 1.0).abs() < 0.02, "{loaded}");
    // By then a part of the load is forgotten: what the leak adds is told from that.
    let without = pod.memory_bytes(610.0) as f64;
    pod.set_leak(600.0, 3600.0 * 1024.0 * 1024.0);
    let leaked = pod.memory_bytes(610.0) as f64 - without;
    assert!((leaked / (1024.0 * 1024.0) - 10.0).abs() < 0.01, "{leaked}");
}

#[test]
fn a_restart_loses_requests_and_leaks() {
    let mut pod = warm(plain(1.0), Some(0.5));
    pod.set_leak(0.0, 1e9);
    pod.arrive(0.0, &mut StdRng::seed_from_u64(0));
    let mut completed = Vec::new();
    pod.advance(1.0, &mut completed);
    assert_eq!(pod.restart(1.0), 1);
    assert_eq!(pod.in_flight(), 0);
    assert!(pod.ready_at() >= 31.0);
    pod.advance(200.0, &mut completed);
    assert!(completed.is_empty());
    assert!(pod.cpu_used_seconds() > 0.5);
}

#[test]
fn one_seed_gives_one_result() {
    let run = || {
        let mut pod = warm(ApplicationProfile::preset("bimodal").unwrap(), Some(1.0));
        let mut rng = StdRng::seed_from_u64(9);
        let mut completed = Vec::new();
        for request in 0..2000 {
            let at = f64::from(request) * 0.012;
            pod.advance(at, &mut completed);
            pod.arrive(at, &mut rng);
        }
        pod.advance(100.0, &mut completed);
        completed
    };
    assert_eq!(run(), run());
}

#[test]
fn a_busier_pod_is_a_slower_pod() {
    let p99 = |spacing: f64| {
        let mut pod = warm(ApplicationProfile::preset("web").unwrap(), Some(1.0));
        let mut rng = StdRng::seed_from_u64(9);
        let (mut completed, mut at) = (Vec::new(), 0.0);
        for _ in 0..20_000 {
            at += -spacing * (1.0 - rng.random::<f64>()).ln();
            pod.advance(at, &mut completed);
            pod.arrive(at, &mut rng);
        }
        pod.advance(at + 100.0, &mut completed);
        let mut sorted: Vec<f64> = completed.iter().map(|completion| completion.latency_seconds).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() * 99 / 100]
    };
    let (idle, half, busy) = (p99(0.1), p99(0.02), p99(0.011));
    assert!(idle < half && half < busy, "{idle} {half} {busy}");
    assert!(idle < 0.060 && busy > 0.100, "{idle} {half} {busy}");
}
