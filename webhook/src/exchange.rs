//! One review over HTTP: the path says what is asked, the body is the review.
//!
//! There are six paths and one method, and a pod waits for each answer: what a router would do for them costs more than
//! half of what an answer does, so that none is used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::admission::{Admission, Answer, Endpoint};
use crate::body::{self, Refusal};
use crate::outcome::Unseen;
use crate::places::Place;
use crate::review::ReviewError;

/// How often a pod that waits for its owner looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Answers a request.
pub(crate) async fn answer(
    admission: Arc<Admission>,
    place: Arc<Place>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let Some(endpoint) = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path) else {
        return refusal(StatusCode::NOT_FOUND, String::new());
    };
    if request.method() != Method::POST {
        let mut refusal = refusal(StatusCode::METHOD_NOT_ALLOWED, String::new());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return refusal;
    }
    let (started, mut load) = (Instant::now(), place.request());
    let body = match body::read(request.into_body(), &mut load).await {
        Ok(body) => body,
        Err(Refusal::NoRoom) => {
            admission.shed(endpoint, started);
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too much is under way\n".to_owned());
        }
        Err(Refusal::Unreadable) => {
            admission.refused(endpoint, started);
            let complaint = "the review is too large, too slow, or was cut off\n";
            return refusal(StatusCode::PAYLOAD_TOO_LARGE, complaint.to_owned());
        }
    };
    match settled(&admission, endpoint, &body).await {
        Ok(answer) => {
            place.used();
            json(admission.record(endpoint, answer, started))
        }
        Err(error) => {
            admission.refused(endpoint, started);
            refusal(StatusCode::BAD_REQUEST, format!("{error}\n"))
        }
    }
}

fn json(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn refusal(status: StatusCode, complaint: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(complaint.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Answers; a pod whose Deployment was made a moment ago waits for the watch to see it, for a bounded time.
async fn settled(admission: &Admission, endpoint: Endpoint, body: &[u8]) -> Result<Answer, ReviewError> {
    let answer = admission.answer(endpoint, body)?;
    let Some(owner) = answer.unseen() else {
        return Ok(answer);
    };
    let Some(_waiting) = admission.wait() else {
        return Ok(answer);
    };
    let patience = Duration::from_millis(admission.settings().owner_wait_milliseconds);
    if appears(admission, owner, patience).await {
        admission.answer(endpoint, body)
    } else {
        Ok(answer)
    }
}

/// Waits for a Deployment; whether it was seen in time.
async fn appears(admission: &Admission, owner: &Unseen, patience: Duration) -> bool {
    let seen = async {
        while !admission.has_seen(owner) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(patience, seen).await.is_ok()
}
