//! The admission webhook of Valence.
//!
//! It answers from memory: what it needs to know of the cluster and of the recommender it asks through [`Plans`]. An
//! object that it does not understand is admitted as it came.

pub mod admission;
mod alike;
pub mod amounts;
pub mod annotations;
mod asking;
mod blocks;
mod body;
mod deployment;
pub mod envoy;
mod exchange;
mod headroom;
mod hpa;
mod injection;
pub mod limits;
pub mod metrics;
pub mod notices;
pub mod offline;
mod outcome;
mod patch;
mod pending;
mod places;
pub mod plans;
mod pod;
mod policies;
mod protocol;
pub mod quantity;
mod reader;
mod recall;
mod record;
mod replicas;
mod review;
mod rollout;
mod scale;
mod server;
mod service;
mod services;
mod settings;
mod view;
mod workload;

pub use admission::{Admission, Answer, Endpoint};
pub use body::MOST_BODY_BYTES;
pub use headroom::{Amount, Rollout};
pub use metrics::Metrics;
pub use notices::{Notice, Notices};
pub use outcome::{Outcome, Unseen};
pub use patch::{Content, ListOf, Patch, Prepared};
pub use pending::Pending;
pub use places::{Bounds, Load, Place, Places};
pub use plans::{ContainerResources, LatencyObjective, ObjectiveSource, Plan, Plans, names};
pub use pod::Prospect;
pub use reader::MOST_ELEMENTS;
pub use review::ReviewError;
pub use rollout::{is_rolling_out, rollout_of};
pub use server::{BOUNDS, STREAMS, serve, serve_with, serve_within};
pub use settings::{SIDECAR_IMAGE, Settings};
