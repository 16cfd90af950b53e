//! The bootstrap document that is passed by `--config-yaml`.

use serde_json::{Value, json};

use super::listeners::{http1, http2, listeners};
use super::stats::{CLUSTER, stats_config};

/// The administration interface listens on an abstract socket of this prefix, then the pod's uid: it has no address
/// on the network and no file, lives in the network namespace of the pod, and does not clash where pods share one.
pub const ADMIN_SOCKET_PREFIX: &str = "valence/";

pub(super) const ADMIN_CLUSTER: &str = "admin";

const HTTP_OPTIONS_NAME: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const HTTP_OPTIONS: &str = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// A number of connections or requests that is never reached: limits are the application's own business.
const UNLIMITED: u32 = 1_000_000_000;

/// What differs from one pod to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Port of the application.
    pub application_port: u16,
    /// Response times of the objectives, in seconds: edges of the histogram.
    pub objectives_seconds: Vec<f64>,
    /// Whether to listen on every address of the pod, for Services of two IP families, or on `$(POD_IP)` alone.
    pub all_families: bool,
}

impl Proxy {
    pub(super) fn listen_address(&self) -> &'static str {
        if self.all_families { "::" } else { "$(POD_IP)" }
    }
}

/// The bootstrap of one sidecar. `$(POD_IP)` and `$(POD_UID)` in it are filled in by the kubelet from the container's
/// environment.
#[must_use]
pub fn bootstrap(proxy: &Proxy) -> Value {
    json!({
        "admin": {"address": admin_address()},
        // A scrape sees what was merged at the last flush: a second is close enough to now.
        "stats_flush_interval": "1s",
        "stats_config": stats_config(&proxy.objectives_seconds),
        "static_resources": {
            "listeners": listeners(proxy),
            "clusters": [application(proxy), admin()],
        },
    })
}

fn admin_address() -> Value {
    json!({"pipe": {"path": format!("@{ADMIN_SOCKET_PREFIX}$(POD_UID)")}})
}

fn admin() -> Value {
    cluster(ADMIN_CLUSTER, admin_address())
}

fn application(proxy: &Proxy) -> Value {
    let address = json!({"socket_address": {"address": "$(POD_IP)", "port_value": proxy.application_port}});
    let mut cluster = cluster(CLUSTER, address);
    cluster["circuit_breakers"] = json!({"thresholds": [{
        "max_connections": UNLIMITED,
        "max_pending_requests": UNLIMITED,
        "max_requests": UNLIMITED,
        "max_retries": UNLIMITED,
    }]});
    cluster["typed_extension_protocol_options"] = json!({HTTP_OPTIONS_NAME: protocol_options()});
    cluster
}

/// The application is spoken to in the protocol that the client chose: HTTP/1.1 or HTTP/2 without TLS (gRPC).
///
/// An idle connection is given up after a second, before the application does (2 s in gunicorn, 5 s in Node), so that
/// no request is sent into a connection that the other side is closing.
fn protocol_options() -> Value {
    json!({
        "@type": HTTP_OPTIONS,
        "common_http_protocol_options": {
            "idle_timeout": "1s",
            "max_headers_count": 1000,
            "max_response_headers_kb": 1024,
        },
        "use_downstream_protocol_config": {
            "http_protocol_options": http1(),
            "http2_protocol_options": http2(),
        },
    })
}

fn cluster(name: &str, address: Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    })
}
