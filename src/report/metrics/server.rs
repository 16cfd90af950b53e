//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::Metrics;

/// What is missing before this replica can serve admission; empty when nothing is.
pub type Readiness = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Whether this replica still works, so far as a restart would cure it.
pub type Liveness = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone)]
struct Source {
    metrics: Metrics,
    readiness: Readiness,
    liveness: Liveness,
}

/// Serves until told to stop; requests under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    readiness: Readiness,
    liveness: Liveness,
    stop: CancellationToken,
) -> std::io::Result<()> {
    crate::report::serve::serve(listener, router(metrics, readiness, liveness), stop).await
}

/// The routes.
pub fn router(metrics: Metrics, readiness: Readiness, liveness: Liveness) -> Router {
    Router::new()
        .route("/metrics", get(exposition))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(Source {
            metrics,
            readiness,
            liveness,
        })
}

async fn alive(State(source): State<Source>) -> Response {
    if (source.liveness)() {
        "ok".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the recommender does not get on\n").into_response()
    }
}

async fn exposition(State(source): State<Source>) -> Response {
    match source.metrics.exposition() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(source): State<Source>) -> Response {
    let missing = (source.readiness)();
    if missing.is_empty() {
        "ok".into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("waiting for {}\n", missing.join(", ")),
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;
    use crate::report::status::Board;

    #[tokio::test]
    async fn a_loop_that_hangs_is_told_to_the_kubelet() {
        let alive = Arc::new(AtomicBool::new(true));
        let liveness = Arc::clone(&alive);
        let metrics = Metrics::new(Arc::new(Board::default())).unwrap();
        let router = router(
            metrics,
            Arc::new(Vec::new),
            Arc::new(move || liveness.load(Ordering::Relaxed)),
        );
        let health = || async {
            let request = http::Request::get("/healthz").body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap().status()
        };
        assert_eq!(health().await, StatusCode::OK);
        alive.store(false, Ordering::Relaxed);
        assert_eq!(health().await, StatusCode::SERVICE_UNAVAILABLE);
    }
}
