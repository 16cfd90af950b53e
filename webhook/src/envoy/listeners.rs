//! The two listeners: traffic to the application, and metrics.

use serde_json::{Value, json};

use super::bootstrap::{ADMIN_CLUSTER, Proxy};
use super::stats::CLUSTER;
use crate::plans::names;

const CONNECTION_MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
const GRPC_STATISTICS: &str = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig";
const PRESERVE_CASE: &str =
    "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";

/// Most bytes of headers that pass, in KiB: what the most generous servers take by default.
const HEADERS_KIB: u32 = 1024;
/// Most headers that pass.
const HEADERS: u32 = 1000;

/// HTTP/1.1 as the application would see it without us: old clients, trailers and the case of header names included.
pub(super) fn http1() -> Value {
    json!({
        "accept_http_10": true,
        "enable_trailers": true,
        "header_key_format": {
            "stateful_formatter": {"name": "preserve_case", "typed_config": {"@type": PRESERVE_CASE}}
        },
    })
}

/// HTTP/2 with windows that keep a slow stream's memory bounded.
pub(super) fn http2() -> Value {
    json!({
        "allow_connect": true,
        "initial_stream_window_size": 1_048_576,
        "initial_connection_window_size": 4_194_304,
    })
}

/// What clients may speak: HTTP/1.0 without a Host too, which HTTP/1.1 would refuse on the way on.
fn client_http1() -> Value {
    let mut options = http1();
    options["default_host_for_http_10"] = json!("localhost");
    options
}

pub(super) fn listeners(proxy: &Proxy) -> Value {
    json!([
        listener(proxy, "traffic", names::TRAFFIC_PORT, traffic()),
        listener(proxy, "metrics", names::METRICS_PORT, metrics()),
    ])
}

fn listener(proxy: &Proxy, name: &str, port: i32, connection_manager: Value) -> Value {
    let mut address = json!({"address": proxy.listen_address(), "port_value": port});
    if proxy.all_families {
        address["ipv4_compat"] = Value::Bool(true);
    }
    json!({
        "name": name,
        "address": {"socket_address": address},
        "filter_chains": [{
            "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connection_manager}]
        }],
    })
}

/// Passes requests as they came: no header is added, removed or rewritten where Envoy can be told not to.
fn traffic() -> Value {
    json!({
        "@type": CONNECTION_MANAGER,
        "stat_prefix": CLUSTER,
        "codec_type": "AUTO",
        "http_protocol_options": client_http1(),
        "http2_protocol_options": http2(),
        "common_http_protocol_options": {"max_headers_count": HEADERS},
        "max_request_headers_kb": HEADERS_KIB,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": false,
        "preserve_external_request_id": true,
        "use_remote_address": false,
        "skip_xff_append": true,
        "proxy_100_continue": true,
        "normalize_path": false,
        "merge_slashes": false,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": "0s",
        "request_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            {
                "name": "envoy.filters.http.grpc_stats",
                "typed_config": {"@type": GRPC_STATISTICS, "stats_for_all_methods": false},
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": ROUTER, "suppress_envoy_headers": true},
            },
        ],
        "route_config": {
            "name": CLUSTER,
            "virtual_hosts": [{"name": CLUSTER, "domains": ["*"], "routes": [everything_to_the_application()]}],
        },
    })
}

/// Retries only what the application cannot have seen.
fn everything_to_the_application() -> Value {
    json!({
        "match": {"prefix": "/"},
        "route": {
            "cluster": CLUSTER,
            "timeout": "0s",
            "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2},
        },
    })
}

/// `GET /stats/prometheus` and nothing else of the administration interface.
fn metrics() -> Value {
    json!({
        "@type": CONNECTION_MANAGER,
        "stat_prefix": "metrics",
        "codec_type": "AUTO",
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": false,
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": ROUTER, "suppress_envoy_headers": true},
        }],
        "route_config": {
            "name": "metrics",
            "virtual_hosts": [{
                "name": "metrics",
                "domains": ["*"],
                "routes": [
                    {
                        "match": {
                            "path": "/stats/prometheus",
                            "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
                        },
                        "route": {"cluster": ADMIN_CLUSTER, "timeout": "10s"},
                    },
                    {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
                ],
            }],
        },
    })
}
