//! The playground: a Kubernetes control plane and kubelet in one process.

pub mod application;
