//! Quota.

use serde_json::Value;

use crate::apiserver::api::Api;
use crate::apiserver::registry::Resource;
use crate::apiserver::status::ApiResult;

pub(crate) fn hold(_: &Api, _: &Resource, _: &Value) -> ApiResult<()> {
    Ok(())
}
