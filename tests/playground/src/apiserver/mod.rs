//! A Kubernetes API server in this process: HTTPS, discovery, OpenAPI, storage in memory, patches, watches,
//! custom resources and admission webhooks, as stock `kubectl` and kube-rs use them.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use valence_playground::apiserver::{Options, Server, User};
//!
//! let server = Server::start(Options::in_directory("/tmp/playground")).await?;
//! println!("KUBECONFIG={}", server.kubeconfig().display());
//! let client = server.client(&User::service_account("kube-system", "deployment-controller"))?;
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is persisted. Controllers of workloads and the kubelet are not in here: they talk to it with a client, like
//! anybody else. What the server does by itself is what a cluster cannot be without: garbage collection by owner,
//! termination of namespaces, the default ServiceAccount of a namespace, establishment of custom resources, and
//! admission by LimitRange and ResourceQuota.
//!
//! `README.md` in this folder lists where it departs from Kubernetes.

mod admission;
mod api;
mod authorisation;
mod background;
mod builtin;
mod certificates;
mod convert;
mod crd;
mod discovery;
mod faults;
mod hooks;
mod http;
mod identity;
mod jsonpath;
mod listener;
mod managed;
mod object;
mod openapi;
mod patch;
mod pipeline;
mod quantity;
mod registry;
mod schema;
mod server;
mod status;
mod store;
mod table;
mod verbs;

pub use authorisation::Asked;
pub use faults::{Faults, Refusal};
pub use hooks::{ContainerLogs, ContainerUsage, LogRequest, NodeUsage, PodUsage, ResourceUsage};
pub use identity::User;
pub use server::{Options, Server};
