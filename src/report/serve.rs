//! Plain HTTP for whoever can reach a port, bounded: nobody can use up the memory that admission needs.

use std::io;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};
use valence_webhook::{Bounds, Place, Places};

/// Connections of one caller (a browser opens six, Prometheus and the kubelet one each) and in all. Nothing is kept of
/// their requests but the head.
pub const BOUNDS: Bounds = Bounds {
    connections_each: 16,
    connections: 256,
    bytes: 0,
};

/// Longest silence before the head of a request is complete.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest life of a connection; an honest caller opens another one.
const LIFE: Duration = Duration::from_secs(300);

/// Serves until told to stop; requests under way are answered first. A new connection always finds a place, be it that of
/// another: the kubelet's probes have to get through whoever else holds what there is.
///
/// # Errors
/// None at present: a connection that cannot be accepted is logged.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let (places, connections) = (Places::new(BOUNDS), TaskTracker::new());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, caller) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (place, router, stop) = (places.take(caller.ip()), router.clone(), stop.clone());
        connections.spawn(async move { connection(stream, &place, router, stop).await });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn connection(stream: TcpStream, place: &Place, router: Router, stop: CancellationToken) {
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.lost() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    // What is under way is answered, if it is still wanted.
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(PATIENCE, connection).await.is_err() {
        debug!("a connection did not end");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn answer(stream: &mut TcpStream) -> String {
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        if stream.write_all(request).await.is_err() {
            return String::new();
        }
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    async fn connect(own: &str, address: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn whoever_holds_all_connections_keeps_nobody_else_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = tokio::spawn(serve(listener, router, stop.clone()));
        let mut idle = Vec::new();
        for caller in 0..BOUNDS.connections / BOUNDS.connections_each {
            for _ in 0..BOUNDS.connections_each {
                idle.push(connect(&format!("127.0.1.{caller}"), address).await);
            }
        }
        for caller in ["127.0.0.2", "127.0.0.3", "127.0.1.0", "127.0.0.2"] {
            assert!(
                answer(&mut connect(caller, address).await).await.ends_with("here"),
                "{caller}"
            );
        }
        // Idle connections do not hold up the end either.
        stop.cancel();
        serving.await.unwrap().unwrap();
        drop(idle);
    }
}
