//! The `caBundle` of a webhook configuration: read, compared, patched in place.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::material::Material;

/// Whether every webhook trusts exactly the CAs of the Secret. Compared as certificates: spelling does not matter.
pub(crate) fn is_live(configuration: &MutatingWebhookConfiguration, material: &Material) -> bool {
    let wanted = certificates(material.bundle().as_bytes());
    bundles(configuration).all(|bundle| certificates(bundle) == wanted)
}

/// Whether every webhook trusts the leaf that is served, whatever else it trusts.
pub(crate) fn trusts(configuration: &MutatingWebhookConfiguration, material: &Material) -> bool {
    let issuers: Vec<_> = material.issuers_of_leaf().map(|issuer| issuer.der.to_vec()).collect();
    bundles(configuration).all(|bundle| {
        let held = certificates(bundle);
        issuers.iter().any(|issuer| held.contains(issuer))
    })
}

/// Whether there is anybody who could call.
pub(crate) fn has_webhooks(configuration: &MutatingWebhookConfiguration) -> bool {
    configuration
        .webhooks
        .as_ref()
        .is_some_and(|webhooks| !webhooks.is_empty())
}

/// A JSON patch that sets the `caBundle` of every webhook that has another one.
///
/// Each change is preceded by tests of the webhook's name and of the bundle that was read, so that the patch fails
/// as a whole, and is made anew, when somebody else changed the configuration meanwhile.
pub(crate) fn patch(configuration: &MutatingWebhookConfiguration, material: &Material) -> Value {
    let pem = material.bundle();
    let wanted = certificates(pem.as_bytes());
    let encoded = STANDARD.encode(&pem);
    let mut operations = Vec::new();
    for (index, webhook) in configuration.webhooks.iter().flatten().enumerate() {
        let held = webhook
            .client_config
            .ca_bundle
            .as_ref()
            .map_or(&[][..], |bundle| bundle.0.as_slice());
        if certificates(held) == wanted {
            continue;
        }
        let path = format!("/webhooks/{index}/clientConfig/caBundle");
        operations.push(json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": webhook.name}));
        if !held.is_empty() {
            operations.push(json!({"op": "test", "path": path, "value": STANDARD.encode(held)}));
        }
        operations.push(json!({"op": "add", "path": path, "value": encoded}));
    }
    Value::Array(operations)
}

fn bundles(configuration: &MutatingWebhookConfiguration) -> impl Iterator<Item = &[u8]> {
    let webhooks = configuration.webhooks.iter().flatten();
    webhooks.map(|webhook| {
        webhook
            .client_config
            .ca_bundle
            .as_ref()
            .map_or(&[][..], |bundle| bundle.0.as_slice())
    })
}

fn certificates(pem: &[u8]) -> BTreeSet<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .map(|der| der.to_vec())
        .collect()
}
