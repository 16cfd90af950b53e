//! Validating webhooks: asked when the object is final.

use std::sync::Arc;

use serde_json::Value;

use super::{Attributes, configuration, mutating};
use crate::apiserver::api::Api;
use crate::apiserver::http::Request;
use crate::apiserver::status::ApiResult;

/// Asks every webhook that is concerned, one after the other; the first refusal counts.
pub(super) async fn call(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    object: Option<&Value>,
) -> ApiResult<()> {
    let object = object.unwrap_or(&Value::Null);
    for configuration in configuration::webhooks(api, "validatingwebhookconfigurations") {
        for webhook in configuration.iter() {
            mutating::verdict(api, request, attributes, webhook, object).await?;
        }
    }
    Ok(())
}
