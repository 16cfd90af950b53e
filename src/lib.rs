//! Valence: declares how fast a service must be and makes it so at the least cost.

pub mod api;
pub mod cache;
mod causes;
pub mod cli;
mod clock;
mod concurrently;
pub mod core;
pub mod recommender;
pub mod report;
pub mod scrape;
