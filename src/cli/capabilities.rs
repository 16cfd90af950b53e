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

/// Settings of admission that this cluster can take; waits until its API server answers.
///
/// One that answers, but not with a version that can be read, gets what every version can take.
pub async fn settings(client: &Client) -> Settings {
    loop {
        match timeout(PATIENCE, client.apiserver_version()).await {
            Ok(Ok(version)) => return told(&version.major, &version.minor),
            Ok(Err(error @ (kube::Error::Api(_) | kube::Error::SerdeError(_)))) => {
                warn!(%error, "the version of the cluster is not known: sidecars are ordinary containers");
                return of("", "");
            }
            failure => debug!(?failure, "the version of the cluster is not known yet"),
        }
        sleep(PAUSE).await;
    }
}

fn told(major: &str, minor: &str) -> Settings {
    let settings = of(major, minor);
    info!(
        major,
        minor,
        native_sidecars = settings.native_sidecars,
        memory_limits_shrink_in_place = settings.memory_limits_shrink_in_place,
        "version of the cluster"
    );
    settings
}

/// Settings for a version; a minor version may carry a sign, as `33+`.
fn of(major: &str, minor: &str) -> Settings {
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
    let version = number(major).zip(number(minor)).unwrap_or_default();
    Settings {
        native_sidecars: version >= NATIVE_SIDECARS,
        memory_limits_shrink_in_place: version >= SHRINKING_MEMORY_LIMITS,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_version_can_take_is_used() {
        let of = |major, minor| {
            let settings = of(major, minor);
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
}
