//! Mutating webhooks: asked one after the other, and some of them again when a later one changed the object.

use std::sync::Arc;

use serde_json::Value;

use super::configuration::{self, Webhook};
use super::connection::{self, Destination};
use super::expressions::Variables;
use super::matching::{self, Conditions, Shown};
use super::{Attributes, review};
use crate::apiserver::api::Api;
use crate::apiserver::convert;
use crate::apiserver::http::Request;
use crate::apiserver::object;
use crate::apiserver::patch;
use crate::apiserver::status::{ApiError, ApiResult};

/// Calls every webhook that is concerned; whether the object is another one afterwards.
pub(super) async fn call(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    object: &mut Value,
) -> ApiResult<bool> {
    let configurations = configuration::webhooks(api, "mutatingwebhookconfigurations");
    let webhooks: Vec<&Webhook> = configurations
        .iter()
        .flat_map(|configuration| configuration.iter())
        .collect();
    let mut changed = false;
    let mut asked = vec![false; webhooks.len()];
    let mut again = vec![false; webhooks.len()];
    for (at, webhook) in webhooks.iter().enumerate() {
        let Outcome::Asked { changed: now } = ask(api, request, attributes, webhook, object).await? else {
            continue;
        };
        if now {
            changed = true;
            for earlier in 0..at {
                again[earlier] |= asked[earlier] && webhooks[earlier].reinvoked;
            }
        }
        asked[at] = true;
    }
    for (at, webhook) in webhooks.iter().enumerate().filter(|(at, _)| again[*at]) {
        tracing::debug!(webhook = webhook.name, at, "asking again");
        if let Outcome::Asked { changed: now } = ask(api, request, attributes, webhook, object).await? {
            changed |= now;
        }
    }
    Ok(changed)
}

enum Outcome {
    Passed,
    Asked { changed: bool },
}

async fn ask(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    webhook: &Webhook,
    object: &mut Value,
) -> ApiResult<Outcome> {
    let Some(shown) = matching::selects(api, webhook, attributes, object) else {
        return Ok(Outcome::Passed);
    };
    let Shown::As(other) = shown else {
        return ask_as_sent(api, request, attributes, webhook, object).await;
    };
    let mut converted = convert::between(attributes.resource, &other, object);
    let old = attributes
        .old
        .map(|old| convert::between(attributes.resource, &other, old));
    let equivalent = Attributes {
        resource: &other,
        requested: Some(attributes.resource),
        kind: (other.group.clone(), other.version.clone(), other.kind.clone()),
        old: old.as_ref(),
        ..attributes.clone()
    };
    let outcome = ask_as_sent(api, request, &equivalent, webhook, &mut converted).await?;
    if matches!(outcome, Outcome::Asked { changed: true }) {
        *object = convert::between(&other, attributes.resource, &converted);
    }
    Ok(outcome)
}

async fn ask_as_sent(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    webhook: &Webhook,
    object: &mut Value,
) -> ApiResult<Outcome> {
    let Some(answer) = answer(api, request, attributes, webhook, object).await? else {
        return Ok(Outcome::Passed);
    };
    let Some(operations) = answer.patch else {
        return Ok(Outcome::Asked { changed: false });
    };
    if object.is_null() {
        let why = format!(
            "admission webhook \"{}\" attempted to modify the object, which is not supported for this operation",
            webhook.name
        );
        return Err(ApiError::internal(why));
    }
    let mut next = object.clone();
    patch::json(&mut next, &operations)
        .map_err(|error| ApiError::internal(format!("webhook \"{}\": {}", webhook.name, error.message)))?;
    let changed = next != *object;
    *object = next;
    Ok(Outcome::Asked { changed })
}

/// Asks one webhook for a verdict only.
pub(super) async fn verdict(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    webhook: &Webhook,
    object: &Value,
) -> ApiResult<()> {
    let mut copy = object.clone();
    ask(api, request, attributes, webhook, &mut copy).await.map(|_| ())
}

/// Asks a webhook that rules and selectors chose. `None`: its conditions do not hold, or it failed and is ignored.
async fn answer(
    api: &Arc<Api>,
    request: &Request,
    attributes: &Attributes<'_>,
    webhook: &Webhook,
    object: &Value,
) -> ApiResult<Option<review::Answer>> {
    let uid = object::new_uid();
    let question = review::request(attributes, &uid);
    if !webhook.conditions.is_empty() {
        let variables = Variables::new(object, attributes.old.unwrap_or(&Value::Null), &question);
        match matching::conditions(webhook, &variables) {
            Conditions::Hold => {}
            Conditions::DoNotHold => return Ok(None),
            Conditions::Broken(why) if webhook.fails_closed => {
                let message = format!("webhook \"{}\": {why}", webhook.name);
                let (group, plural) = (&attributes.resource.group, &attributes.resource.plural);
                return Err(ApiError::forbidden(group, plural, attributes.name, &message));
            }
            Conditions::Broken(why) => {
                tracing::warn!(webhook = webhook.name, why, "passed over");
                return Ok(None);
            }
        }
    }
    if attributes.dry_run && !matches!(webhook.side_effects.as_str(), "None" | "NoneOnDryRun") {
        let message = format!("admission webhook \"{}\" does not support dry run", webhook.name);
        return Err(ApiError::bad_request(message));
    }
    let answer = post(api, attributes, webhook, object, question, &uid).await;
    match answer {
        Ok(answer) => {
            for warning in &answer.warnings {
                request.warn(warning.clone());
            }
            if answer.allowed {
                Ok(Some(answer))
            } else {
                Err(review::refusal(&webhook.name, &answer.status))
            }
        }
        Err(why) => review::failed(&webhook.name, webhook.fails_closed, &why).map(|()| None),
    }
}

async fn post(
    api: &Arc<Api>,
    attributes: &Attributes<'_>,
    webhook: &Webhook,
    object: &Value,
    question: Value,
    uid: &str,
) -> Result<review::Answer, String> {
    let destination = Destination::of(api, &webhook.client)?;
    let body = review::question(question, object, attributes.old).to_string().into();
    let bytes = connection::post(api, &destination, body, webhook.timeout).await?;
    review::read(&bytes, uid)
}
