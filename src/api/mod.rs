//! The custom resources of Valence: `optimizer.valence.io/v1alpha1`.
//!
//! A [`ServiceLevelObjective`] is what a user writes; a [`Recommendation`] is what Valence answers, one for each
//! Deployment. Their schemas refuse at the API server what they can; what only a program can see is refused by the
//! conversion to [`crate::core::objective::Objective`], with an error that names the field.

pub mod conditions;
pub mod definitions;
pub mod duration;
pub mod objective;
pub mod quantity;
pub mod recommendation;
pub mod selector;

pub use conditions::Condition;
pub use duration::GoDuration;
pub use objective::{ServiceLevelObjective, ServiceLevelObjectiveSpec, ServiceLevelObjectiveStatus};
pub use recommendation::{Recommendation, RecommendationSpec, RecommendationStatus};
pub use selector::Selector;

/// API group of the custom resources.
pub const GROUP: &str = "optimizer.valence.io";

/// Version of the custom resources.
pub const VERSION: &str = "v1alpha1";
