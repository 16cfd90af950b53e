//! The board: the last completed cycle of the recommender, for the page, StatsD and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use crate::core::decision::Decision;
use crate::core::objective::Objective;
use crate::core::observation::Resources;
use crate::core::readout::{Compliance, Curve};
use crate::core::units::{Bytes, Cores};

/// Where the recommender puts what it knows after every cycle; read without a lock.
#[derive(Debug, Default)]
pub struct Board {
    snapshot: ArcSwap<Snapshot>,
}

/// What was known at the end of a cycle.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When the cycle ended; `None` before the first.
    pub at: Option<Timestamp>,
    /// Whether this replica recommends. On others the workloads are those of their Recommendations, without curves.
    pub leader: bool,
    /// Every ServiceLevelObjective, by namespace and name.
    pub objectives: Vec<ObjectiveStatus>,
    /// Every managed Deployment, by namespace and name.
    pub workloads: Vec<Workload>,
}

/// A ServiceLevelObjective.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it asks, as far as it can be used.
    pub objectives: Vec<Objective>,
    /// Why its present contents cannot be used.
    pub error: Option<String>,
    /// Names of the Deployments that it matches.
    pub deployments: Vec<String>,
}

/// A managed Deployment.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether the recommendation is written at admission.
    pub live: bool,
    /// What was decided, with its explanation.
    pub decision: Decision,
    /// Replicas that it asks for now.
    pub current_replicas: u32,
    /// Pods that serve.
    pub ready_pods: u32,
    /// Requests and limits in force, by container: those of the newest ready pod, else of the template.
    pub current: BTreeMap<String, Resources>,
    /// CPU in use on average and memory in use at the most over the pods that serve, by container; empty on replicas
    /// that do not recommend.
    pub usage: BTreeMap<String, Usage>,
    /// Replicas as the user wrote them.
    pub original_replicas: Option<u32>,
    /// Requests and limits as the user wrote them, by container.
    pub original: BTreeMap<String, Resources>,
    /// Load over the last window in requests per second; `None` without a measurement.
    pub load_per_second: Option<f64>,
    /// How every objective has been kept.
    pub compliance: Vec<Compliance>,
    /// Requests counted against every objective since this replica began to recommend; empty on the others.
    pub counted: Vec<Counted>,
    /// Latency against load for every objective; empty on replicas that do not recommend.
    pub curves: Vec<Curve>,
    /// Numbers of the model by name, each name ending with its unit.
    pub numbers: BTreeMap<String, f64>,
    /// What stands in the way, each in a sentence.
    pub remarks: Vec<String>,
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// CPU, averaged over the pods that serve.
    pub cpu: Option<Cores>,
    /// Memory, of the pod that uses most.
    pub memory: Option<Bytes>,
}

/// Requests counted against an objective; both only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// All requests.
    pub requests: u64,
    /// Those that took longer than the response time.
    pub exceeding: u64,
}

impl Board {
    /// The last completed cycle.
    #[must_use]
    pub fn read(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts a cycle in place of the last.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }
}
