//! Accepting connections, TLS, and HTTP on them.

use std::sync::Arc;

use http::{Request as HttpRequest, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::certificates::user_of;
use super::http::{Request, Response, answer, response};
use super::identity::User;
use super::status::ApiError;

/// As much as kube-apiserver reads of one request.
const BODY_LIMIT_BYTES: usize = 3 * 1024 * 1024;

/// Serves until `stop`.
pub(super) async fn serve(socket: TcpListener, tls: Arc<rustls::ServerConfig>, api: Arc<Api>, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) if api.faults.refuses_connections() => drop(stream),
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, acceptor.clone(), api.clone(), stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, api: Arc<Api>, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(user_of);
    let cut = api.faults.cut_connections();
    let service = hyper::service::service_fn(move |request| {
        let (api, certificate) = (api.clone(), certificate.clone());
        async move { Ok::<_, std::convert::Infallible>(handle(api, certificate, request).await) }
    });
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        ended = connection => if let Err(error) = ended { tracing::debug!(%error, "connection ended") },
        () = stop.cancelled() => {}
        () = cut.cancelled() => {}
    }
}

async fn handle(api: Arc<Api>, certificate: Option<User>, request: HttpRequest<Incoming>) -> Response {
    let (parts, body) = request.into_parts();
    let user = match bearer(&parts.headers) {
        Some(token) => match api.tokens.user(token) {
            Some(user) => user,
            None => return response::failure(&ApiError::new(401, "Unauthorized", "Unauthorized")),
        },
        None => certificate.unwrap_or_else(User::anonymous),
    };
    let body = match Limited::new(body, BODY_LIMIT_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {BODY_LIMIT_BYTES}");
            return response::failure(&ApiError::new(413, "RequestEntityTooLarge", message));
        }
        Err(error) => return response::failure(&ApiError::bad_request(error.to_string())),
    };
    let request = Request::new(parts, body, user);
    if let Some(answer) = api.faults.before(&request).await {
        return answer;
    }
    let mut answer = answer(&api, &request).await;
    response::attach_warnings(&request, &mut answer);
    tracing::debug!(method = %request.method, path = request.path, user = request.user.name, status = %answer.status());
    answer
}

fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}
