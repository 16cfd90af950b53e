//! For tests of who may write: leaders, deposed leaders, and an API server that counts.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::lease::Leadership;

/// An API server that counts what it is asked, and answers with an object that fits nothing, or never.
#[derive(Clone, Default)]
pub struct Server {
    asked: Arc<AtomicUsize>,
    is_silent: bool,
}

impl Server {
    /// One that never answers.
    pub fn silent() -> Self {
        Self {
            is_silent: true,
            ..Self::default()
        }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            let server = server.clone();
            async move {
                server.asked.fetch_add(1, Ordering::Relaxed);
                if server.is_silent {
                    std::future::pending::<()>().await;
                }
                let answer = json!({"kind": "Status", "apiVersion": "v1", "status": "Success"});
                Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Client::new(service, "shop")
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Who may act for so long.
pub fn leading(left: Duration) -> Leadership {
    Leadership::until(Some(std::time::Instant::now() + left))
}

/// Who held the Lease and may not act any more.
pub fn deposed() -> Leadership {
    Leadership::until(Some(std::time::Instant::now()))
}
