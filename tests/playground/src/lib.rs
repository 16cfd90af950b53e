//! The playground: a Kubernetes control plane and kubelet in one process.

pub mod apiserver;
pub mod application;
pub mod controllers;
pub mod kubelet;
pub mod load;
pub mod sample;
mod tasks;

pub use tasks::Tasks;
