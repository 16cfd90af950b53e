//! What the edges tell the core: one window of measurements of one Deployment.

use std::collections::BTreeMap;

use super::histogram::Histogram;
use super::units::{Bytes, Cores};

/// Measurements of one Deployment over one scrape interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// End of the window, in seconds since the Unix epoch.
    pub at_seconds: f64,
    /// Length of the window in seconds.
    pub window_seconds: f64,
    /// Response times of the requests that ended since each pod was last scraped, summed over the pods that were scraped.
    pub latency: Histogram,
    /// Requests per second over the same pods, each over the time since it was last scraped itself: those that began, or
    /// those that ended where that is more. Under overload more begin than end.
    pub load_per_second: f64,
    /// Requests that ended in the same time with a server error.
    pub failures: u64,
    /// Every pod of the Deployment that exists, scraped or not.
    pub pods: Vec<PodObservation>,
    /// Hash of the pod template in force; a new one means new code or configuration.
    pub template: String,
    /// Replicas that the Deployment asks for now.
    pub desired_replicas: u32,
    /// Whether pods of two revisions stand side by side, be they of the same software or not.
    pub rolling_out: bool,
}

/// One pod in a window.
#[derive(Clone, Debug, PartialEq)]
pub struct PodObservation {
    /// Name of the pod.
    pub name: String,
    /// Hash of the template that it was made from.
    pub template: String,
    /// How far it is.
    pub phase: PodPhase,
    /// Creation time, in seconds since the Unix epoch.
    pub created_at_seconds: f64,
    /// When it became ready, in seconds since the Unix epoch.
    pub ready_at_seconds: Option<f64>,
    /// Whether its sidecar answered the scrape; `requests_per_second` says nothing otherwise.
    pub scraped: bool,
    /// Requests per second that it answered, over the time since it was last scraped.
    pub requests_per_second: f64,
    /// Its containers by name, the sidecar among them.
    pub containers: BTreeMap<String, ContainerObservation>,
}

/// Where a pod stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Created, not ready yet: counts as capacity on its way.
    Starting,
    /// Serving.
    Ready,
    /// On its way out.
    Terminating,
    /// Cannot start or keeps crashing.
    Failing,
}

/// One container in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContainerObservation {
    /// CPU used, averaged over the metrics server's own window; `None` where it is not known.
    pub cpu: Option<Cores>,
    /// Working set; `None` where it is not known.
    pub memory: Option<Bytes>,
    /// Requests and limits in force.
    pub resources: Resources,
    /// Whether the kernel killed it for memory since the last window.
    pub killed_for_memory: bool,
}

/// Requests and limits of a container; `None` where unset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// CPU request.
    pub cpu_request: Option<Cores>,
    /// CPU limit.
    pub cpu_limit: Option<Cores>,
    /// Memory request.
    pub memory_request: Option<Bytes>,
    /// Memory limit.
    pub memory_limit: Option<Bytes>,
}
