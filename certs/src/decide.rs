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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::issue;

    const DAY: i64 = 86_400;

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + days * DAY).unwrap()
    }

    fn options() -> Managed {
        Managed::for_service("valence-system", "valence-webhook", "certificates", "valence")
    }

    fn decide_about(material: &Material, bundle: Bundle, now: Timestamp) -> Step {
        decide(
            View {
                secret: Some(material),
                remembered: None,
                bundle,
            },
            &options(),
            now,
        )
    }

    #[test]
    fn nothing_there_issues_everything() {
        let view = View {
            secret: None,
            remembered: None,
            bundle: Bundle::Absent,
        };
        assert_eq!(decide(view, &options(), at(0)), Step::IssueEverything);
    }

    #[test]
    fn a_lost_secret_is_a_rotation_for_whoever_remembers() {
        let material = issue::everything(&options(), at(0)).unwrap();
        let view = View {
            secret: None,
            remembered: Some(&material),
            bundle: Bundle::Live(at(0)),
        };
        assert_eq!(
            decide(view, &options(), at(1)),
            Step::RotateAuthority(Reason::SecretLost)
        );
    }

    #[test]
    fn fresh_certificates_wait_until_two_thirds_of_the_leaf() {
        let material = issue::everything(&options(), at(0)).unwrap();
        assert_eq!(decide_about(&material, Bundle::Live(at(0)), at(1)), Step::Wait(at(20)));
        assert_eq!(
            decide_about(&material, Bundle::Live(at(0)), at(20)),
            Step::IssueLeaf(Reason::Age)
        );
    }

    #[test]
    fn the_bundle_comes_before_any_certificate() {
        let material = issue::everything(&options(), at(0)).unwrap();
        assert_eq!(decide_about(&material, Bundle::Differs, at(300)), Step::PublishBundle);
    }

    #[test]
    fn an_old_ca_rotates_before_the_leaf() {
        let material = issue::everything(&options(), at(0)).unwrap();
        assert_eq!(
            decide_about(&material, Bundle::Live(at(0)), at(250)),
            Step::RotateAuthority(Reason::Age)
        );
    }

    #[test]
    fn the_leaf_waits_for_the_settling_time_of_the_bundle() {
        let first = issue::everything(&options(), at(0)).unwrap();
        let rotated = issue::rotated_authority(&options(), &first, at(10)).unwrap();
        let settled = at(10) + SignedDuration::from_secs(15);
        assert_eq!(
            decide_about(&rotated, Bundle::Live(at(10)), at(10)),
            Step::Wait(settled)
        );
        assert_eq!(
            decide_about(&rotated, Bundle::Live(at(10)), settled),
            Step::IssueLeaf(Reason::NewAuthority)
        );
        assert_eq!(decide_about(&rotated, Bundle::Differs, settled), Step::PublishBundle);
        // Where others copy the bundle, the time since the issue of the CA must do.
        assert_eq!(decide_about(&rotated, Bundle::Foreign, at(10)), Step::Wait(settled));
    }

    #[test]
    fn an_expired_leaf_does_not_wait() {
        let first = issue::everything(&options(), at(0)).unwrap();
        let rotated = issue::rotated_authority(&options(), &first, at(40)).unwrap();
        assert_eq!(
            decide_about(&rotated, Bundle::Live(at(40)), at(40)),
            Step::IssueLeaf(Reason::NewAuthority)
        );
    }

    #[test]
    fn previous_authorities_retire_a_day_after_the_new_leaf() {
        let first = issue::everything(&options(), at(0)).unwrap();
        let rotated = issue::rotated_authority(&options(), &first, at(10)).unwrap();
        let renewed = issue::renewed_leaf(&options(), &rotated, at(10)).unwrap();
        assert_eq!(renewed.previous.len(), 1);
        assert_eq!(decide_about(&renewed, Bundle::Live(at(10)), at(10)), Step::Wait(at(11)));
        assert_eq!(
            decide_about(&renewed, Bundle::Live(at(10)), at(11)),
            Step::RetirePrevious
        );
    }

    #[test]
    fn a_clock_that_jumped_back_renews_what_is_not_valid_yet() {
        let material = issue::everything(&options(), at(0)).unwrap();
        assert_eq!(decide_about(&material, Bundle::Live(at(0)), at(-1)), Step::Wait(at(20)));
        assert_eq!(
            decide_about(&material, Bundle::Live(at(0)), at(-2)),
            Step::RotateAuthority(Reason::NotYetValid)
        );
    }

    #[test]
    fn rotations_by_hand_do_not_grow_the_secret_without_end() {
        let mut material = issue::everything(&options(), at(0)).unwrap();
        for _ in 0..20 {
            material = issue::rotated_authority(&options(), &material, at(1)).unwrap();
        }
        assert!(material.previous.len() <= 9);
        assert!(
            material.issuers_of_leaf().next().is_some(),
            "the CA of the leaf in use is never dropped"
        );
        assert!(Material::parse(&material.contents()).is_ok());
    }
}
