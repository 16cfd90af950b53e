//! The playground: a Kubernetes control plane and kubelet in one process, for the demo and the tests of Valence.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use std::time::Duration;
//! use valence_playground::{Options, Playground};
//!
//! let playground = Playground::start(Options::from_environment()?).await?;
//! println!("KUBECONFIG={}", playground.kubeconfig().display());
//! playground.apply(include_str!("demo/application.yaml")).await?;
//! playground.deployment_settled("shop", "web", Duration::from_secs(60)).await?;
//! playground.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! `README.md` of this crate says where it departs from Kubernetes.

pub mod apiserver;
pub mod application;
mod apply;
pub mod controllers;
pub mod demo;
mod hooks;
pub mod kubelet;
pub mod load;
mod options;
mod playground;
pub mod raw;
pub mod sample;
mod tasks;
pub mod tools;
mod wait;

pub use apply::parse;
pub use options::Options;
pub use playground::Playground;
pub use tasks::Tasks;
pub use wait::{WaitError, until};
