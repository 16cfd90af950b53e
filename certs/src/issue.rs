//! Makes CAs and leaves.

use std::time::{Duration, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::Error;
use crate::material::{Certificate, Material, keys};
use crate::options::{Lifetimes, Managed};

/// A CA and a leaf of it.
pub(crate) fn everything(options: &Managed, now: Timestamp) -> Result<Material, Error> {
    let (authority, authority_key_pem) = authority(&options.lifetimes, now)?;
    let (leaf, leaf_chain_pem, leaf_key_pem) = leaf(options, &authority, &authority_key_pem, &[], now)?;
    Ok(Material {
        authority,
        authority_key_pem,
        previous: Vec::new(),
        leaf,
        leaf_chain_pem,
        leaf_key_pem,
    })
}

/// A new CA beside the old ones; the leaf stays as it is.
pub(crate) fn rotated_authority(options: &Managed, current: &Material, now: Timestamp) -> Result<Material, Error> {
    let (authority, authority_key_pem) = authority(&options.lifetimes, now)?;
    let older = std::iter::once(&current.authority).chain(&current.previous);
    // The CA of the leaf in use first: it must not fall to the bound, whatever happened before.
    let (in_use, others): (Vec<_>, Vec<_>) = older.partition(|ca| current.leaf.is_signed_by(ca));
    let valid = others.into_iter().filter(|ca| ca.not_after > now);
    let previous = in_use.into_iter().chain(valid).take(MAX_PREVIOUS).cloned().collect();
    Ok(Material {
        authority,
        authority_key_pem,
        previous,
        ..current.clone()
    })
}

/// A new leaf of the current CA.
pub(crate) fn renewed_leaf(options: &Managed, current: &Material, now: Timestamp) -> Result<Material, Error> {
    // Names that another version of Valence asked for stay, so that two versions side by side do not take turns.
    let (leaf, leaf_chain_pem, leaf_key_pem) = leaf(
        options,
        &current.authority,
        &current.authority_key_pem,
        &current.leaf.names,
        now,
    )?;
    Ok(Material {
        leaf,
        leaf_chain_pem,
        leaf_key_pem,
        ..current.clone()
    })
}

/// Bounds the Secret and the bundle however often somebody rotates by hand.
const MAX_PREVIOUS: usize = 8;

fn authority(lifetimes: &Lifetimes, now: Timestamp) -> Result<(Certificate, String), Error> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::default();
    validity(&mut parameters, now, lifetimes.backdate, lifetimes.authority);
    // A name of its own: verifiers that pick a CA by its name alone must not pick the previous one.
    parameters.distinguished_name = common_name(&authority_name(now, &key));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key)?;
    Ok((
        Certificate::parse(certificate.der().clone(), keys::AUTHORITY)?,
        key.serialize_pem(),
    ))
}

fn authority_name(now: Timestamp, key: &KeyPair) -> String {
    // The first byte of a raw public key only tells its form.
    let mark: String = key
        .public_key_raw()
        .iter()
        .skip(1)
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("Valence webhook CA {now:.0} {mark}")
}

fn leaf(
    options: &Managed,
    authority: &Certificate,
    authority_key_pem: &str,
    further_names: &[String],
    now: Timestamp,
) -> Result<(Certificate, String, String), Error> {
    let issuer = Issuer::from_ca_cert_der(&authority.der, KeyPair::from_pem(authority_key_pem)?)?;
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(names(options, further_names))?;
    validity(&mut parameters, now, options.lifetimes.backdate, options.lifetimes.leaf);
    parameters.distinguished_name = common_name("valence-webhook");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    let certificate = parameters.signed_by(&key, &issuer)?;
    let parsed = Certificate::parse(certificate.der().clone(), keys::LEAF)?;
    let chain_pem = parsed.pem();
    Ok((parsed, chain_pem, key.serialize_pem()))
}

/// More names than this come from no version of Valence; the surplus is dropped.
const MAX_NAMES: usize = 32;

fn names(options: &Managed, further: &[String]) -> Vec<String> {
    let mut names = options.dns_names.clone();
    for name in further {
        if !names.contains(name) && names.len() < MAX_NAMES {
            names.push(name.clone());
        }
    }
    names
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

fn validity(parameters: &mut CertificateParams, now: Timestamp, backdate: Duration, life: Duration) {
    let seconds = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    let at = |time: Timestamp| (UNIX_EPOCH + seconds(time)).into();
    let span = |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    parameters.not_before = at(now.saturating_sub(span(backdate)).unwrap_or(now));
    parameters.not_after = at(now.saturating_add(span(life)).unwrap_or(now));
}
