//! The read-only page: what is promised, what is measured, what is recommended and why.
//!
//! HTML and inline SVG with one style sheet of our own; no scripts, nothing from elsewhere, and a JSON twin of every view.

mod chart;
pub mod cost;
pub mod data;
mod detail;
mod html;
mod overview;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use maud::Markup;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::cost::Prices;
use self::data::{ObjectiveView, Overview, WorkloadView};
use self::html::Told;
use super::status::{Board, Snapshot};

/// What the page is made from.
#[derive(Clone)]
struct Source {
    board: Arc<Board>,
    prices: Prices,
}

/// Serves the page until it is told to stop; requests under way are answered first.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    board: Arc<Board>,
    prices: Prices,
    stop: CancellationToken,
) -> std::io::Result<()> {
    super::serve::serve(listener, router(board, prices), stop).await
}

/// The routes of the page.
pub fn router(board: Arc<Board>, prices: Prices) -> Router {
    Router::new()
        .route("/", get(overview_page))
        .route("/workloads/{namespace}/{name}", get(workload_page))
        .route("/objectives/{namespace}/{name}", get(objective_page))
        .route("/json", get(overview_data))
        .route("/json/workloads/{namespace}/{name}", get(workload_data))
        .route("/json/objectives/{namespace}/{name}", get(objective_data))
        .route("/style.css", get(style))
        .route("/icon.svg", get(icon))
        .layer(from_fn(guarded))
        .with_state(Source { board, prices })
}

/// Nothing may be loaded from elsewhere, framed, cached or guessed.
async fn guarded(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Source {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.board.read()
    }

    fn workload(&self, namespace: &str, name: &str) -> Option<WorkloadView> {
        let snapshot = self.snapshot();
        let mut all = snapshot.workloads.iter();
        let found = all.find(|one| one.namespace == namespace && one.name == name)?;
        Some(WorkloadView::new(found, &self.prices))
    }

    fn objective(&self, namespace: &str, name: &str) -> Option<ObjectiveView> {
        let snapshot = self.snapshot();
        let mut all = snapshot.objectives.iter();
        let found = all.find(|one| one.namespace == namespace && one.name == name)?;
        Some(ObjectiveView::new(found, &snapshot))
    }

    fn told(&self) -> Told {
        let snapshot = self.snapshot();
        Told {
            at: snapshot.at,
            leader: snapshot.leader,
        }
    }
}

type Place = Path<(String, String)>;

async fn overview_page(State(source): State<Source>) -> Response {
    let view = Overview::new(&source.snapshot(), &source.prices);
    page(overview::page(&view, source.told()))
}

async fn workload_page(State(source): State<Source>, Path((namespace, name)): Place) -> Response {
    match source.workload(&namespace, &name) {
        Some(view) => page(detail::workload(&view, source.told())),
        None => missing(&source, "workload", &namespace, &name),
    }
}

async fn objective_page(State(source): State<Source>, Path((namespace, name)): Place) -> Response {
    match source.objective(&namespace, &name) {
        Some(view) => page(detail::objective(&view, source.told())),
        None => missing(&source, "objective", &namespace, &name),
    }
}

async fn overview_data(State(source): State<Source>) -> Json<Overview> {
    Json(Overview::new(&source.snapshot(), &source.prices))
}

async fn workload_data(State(source): State<Source>, Path((namespace, name)): Place) -> Response {
    source
        .workload(&namespace, &name)
        .map_or_else(absent, |view| Json(view).into_response())
}

async fn objective_data(State(source): State<Source>, Path((namespace, name)): Place) -> Response {
    source
        .objective(&namespace, &name)
        .map_or_else(absent, |view| Json(view).into_response())
}

fn page(markup: Markup) -> Response {
    Html(markup.into_string()).into_response()
}

fn missing(source: &Source, what: &str, namespace: &str, name: &str) -> Response {
    let body = maud::html! {
        h1 { "No such " (what) }
        p.empty { "Valence knows no " (what) " " (namespace) "/" (name) ". It may have been renamed, or no objective selects it." }
    };
    let document = html::document("Not found", "../../", "../../json", source.told(), body);
    (StatusCode::NOT_FOUND, page(document)).into_response()
}

fn absent() -> Response {
    let body = serde_json::json!({ "error": "Valence knows no object of that name" });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("style.css"),
    )
}

async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("icon.svg"))
}
