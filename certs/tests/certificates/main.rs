//! Black-box tests of the certificates: real handshakes against a Kubernetes API in memory.

#![allow(clippy::unwrap_used)]

mod follow;
mod rotation;
mod support;
