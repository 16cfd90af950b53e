//! Probes of containers, and the hooks of their lifecycle.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, ContainerPort, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::tls;

/// What a probe or hook does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Asks by HTTP and wants a status from 200 to 399.
    Http(HTTPGetAction),
    /// Wants a connection.
    Tcp {
        /// Other host than the pod.
        host: Option<String>,
        /// Port by number or name.
        port: IntOrString,
    },
    /// Asks the gRPC health service.
    Grpc {
        /// Port.
        port: i32,
        /// Name of the service asked about.
        service: String,
    },
    /// Waits.
    Sleep(Duration),
    /// Cannot be done here: there is no container to run a command in.
    Exec,
    /// Says nothing.
    None,
}

impl Action {
    /// What a probe does.
    pub fn of_probe(probe: &Probe) -> Self {
        if let Some(get) = &probe.http_get {
            return Self::Http(get.clone());
        }
        if let Some(socket) = &probe.tcp_socket {
            return Self::Tcp {
                host: socket.host.clone(),
                port: socket.port.clone(),
            };
        }
        if let Some(grpc) = &probe.grpc {
            return Self::Grpc {
                port: grpc.port,
                service: grpc.service.clone().unwrap_or_default(),
            };
        }
        if probe.exec.is_some() { Self::Exec } else { Self::None }
    }

    /// What a lifecycle hook does.
    pub fn of_hook(hook: &LifecycleHandler) -> Self {
        if let Some(get) = &hook.http_get {
            return Self::Http(get.clone());
        }
        if let Some(sleep) = &hook.sleep {
            return Self::Sleep(Duration::from_secs(sleep.seconds.max(0) as u64));
        }
        if hook.exec.is_some() { Self::Exec } else { Self::None }
    }

    /// Does it once against the container at this address.
    ///
    /// # Errors
    /// Says what was wrong, as `kubectl describe` shows it.
    pub async fn run(&self, address: IpAddr, container: &Container) -> Result<(), String> {
        match self {
            Self::Http(get) => http_get(get, address, container).await,
            Self::Tcp { host, port } => {
                let address = host.as_ref().and_then(|host| host.parse().ok()).unwrap_or(address);
                connect(address, number(port, container)?).await.map(drop)
            }
            Self::Grpc { port, service } => {
                let port = u16::try_from(*port).map_err(|_| format!("port {port} is not one"))?;
                grpc(SocketAddr::new(address, port), service).await
            }
            Self::Sleep(time) => {
                tokio::time::sleep(*time).await;
                Ok(())
            }
            Self::Exec | Self::None => Ok(()),
        }
    }
}

/// A port by number, or by its name among the container's ports.
fn number(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let named = |name: &str| -> Option<i32> {
        let mut ports = container.ports.iter().flatten();
        ports
            .find(|port: &&ContainerPort| port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
    };
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => name.parse().ok().or_else(|| named(name)),
    };
    let number = number.and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("{number} is not a port"),
        IntOrString::String(name) => format!("couldn't find port: \"{name}\" in container \"{}\"", container.name),
    })
}

async fn connect(address: IpAddr, port: u16) -> Result<TcpStream, String> {
    let connected = TcpStream::connect((address, port)).await;
    connected.map_err(|error| format!("dial tcp {address}:{port}: connect: {}", error.kind()))
}

async fn http_get(get: &HTTPGetAction, address: IpAddr, container: &Container) -> Result<(), String> {
    let address = get.host.as_ref().and_then(|host| host.parse().ok()).unwrap_or(address);
    let port = number(&get.port, container)?;
    let stream = connect(address, port).await?;
    let request = http_request(get, address, port)?;
    let status = if get.scheme.as_deref() == Some("HTTPS") {
        let stream = tls::connect_without_verification(address, stream)
            .await
            .map_err(|error| error.to_string())?;
        exchange(stream, request).await?
    } else {
        exchange(stream, request).await?
    };
    if status.as_u16() >= 400 || status.as_u16() < 200 {
        return Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()));
    }
    Ok(())
}

