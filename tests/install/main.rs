//! What users install: manifests, alerts, dashboards and commands, checked without a network of any kind.
#![allow(clippy::unwrap_used)]

mod alerts;
mod dashboards;
mod helm;
mod image;
mod live;
mod manifests;
mod prometheus;
mod release;
mod schema;
mod tools;
