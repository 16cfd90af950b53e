//! What to do next, from what was read. Pure: no clock, no network, no randomness.

use jiff::{SignedDuration, Timestamp};

use crate::material::{Certificate, Material};
use crate::options::Managed;

/// One thing to do. After it everything is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is nothing to go on: issue a CA and a leaf and write both.
    IssueEverything,
    /// Write a new CA beside the old one, keep the leaf.
    RotateAuthority(Reason),
    /// Write a new leaf of the current CA.
    IssueLeaf(Reason),
    /// Drop the previous CAs from the Secret.
    RetirePrevious,
    /// Make every webhook's `caBundle` the CAs of the Secret.
    PublishBundle,
    /// Nothing before this time.
    Wait(Timestamp),
}

/// Why a certificate is replaced; for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Two thirds of its life are over, or all of it.
    Age,
    /// It is not valid yet: some clock was, or is, wrong.
    NotYetValid,
    /// The Secret was deleted or damaged.
    SecretLost,
    /// It lacks a name that it must be good for.
    Names,
    /// The CA that signed it was replaced.
    NewAuthority,
}

/// What was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// The Secret, where it is there and whole.
    pub secret: Option<&'a Material>,
    /// What this replica read from it last, to go on from where the Secret is lost.
    pub remembered: Option<&'a Material>,
    /// State of the `caBundle`s.
    pub bundle: Bundle,
}

/// State of the `caBundle`s of the webhook configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bundle {
    /// Not ours to write.
    Foreign,
    /// There is no configuration with webhooks, so nobody calls.
    Absent,
    /// At least one webhook has something else than the CAs of the Secret.
    Differs,
    /// Every webhook has exactly the CAs of the Secret, seen so since this time.
    Live(Timestamp),
}

/// Says what to do next.
pub(crate) fn decide(view: View<'_>, options: &Managed, now: Timestamp) -> Step {
    let Some(material) = view.secret else {
        return match view.remembered {
            Some(_) => Step::RotateAuthority(Reason::SecretLost),
            None => Step::IssueEverything,
        };
    };
    if view.bundle == Bundle::Differs {
        return Step::PublishBundle;
    }
    if !material.leaf_is_of_current_authority() {
        return finish_rotation(material, view.bundle, options, now);
    }
    if let Some(reason) = due(&material.authority, options, now) {
        return Step::RotateAuthority(reason);
    }
    if let Some(reason) = due(&material.leaf, options, now).or_else(|| lacks_names(material, options)) {
        return Step::IssueLeaf(reason);
    }
    let retire_at = after(
        material.leaf.issued_at(options.lifetimes.backdate),
        options.lifetimes.retire,
    );
    if !material.previous.is_empty() && now >= retire_at {
        return Step::RetirePrevious;
    }
    let renewals = [&material.authority, &material.leaf].map(|held| held.renew_at(options.lifetimes.backdate));
    let retirement = (!material.previous.is_empty()).then_some(retire_at);
    Step::Wait(renewals.into_iter().chain(retirement).min().unwrap_or(now))
}

/// The new CA is in the Secret, the leaf is still the old CA's.
fn finish_rotation(material: &Material, bundle: Bundle, options: &Managed, now: Timestamp) -> Step {
    let trusted_since = match bundle {
        Bundle::Live(since) => since,
        Bundle::Foreign => material.authority.issued_at(options.lifetimes.backdate),
        Bundle::Absent | Bundle::Differs => return Step::IssueLeaf(Reason::NewAuthority),
    };
    let switch_at = after(trusted_since, options.lifetimes.settle);
    // An expired leaf fails every handshake anyway, so there is nothing to wait for.
    match now >= switch_at || !material.leaf.is_valid_at(now) {
        true => Step::IssueLeaf(Reason::NewAuthority),
        false => Step::Wait(switch_at),
    }
}

fn due(held: &Certificate, options: &Managed, now: Timestamp) -> Option<Reason> {
    if now < held.not_before {
        return Some(Reason::NotYetValid);
    }
    (now >= held.renew_at(options.lifetimes.backdate)).then_some(Reason::Age)
}

fn lacks_names(material: &Material, options: &Managed) -> Option<Reason> {
    let has = |name: &String| material.leaf.names.iter().any(|held| held.eq_ignore_ascii_case(name));
    (!options.dns_names.iter().all(has)).then_some(Reason::Names)
}

fn after(time: Timestamp, pause: std::time::Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    time.saturating_add(pause).unwrap_or(Timestamp::MAX)
}
