//! A board with a workload in every state that the page tells apart, and the page served from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use valence::core::decision::{Bound, Decision, Explanation, Flag, ModelState};
use valence::core::objective::Objective;
use valence::core::observation::Resources;
use valence::core::readout::{Compliance, Curve, CurvePoint, ObservedPoint, Verdict};
use valence::core::units::{Bytes, Cores};
use valence::report::page::{self, cost::Prices};
use valence::report::status::{Board, ObjectiveStatus, Snapshot, Usage, Workload};

/// Serves the page on a free port until the token is dropped.
pub async fn serve(snapshot: Snapshot) -> (SocketAddr, CancellationToken) {
    let board = Arc::new(Board::default());
    board.publish(snapshot);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(page::serve(listener, board, prices(), stop.clone()));
    (address, stop)
}

fn prices() -> Prices {
    Prices {
        price_per_core_hour: Some(0.03),
        price_per_gib_hour: Some(0.004),
        currency: "EUR".to_owned(),
    }
}

pub fn snapshot() -> Snapshot {
    Snapshot {
        at: Some("2026-03-01T12:00:00Z".parse().unwrap()),
        leader: true,
        objectives: vec![
            slo("slo-webapps", vec![webapps()], &["todo", "<b>shop</b>", LONG_NAME]),
            slo("slo-grpc", vec![grpc()], &["fortune"]),
            ObjectiveStatus {
                error: Some("spec.objectives[0].http.latency.responseTime: \"fast\" is not a duration".to_owned()),
                ..slo("broken", Vec::new(), &[])
            },
            slo("unused", vec![webapps()], &[]),
        ],
        workloads: vec![learnt(), escaped(), cold(), changed()],
    }
}

