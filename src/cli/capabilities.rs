//! What the version of the cluster means for admission.

use std::time::Duration;

use kube::Client;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use valence_webhook::Settings;

/// Version from which Services find the named ports of native sidecars. Such sidecars run from 1.29 on, but EndpointSlices
/// leave their names out before 1.33: a Service that sends to the name would have no endpoints.
pub const NATIVE_SIDECARS: (u32, u32) = (1, 33);

/// Version from which a memory limit may be lowered in place without a restart; before, the API server refuses it.
const SHRINKING_MEMORY_LIMITS: (u32, u32) = (1, 34);

/// Time between two questions to an API server that does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two questions whether the cluster was upgraded.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// So many answers in a row have to be of a newer version before it is counted on. An upgrade begins with the API servers,
/// one after the other; the controllers that make EndpointSlices, and the nodes, follow.
const STEADY: u32 = 3;

/// What a cluster can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    native_sidecars: bool,
    memory_limits_shrink_in_place: bool,
}

impl Capabilities {
    /// Those of a version; a minor version may carry a sign, as `33+`. One that cannot be read has none.
    fn of(major: &str, minor: &str) -> Self {
        let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
        let version = number(major).zip(number(minor)).unwrap_or_default();
        Self {
            native_sidecars: version >= NATIVE_SIDECARS,
            memory_limits_shrink_in_place: version >= SHRINKING_MEMORY_LIMITS,
        }
    }

    /// Settings as they were chosen, as far as this cluster can take them.
    #[must_use]
    pub fn allow(self, chosen: &Settings) -> Settings {
        Settings {
            native_sidecars: chosen.native_sidecars && self.native_sidecars,
            memory_limits_shrink_in_place: chosen.memory_limits_shrink_in_place && self.memory_limits_shrink_in_place,
            ..chosen.clone()
        }
    }

    /// Whether nothing is lost on the way from `other`.
    fn covers(self, other: Self) -> bool {
        (self.native_sidecars || !other.native_sidecars)
            && (self.memory_limits_shrink_in_place || !other.memory_limits_shrink_in_place)
    }
}

/// What this cluster can take; waits until its API server answers.
///
/// One that answers, but not with a version that can be read, gets what every version can take.
pub async fn of_cluster(client: &Client) -> Capabilities {
    loop {
        match ask(client).await {
            Answer::Told(capabilities) => {
                info!(?capabilities, "version of the cluster");
                return capabilities;
            }
            Answer::Unreadable(error) => {
                warn!(
                    error,
                    "the version of the cluster is not known: sidecars are ordinary containers"
                );
                return Capabilities::default();
            }
            Answer::None => sleep(PAUSE).await,
        }
    }
}

/// Asks again and again, and tells what the cluster can take whenever that changes. Never ends.
pub async fn follow(client: &Client, first: Capabilities, mut changed: impl FnMut(Capabilities)) {
    let mut known = Known::new(first);
    loop {
        sleep(ASK_AGAIN).await;
        if let Answer::Told(capabilities) = ask(client).await
            && let Some(capabilities) = known.told(capabilities)
        {
            info!(?capabilities, "the cluster has another version now");
            changed(capabilities);
        }
    }
}

enum Answer {
    Told(Capabilities),
    Unreadable(String),
    None,
}

async fn ask(client: &Client) -> Answer {
    match timeout(PATIENCE, client.apiserver_version()).await {
        Ok(Ok(version)) => Answer::Told(Capabilities::of(&version.major, &version.minor)),
        Ok(Err(error @ (kube::Error::Api(_) | kube::Error::SerdeError(_)))) => Answer::Unreadable(error.to_string()),
        failure => {
            debug!(?failure, "the version of the cluster is not known now");
            Answer::None
        }
    }
}

/// What is counted on, and how often in a row something else was heard.
struct Known {
    in_force: Capabilities,
    heard: (Capabilities, u32),
}

impl Known {
    fn new(in_force: Capabilities) -> Self {
        Self {
            in_force,
            heard: (in_force, 0),
        }
    }

    /// Takes an answer in; what is in force from now on where that changes. What is lost is lost at once.
    fn told(&mut self, now: Capabilities) -> Option<Capabilities> {
        let before = if self.heard.0 == now { self.heard.1 } else { 0 };
        self.heard = (now, before.saturating_add(1));
        let counts = now != self.in_force && (self.heard.1 >= STEADY || !now.covers(self.in_force));
        counts.then(|| {
            self.in_force = now;
            now
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_version_can_take_is_used() {
        let of = |major, minor| {
            let settings = Capabilities::of(major, minor).allow(&Settings::default());
            (settings.native_sidecars, settings.memory_limits_shrink_in_place)
        };
        for old in ["28", "29", "32", "32+"] {
            assert_eq!(of("1", old), (false, false), "{old}");
        }
        assert_eq!(of("1", "33-eks"), (true, false));
        assert_eq!(of("1", "34"), (true, true));
        assert_eq!(of("1", "36+"), (true, true));
        assert_eq!(of("2", "0"), (true, true));
        assert_eq!(of("", ""), (false, false), "not known");
    }

    #[test]
    fn what_was_not_chosen_is_not_used() {
        let chosen = Settings {
            native_sidecars: false,
            ..Settings::default()
        };
        assert!(!Capabilities::of("1", "36").allow(&chosen).native_sidecars);
    }

    #[test]
    fn a_newer_version_has_to_be_heard_of_steadily() {
        let (old, new) = (Capabilities::of("1", "32"), Capabilities::of("1", "34"));
        let mut known = Known::new(old);
        let heard: Vec<_> = [old, new, new, old, new, new, new, new]
            .map(|one| known.told(one))
            .into();
        assert_eq!(heard, [None, None, None, None, None, None, Some(new), None]);
        assert_eq!(known.told(old), Some(old), "what is lost is lost at once");
    }
}