fn http_request(get: &HTTPGetAction, address: IpAddr, port: u16) -> Result<Request<Empty<Bytes>>, String> {
    let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut builder = Request::builder()
        .method(Method::GET)
        .uri(if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        })
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::CONNECTION, "close");
    let headers = get.http_headers.iter().flatten();
    let own_host = headers.clone().any(|header| header.name.eq_ignore_ascii_case("host"));
    if !own_host {
        builder = builder.header(header::HOST, format!("{address}:{port}"));
    }
    for header in headers {
        builder = builder.header(&header.name, &header.value);
    }
    builder.body(Empty::new()).map_err(|error| error.to_string())
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let _ = response.into_body().collect().await;
    Ok(status)
}

/// Asks grpc.health.v1.Health/Check; the answer must be SERVING.
async fn grpc(address: SocketAddr, service: &str) -> Result<(), String> {
    let stream = connect(address.ip(), address.port()).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::new(health_request(service)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    let status = body
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .cloned();
    if status.as_ref().is_none_or(|status| status != "0") {
        return Err(format!("service unhealthy (grpc-status {status:?})"));
    }
    // Field 1 of the message is the status, 1 is SERVING.
    if body.to_bytes().get(5..7) == Some(&[0x08, 0x01]) {
        Ok(())
    } else {
        Err("service unhealthy (responded with NOT_SERVING)".into())
    }
}

/// A gRPC frame with the message HealthCheckRequest: field 1 is the name.
fn health_request(service: &str) -> Bytes {
    let name = &service.as_bytes()[..service.len().min(120)];
    let message = if name.is_empty() {
        Vec::new()
    } else {
        [&[0x0a, name.len() as u8], name].concat()
    };
    Bytes::from([&[0, 0, 0, 0, message.len() as u8], message.as_slice()].concat())
}

/// Times and thresholds of a probe, with the defaults of Kubernetes.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// What is done.
    pub action: Action,
    /// Wait before the first time.
    pub initial_delay: Duration,
    /// Time between two.
    pub period: Duration,
    /// When one counts as failed.
    pub timeout: Duration,
    /// Failures in a row that count.
    pub failures: u32,
    /// Successes in a row that count.
    pub successes: u32,
}

impl Schedule {
    /// The schedule of a probe.
    pub fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.filter(|value| *value > 0).map_or(default, |value| value as u64))
        };
        let count =
            |value: Option<i32>, default: u32| value.filter(|value| *value > 0).map_or(default, |value| value as u32);
        Self {
            action: Action::of_probe(probe),
            initial_delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: count(probe.failure_threshold, 3),
            successes: count(probe.success_threshold, 1),
        }
    }

    /// Does it once, within its timeout.
    ///
    /// # Errors
    /// Says what was wrong.
    pub async fn once(&self, address: IpAddr, container: &Arc<Container>) -> Result<(), String> {
        match tokio::time::timeout(self.timeout, self.action.run(address, container)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} s", self.timeout.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    fn probe(json: serde_json::Value) -> Schedule {
        Schedule::of(&serde_json::from_value(json).unwrap())
    }

    fn container(port: u16) -> Arc<Container> {
        let json = json!({"name": "app", "ports": [{"name": "http", "containerPort": port}]});
        Arc::new(serde_json::from_value(json).unwrap())
    }

    #[tokio::test]
    async fn http_probes_judge_by_status_and_find_ports_by_name() {
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        let good = container(answering("HTTP/1.1 204 No Content\r\n\r\n").await);
        let bad = container(answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await);
        let get = probe(json!({"httpGet": {"port": "http", "path": "/healthz"}}));
        assert_eq!(get.once(address, &good).await, Ok(()));
        assert!(get.once(address, &bad).await.unwrap_err().contains("statuscode: 503"));
        let unknown = probe(json!({"httpGet": {"port": "grpc"}}));
        assert!(unknown.once(address, &good).await.unwrap_err().contains("grpc"));
        let socket = probe(json!({"tcpSocket": {"port": "http"}}));
        assert_eq!(socket.once(address, &good).await, Ok(()));
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let schedule = probe(json!({"tcpSocket": {"port": 80}, "failureThreshold": 0}));
        assert_eq!(schedule.period, Duration::from_secs(10));
        assert_eq!((schedule.failures, schedule.successes), (3, 1));
    }
}
