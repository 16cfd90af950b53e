//! What the API server holds of the Deployment.

/// Requests and limits of the application's container.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// CPU request in cores.
    pub cpu_request: f64,
    /// CPU limit in cores; infinite without one.
    pub cpu_limit: f64,
    /// Memory request in bytes.
    pub memory_request: u64,
    /// Memory limit in bytes.
    pub memory_limit: u64,
}

/// How a change of the size reaches running pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vertical {
    /// Every pod is replaced: a rolling update with the default surge of 25%.
    Rollout,
    /// Running pods are resized where they are.
    InPlace,
}

/// The Deployment's specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deployment {
    /// Replicas asked for.
    pub replicas: u32,
    /// Size of new pods.
    pub size: Size,
    /// Changes with everything that makes pods be replaced.
    pub revision: u32,
    /// Version of the code: changes with a deploy.
    pub version: u32,
    /// CPU time of the current code, as a multiple.
    pub demand_scale: f64,
}

impl Deployment {
    /// Pods that may exist beyond the replicas during a rollout: 25%, rounded up.
    pub fn surge(&self) -> u32 {
        self.replicas.div_ceil(4)
    }

    /// Pods that may be missing during a rollout: 25%, rounded down.
    pub fn unavailable(&self) -> u32 {
        self.replicas / 4
    }
}