fn slo(name: &str, objectives: Vec<Objective>, deployments: &[&str]) -> ObjectiveStatus {
    ObjectiveStatus {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        objectives,
        error: None,
        deployments: deployments.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn webapps() -> Objective {
    Objective {
        slo: "slo-webapps".to_owned(),
        percentile: 0.99,
        response_time_seconds: 0.1,
        throughput_per_second: Some(500.0 / 60.0),
    }
}

fn grpc() -> Objective {
    Objective {
        slo: "slo-grpc".to_owned(),
        percentile: 0.95,
        response_time_seconds: 0.1,
        throughput_per_second: None,
    }
}

fn resources(millicores: u64, mebibytes: u64) -> Resources {
    Resources {
        cpu_request: Some(Cores(millicores as f64 / 1000.0)),
        cpu_limit: Some(Cores(millicores as f64 / 500.0)),
        memory_request: Some(Bytes(mebibytes << 20)),
        memory_limit: Some(Bytes(mebibytes << 20)),
    }
}

fn sizes(app: Resources) -> BTreeMap<String, Resources> {
    BTreeMap::from([("app".to_owned(), app), ("envoy".to_owned(), resources(50, 48))])
}

/// Confident, live, with a curve and points on both sides of the objective.
fn learnt() -> Workload {
    Workload {
        namespace: "shop".to_owned(),
        name: "todo".to_owned(),
        live: true,
        decision: Decision {
            at_seconds: 1_772_366_400.0,
            state: ModelState::Confident,
            flags: vec![Flag::Extrapolated],
            replicas: Some(3),
            containers: sizes(resources(250, 128)),
            target_utilisation: Some(0.62),
            explanation: Explanation {
                bound: Bound::Latency,
                summary:
                    "3 replicas of 250m keep p99 within 100 ms up to 620/min: at 500/min the upper bound is 81 ms."
                        .to_owned(),
                inputs: BTreeMap::from([
                    ("demand_cpu_seconds".to_owned(), 0.0041),
                    ("planned_load_per_second".to_owned(), 8.33),
                    ("cpu_utilisation".to_owned(), 0.58),
                ]),
                next_smaller: "2 replicas would put the upper bound at 164 ms.".to_owned(),
            },
        },
        current_replicas: 5,
        ready_pods: 5,
        current: sizes(resources(500, 256)),
        usage: BTreeMap::from([(
            "app".to_owned(),
            Usage {
                cpu: Some(Cores(0.146)),
                memory: Some(Bytes(101 << 20)),
            },
        )]),
        original_replicas: Some(5),
        original: BTreeMap::from([("app".to_owned(), resources(500, 256))]),
        load_per_second: Some(7.2),
        compliance: vec![compliance(webapps(), Verdict::Met, Some(0.9984), 0.84)],
        counted: Vec::new(),
        curves: vec![curve(webapps(), 0.018, 14.0, 10.3)],
        numbers: BTreeMap::from([
            ("concurrency_per_pod".to_owned(), 0.42),
            ("residual_ratio".to_owned(), 1.08),
        ]),
        remarks: Vec::new(),
    }
}

/// A name that is markup, an objective that is missed.
fn escaped() -> Workload {
    let mut workload = learnt();
    workload.name = "<b>shop</b>".to_owned();
    workload.live = false;
    workload.decision.state = ModelState::Unattainable;
    workload.decision.flags = vec![Flag::ThroughputExceeded];
    workload.decision.explanation.bound = Bound::State;
    workload.decision.replicas = Some(5);
    workload.decision.containers = BTreeMap::new();
    workload.load_per_second = Some(13.1);
    workload.compliance = vec![compliance(webapps(), Verdict::Violated, Some(0.9712), -1.88)];
    workload.remarks = vec![
        "Latency does not fall with capacity; look at what <script>the application</script> waits for.".to_owned(),
    ];
    workload
}

/// A name as long as names may be.
pub const LONG_NAME: &str = "payments-reconciliation-worker-for-the-european-settlement-area";

/// A new release that is being learnt, with more replicas of the same size.
fn changed() -> Workload {
    let mut workload = learnt();
    workload.name = LONG_NAME.to_owned();
    workload.live = false;
    workload.decision.state = ModelState::Drift;
    workload.decision.flags = Vec::new();
    workload.decision.explanation.bound = Bound::Forecast;
    workload.decision.replicas = Some(6);
    workload.decision.containers = sizes(resources(500, 256));
    workload.compliance = vec![compliance(webapps(), Verdict::Unknown, Some(0.9921), 0.21)];
    workload
}

/// Nothing measured.
fn cold() -> Workload {
    let mut workload = learnt();
    workload.name = "fortune".to_owned();
    workload.live = false;
    workload.decision.state = ModelState::Cold;
    workload.decision.flags = Vec::new();
    workload.decision.replicas = None;
    workload.decision.containers = BTreeMap::new();
    workload.decision.explanation = Explanation {
        bound: Bound::State,
        summary: "Nothing has been measured yet.".to_owned(),
        inputs: BTreeMap::new(),
        next_smaller: String::new(),
    };
    workload.load_per_second = None;
    workload.current = BTreeMap::from([("app".to_owned(), Resources::default())]);
    workload.original = workload.current.clone();
    workload.compliance = vec![compliance(grpc(), Verdict::Unknown, None, 1.0)];
    workload.curves = vec![Curve {
        objective: grpc(),
        points: Vec::new(),
        observed: Vec::new(),
        safe_load_per_second: None,
    }];
    workload.numbers = BTreeMap::new();
    workload
}

fn compliance(objective: Objective, verdict: Verdict, share: Option<f64>, left: f64) -> Compliance {
    Compliance {
        objective,
        verdict,
        recent_requests: if share.is_some() { 2160 } else { 0 },
        recent_exceeding: 3,
        recent_undecided: 0,
        recent_latency_seconds: share.map(|_| 0.0874),
        compliance: share,
        error_budget_left: left,
    }
}

/// A queue's curve with points scattered about it.
fn curve(objective: Objective, service: f64, capacity: f64, safe: f64) -> Curve {
    let latency = |load: f64| service / (1.0 - load / capacity);
    let loads = (0..60).map(|step| f64::from(step) * capacity / 61.0);
    let points = loads.map(|load| CurvePoint {
        load_per_second: load,
        latency_seconds: latency(load),
        upper_bound_seconds: latency(load) * 1.5,
        planned_bound_seconds: latency(load) * 1.5,
    });
    let observed = (1..24).map(|step| {
        let load = f64::from(step) * capacity / 25.0;
        let latency_seconds = latency(load) * (1.0 + 0.25 * (f64::from(step) * 1.7).sin());
        ObservedPoint {
            load_per_second: load,
            latency_seconds,
            share_exceeding: if latency_seconds > 0.1 { 0.04 } else { 0.002 },
            requests: 400.0 + 90.0 * f64::from(step),
        }
    });
    Curve {
        objective,
        points: points.collect(),
        observed: observed.collect(),
        safe_load_per_second: Some(safe),
    }
}
