//! Requests as they are, for what typed clients do not show: the status code, the body and the warnings.

use http_body_util::BodyExt;
use kube::Client;
use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub code: u16,
    /// The body; null where it is not JSON.
    pub body: Value,
    /// `Warning` headers.
    pub warnings: Vec<String>,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// When it is none, for a test that expects one.
    #[track_caller]
    pub fn accepted(self) -> Value {
        assert!(self.code < 300, "{self:?}");
        self.body
    }
}

/// Sends `body`, nothing where it is null.
///
/// # Errors
/// When the request cannot be made, or no answer comes.
pub async fn ask(
    client: &Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> anyhow::Result<Answer> {
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .header("accept", "application/json")
        .body(kube::client::Body::from(body))?;
    let response = client.send(request).await?;
    let code = response.status().as_u16();
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let warnings = response.headers().get_all("warning").iter().map(text).collect();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { code, body, warnings })
}
