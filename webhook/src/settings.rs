//! What an administrator chooses for admission as a whole.

use crate::plans::ContainerResources;

/// The image that sidecars run.
pub const SIDECAR_IMAGE: &str = "envoyproxy/envoy:v1.38.3";

/// What an administrator chooses for admission as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Image of the sidecar.
    pub sidecar_image: String,
    /// User that the sidecar runs as; the image's own is 101.
    pub sidecar_user: i64,
    /// Requests and limits of a sidecar until its own usage is known.
    pub sidecar_resources: ContainerResources,
    /// Worker threads of a sidecar; `None` gives one for each core that it requests.
    pub sidecar_concurrency: Option<u32>,
    /// Least severe messages that a sidecar logs: `trace`, `debug`, `info`, `warning`, `error`, `critical` or `off`.
    pub sidecar_log_level: String,
    /// Whether the sidecar is a native one (an init container that restarts). Kubernetes runs those from 1.29 on, and
    /// Services find their named ports from 1.33 on.
    pub native_sidecars: bool,
    /// Seconds that a stopping sidecar keeps serving, so that the news reaches those who send to it.
    pub drain_seconds: u32,
    /// Whether the kubelet may lower a memory limit without a restart (Kubernetes 1.34 and later).
    pub memory_limits_shrink_in_place: bool,
    /// Longest time that a pod waits for its Deployment to be seen by the watch, in milliseconds.
    pub owner_wait_milliseconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sidecar_image: SIDECAR_IMAGE.to_owned(),
            sidecar_user: 101,
            sidecar_resources: ContainerResources {
                cpu_request_millicores: Some(50),
                cpu_limit_millicores: None,
                memory_request_bytes: Some(64 << 20),
                memory_limit_bytes: Some(192 << 20),
                memory_in_use_bytes: None,
            },
            sidecar_concurrency: None,
            sidecar_log_level: "warning".to_owned(),
            native_sidecars: true,
            drain_seconds: 5,
            memory_limits_shrink_in_place: true,
            owner_wait_milliseconds: 250,
        }
    }
}
