//! What the server asks of the nodes: usage for metrics.k8s.io, and logs.

use std::time::Duration;

use jiff::Timestamp;

/// Usage of one container, over the window of its [`PodUsage`].
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerUsage {
    /// Name of the container.
    pub name: String,
    /// CPU used, in cores.
    pub cpu_cores: f64,
    /// Working set, in bytes.
    pub memory_bytes: u64,
}

/// Usage of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodUsage {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// End of the window that the usage was measured over.
    pub timestamp: Timestamp,
    /// Length of that window.
    pub window: Duration,
    /// Usage of each container.
    pub containers: Vec<ContainerUsage>,
}

/// Usage of one node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeUsage {
    /// Name of the node.
    pub name: String,
    /// End of the window that the usage was measured over.
    pub timestamp: Timestamp,
    /// Length of that window.
    pub window: Duration,
    /// CPU used, in cores.
    pub cpu_cores: f64,
    /// Working set, in bytes.
    pub memory_bytes: u64,
}

/// Source of what `metrics.k8s.io` serves. Labels of pods and nodes are joined by the server.
pub trait ResourceUsage: Send + Sync + 'static {
    /// Usage of the pods that have been measured; others are absent from `metrics.k8s.io`.
    fn pods(&self) -> Vec<PodUsage>;

    /// Usage of the nodes.
    fn nodes(&self) -> Vec<NodeUsage>;
}

/// Which log is asked for by `kubectl logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container; the server fills in the default one.
    pub container: String,
    /// Only this many lines from the end.
    pub tail_lines: Option<usize>,
    /// The log of the container's previous instance.
    pub previous: bool,
}

/// Source of container logs.
pub trait ContainerLogs: Send + Sync + 'static {
    /// The log as it stands, or `None` when there is none.
    fn log(&self, request: &LogRequest) -> Option<String>;
}
