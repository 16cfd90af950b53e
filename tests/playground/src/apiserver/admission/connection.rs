//! HTTPS to webhooks: finding the address, checking the certificate, and keeping HTTP/2 connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::apiserver::api::Api;
use crate::apiserver::object;
use crate::apiserver::store::{ObjectKey, ResourceKey, Stored};

/// As much as is read of an answer.
const ANSWER_LIMIT_BYTES: usize = 3 * 1024 * 1024;

type Sender = http2::SendRequest<Full<Bytes>>;

/// Open HTTP/2 connections by what they lead to.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<Destination, Sender>>);

/// Where a webhook is, and by what it proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    address: String,
    server_name: String,
    path: String,
    authority: String,
}

impl Destination {
    /// From `clientConfig`.
    pub(super) fn of(api: &Api, client: &Value) -> Result<Self, String> {
        let authority = client["caBundle"].as_str().unwrap_or_default().to_owned();
        if let Some(url) = client["url"].as_str() {
            let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
            let host = uri
                .host()
                .ok_or_else(|| format!("{url} names no host"))?
                .trim_matches(['[', ']'])
                .to_owned();
            let address = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
            return Ok(Self {
                address,
                server_name: host,
                path: uri.path().to_owned(),
                authority,
            });
        }
        let service = &client["service"];
        let text = |field: &str| service[field].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let port = service["port"].as_i64().unwrap_or(443);
        Ok(Self {
            address: endpoint(api, namespace, name, port)?.to_string(),
            server_name: format!("{name}.{namespace}.svc"),
            path: if text("path").is_empty() {
                "/".into()
            } else {
                text("path").to_owned()
            },
            authority,
        })
    }
}

/// A ready endpoint of a Service.
fn endpoint(api: &Api, namespace: &str, name: &str, port: i64) -> Result<SocketAddr, String> {
    let key = ObjectKey::new(namespace, name);
    let service = api
        .store
        .get(&api.core("services"), &key)
        .ok_or_else(|| format!("service \"{name}\" not found"))?;
    let ports = service.value["spec"]["ports"].as_array().into_iter().flatten();
    let found = ports.into_iter().find(|known| known["port"].as_i64() == Some(port));
    let found = found.ok_or_else(|| format!("service \"{name}\" has no port {port}"))?;
    let port_name = found["name"].as_str().unwrap_or_default();
    let candidates = addresses(api, &key, port_name);
    let none = || format!("no endpoints available for service \"{name}\"");
    if candidates.is_empty() {
        return Err(none());
    }
    candidates
        .get(rand::random_range(0..candidates.len()))
        .copied()
        .ok_or_else(none)
}

fn addresses(api: &Api, service: &ObjectKey, port_name: &str) -> Vec<SocketAddr> {
    let socket = |ip: &Value, port: &Value| {
        let port = u16::try_from(port.as_u64()?).ok()?;
        Some(SocketAddr::new(ip.as_str()?.parse().ok()?, port))
    };
    let named = |port: &&Value| port["name"].as_str().unwrap_or_default() == port_name;
    let mut found = Vec::new();
    if let Some(endpoints) = api.store.get(&api.core("endpoints"), service) {
        for subset in endpoints.value["subsets"].as_array().into_iter().flatten() {
            let Some(port) = subset["ports"].as_array().into_iter().flatten().find(named) else {
                continue;
            };
            let addresses = subset["addresses"].as_array().into_iter().flatten();
            found.extend(addresses.filter_map(|address| socket(&address["ip"], &port["port"])));
        }
    }
    if !found.is_empty() {
        return found;
    }
    let slices = ResourceKey::new("discovery.k8s.io", "endpointslices");
    let (slices, _) = api.store.list(&slices, Some(&service.namespace));
    let belongs = |slice: &&Arc<Stored>| {
        slice.value["metadata"]["labels"]["kubernetes.io/service-name"].as_str() == Some(&service.name)
    };
    for slice in slices.iter().filter(belongs) {
        let Some(port) = slice.value["ports"].as_array().into_iter().flatten().find(named) else {
            continue;
        };
        let endpoints = slice.value["endpoints"].as_array().into_iter().flatten();
        for endpoint in endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false) {
            let ips = object::strings(&endpoint["addresses"]);
            found.extend(ips.into_iter().filter_map(|ip| socket(&ip.into(), &port["port"])));
        }
    }
    found
}

/// Posts a review and reads the answer, all within `timeout`.
pub(super) async fn post(
    api: &Api,
    destination: &Destination,
    body: Bytes,
    timeout: Duration,
) -> Result<Bytes, String> {
    let url = format!(
        "Post \"https://{}{}?timeout={}s\"",
        destination.server_name,
        destination.path,
        timeout.as_secs()
    );
    match tokio::time::timeout(timeout, send(&api.admission.connections, destination, body, timeout)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("failed to call webhook: {url}: {error}")),
        Err(_) => {
            // Whoever does not answer in time may never do so on this connection.
            api.admission.connections.0.lock().remove(destination);
            Err(format!("failed to call webhook: {url}: context deadline exceeded"))
        }
    }
}

async fn send(pool: &Pool, to: &Destination, body: Bytes, timeout: Duration) -> Result<Bytes, String> {
    let open = pool.0.lock().get(to).filter(|sender| !sender.is_closed()).cloned();
    if let Some(mut sender) = open {
        // A connection that died in between is replaced; a request that got as far as the webhook is not repeated.
        if sender.ready().await.is_ok() {
            return finish(sender.send_request(request(to, body, timeout)?).await).await;
        }
    }
    let stream = connect(to).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        pool.0.lock().insert(to.clone(), sender.clone());
        return finish(sender.send_request(request(to, body, timeout)?).await).await;
    }
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    finish(sender.send_request(request(to, body, timeout)?).await).await
}

fn request(to: &Destination, body: Bytes, timeout: Duration) -> Result<Request<Full<Bytes>>, String> {
    let uri = format!("https://{}{}?timeout={}s", to.server_name, to.path, timeout.as_secs());
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(header::HOST, &to.server_name)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(body))
        .map_err(|error| error.to_string())
}

async fn finish(answer: Result<http::Response<hyper::body::Incoming>, hyper::Error>) -> Result<Bytes, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let reason = status.canonical_reason().unwrap_or_default();
    Err(format!(
        "the server responded with {} {reason}: {}",
        status.as_u16(),
        String::from_utf8_lossy(&body)
    ))
}

async fn connect(to: &Destination) -> Result<TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(&to.address)
        .await
        .map_err(|error| format!("dial tcp {}: {error}", to.address))?;
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(to.server_name.clone()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(tls(&to.authority)?));
    connector
        .connect(name, stream)
        .await
        .map_err(|error| format!("tls: {error}"))
}

/// Trusts the bundle and nothing else.
fn tls(bundle: &str) -> Result<rustls::ClientConfig, String> {
    let pem = BASE64
        .decode(bundle)
        .map_err(|error| format!("caBundle is not base64: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("caBundle is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("caBundle: {error}"))?;
    }
    if roots.is_empty() {
        return Err("tls: failed to verify certificate: x509: certificate signed by unknown authority".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
