//! The kubelet.
pub mod environment;
pub mod image;
pub mod instance;
pub mod logs;
pub mod network;
pub mod process;
pub mod quantity;
