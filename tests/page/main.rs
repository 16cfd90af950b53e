//! The read-only page, over HTTP and in a browser.
#![allow(clippy::unwrap_used)]

mod browser;
mod sample;
mod views;
