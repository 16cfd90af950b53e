//! What a port speaks, as far as its declaration tells.

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, HTTP/2 without TLS, gRPC: Envoy tells them apart by itself.
    Http,
    /// Anything else: left alone.
    Other,
}

/// Protocols by `appProtocol` of a Service's port, without regard to case.
#[must_use]
pub fn by_app_protocol(name: &str) -> Option<Protocol> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "http" | "http/1.1" | "http1" | "http2" | "h2c" | "grpc" | "grpc-web" | "ws" | "kubernetes.io/h2c"
        | "kubernetes.io/ws" => Some(Protocol::Http),
        "https" | "tls" | "wss" | "kubernetes.io/wss" => Some(Protocol::Other),
        // A name of somebody's own domain says nothing to us.
        name if name.contains('/') => None,
        _ => Some(Protocol::Other),
    }
}

/// Protocols by the name of a port: the protocol itself, or the protocol and a dash.
#[must_use]
pub fn by_port_name(name: &str) -> Option<Protocol> {
    const HTTP: [&str; 8] = ["http", "http1", "http2", "h2c", "grpc", "grpc-web", "ws", "web"];
    const OTHER: [&str; 34] = [
        "https",
        "tls",
        "tcp",
        "udp",
        "sctp",
        "ssh",
        "smtp",
        "smtps",
        "imap",
        "pop3",
        "ftp",
        "dns",
        "ldap",
        "ldaps",
        "mysql",
        "postgres",
        "postgresql",
        "pgsql",
        "redis",
        "mongo",
        "mongodb",
        "memcached",
        "memcache",
        "cassandra",
        "cql",
        "kafka",
        "amqp",
        "amqps",
        "mqtt",
        "mqtts",
        "nats",
        "zookeeper",
        "mssql",
        "oracle",
    ];
    let is = |protocol: &&str| {
        name.strip_prefix(protocol)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if HTTP.iter().any(&is) {
        Some(Protocol::Http)
    } else if OTHER.iter().any(is) {
        Some(Protocol::Other)
    } else {
        None
    }
}

/// Protocols by the value of our annotation.
#[must_use]
pub fn by_annotation(value: &str) -> Option<Protocol> {
    match value {
        "http" | "http1" | "http2" | "h2c" | "grpc" => Some(Protocol::Http),
        "tcp" | "tls" | "https" => Some(Protocol::Other),
        _ => None,
    }
}

/// Numbers under which something else than HTTP without TLS is usual.
#[must_use]
pub fn is_well_known_other(port: i64) -> bool {
    const PORTS: [i64; 49] = [
        21, 22, 23, 25, 53, 110, 111, 143, 389, 443, 445, 465, 514, 587, 636, 853, 989, 990, 993, 995, 1433, 1521,
        1883, 2181, 2379, 2380, 3306, 3389, 4222, 5432, 5433, 5671, 5672, 6379, 6380, 6443, 8443, 8883, 9042, 9092,
        9094, 9300, 11211, 26257, 26379, 27017, 27018, 27019, 61616,
    ];
    PORTS.contains(&port)
}

/// Numbers under which HTTP without TLS is usual.
#[must_use]
pub fn is_well_known_http(port: i64) -> bool {
    const PORTS: [i64; 8] = [80, 3000, 4000, 5000, 8000, 8008, 8888, 9000];
    PORTS.contains(&port) || (8080..8090).contains(&port)
}

/// Names of ports that serve the operators of an application rather than its users.
#[must_use]
pub fn is_auxiliary(name: &str) -> bool {
    const PARTS: [&str; 11] = [
        "metric", "prom", "admin", "health", "probe", "debug", "manage", "monitor", "pprof", "status", "actuator",
    ];
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_protocols() {
        for name in ["http", "http-web", "grpc", "grpc-web", "h2c", "http2-api"] {
            assert_eq!(by_port_name(name), Some(Protocol::Http), "{name}");
        }
        for name in ["https", "tcp-main", "mysql", "redis-cluster", "mongo"] {
            assert_eq!(by_port_name(name), Some(Protocol::Other), "{name}");
        }
        for name in ["api", "httpd", "serve", "webhook", "main"] {
            assert_eq!(by_port_name(name), None, "{name}");
        }
        assert_eq!(by_app_protocol("HTTP"), Some(Protocol::Http));
        assert_eq!(by_app_protocol("kubernetes.io/h2c"), Some(Protocol::Http));
        assert_eq!(by_app_protocol("kubernetes.io/wss"), Some(Protocol::Other));
        assert_eq!(by_app_protocol("redis"), Some(Protocol::Other));
        assert_eq!(by_app_protocol("example.com/own"), None);
        assert!(is_well_known_other(3306) && !is_well_known_other(8080));
        assert!(is_auxiliary("http-metrics") && is_auxiliary("prometheus") && !is_auxiliary("http"));
    }
}
