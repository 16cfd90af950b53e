//! `valence run`: the operator.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::operator::Operator;
use crate::api::GoDuration;
use crate::core::Settings;
use crate::report::page::cost::Prices;

/// Arguments of `valence run`; each has an environment variable of the same name.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Namespace that the operator runs in, where its Secret and Lease are.
    #[arg(long, env = "POD_NAMESPACE", default_value = "valence-system")]
    pub namespace: String,

    /// Address to listen on. `::` is every address, of IPv4 too; where IPv6 is turned off it stands for 0.0.0.0.
    #[arg(long, env = "VALENCE_LISTEN_ADDRESS", default_value = "::")]
    pub listen_address: IpAddr,

    /// Port of the admission webhook.
    #[arg(long, env = "VALENCE_WEBHOOK_PORT", default_value_t = 8443)]
    pub webhook_port: u16,

    /// Port of /metrics, /healthz and /readyz.
    #[arg(long, env = "VALENCE_METRICS_PORT", default_value_t = 8080)]
    pub metrics_port: u16,

    /// Port of the read-only page; 0 turns it off.
    #[arg(long, env = "VALENCE_PAGE_PORT", default_value_t = 8088)]
    pub page_port: u16,

    /// How often the sidecars are scraped.
    #[arg(long, env = "VALENCE_SCRAPE_INTERVAL", default_value = "15s", value_parser = interval)]
    pub scrape_interval: Duration,

    /// How often decisions are made.
    #[arg(long, env = "VALENCE_DECISION_INTERVAL", default_value = "15s", value_parser = interval)]
    pub decision_interval: Duration,

    /// Somebody else, such as cert-manager, keeps the certificate in the Secret valence-webhook-certificates and the
    /// caBundle in the webhook configuration. Without it Valence does both.
    #[arg(long, env = "VALENCE_EXTERNAL_CERTIFICATES")]
    pub external_certificates: bool,

    /// Ask callers of the webhook for a certificate of a CA in this file (PEM), which may change at any time. The API server
    /// shows one when its admission configuration names a kubeconfig with it.
    #[arg(long, env = "VALENCE_CLIENT_CA", value_name = "FILE")]
    pub client_ca: Option<PathBuf>,

    /// Common or DNS names of which the caller's certificate must carry one; without any, every certificate of the CA will do.
    #[arg(
        long = "client-name",
        env = "VALENCE_CLIENT_NAMES",
        value_delimiter = ',',
        value_name = "NAME",
        requires = "client_ca"
    )]
    pub client_names: Vec<String>,

    /// Inject ordinary containers even where the cluster runs native sidecars: for load balancers and network plug-ins
    /// that do not find the named ports of init containers.
    #[arg(long, env = "VALENCE_ORDINARY_SIDECARS")]
    pub ordinary_sidecars: bool,

    /// Image of the sidecar, as a registry of your own has it.
    #[arg(long, env = "VALENCE_SIDECAR_IMAGE", value_name = "IMAGE", default_value = valence_webhook::SIDECAR_IMAGE)]
    pub sidecar_image: String,

    /// Ask for re-admission of Services whose numeric target port can be led to Envoy now; needs the right to patch
    /// Services.
    #[arg(long, env = "VALENCE_READMIT_SERVICES")]
    pub readmit_services: bool,

    /// Where to send gauges by StatsD, as host:port.
    #[arg(long, env = "STATSD_URL")]
    pub statsd: Option<String>,

    /// Evict pods whose size cannot be changed in place, one at a time and within their PodDisruptionBudgets.
    #[arg(long, env = "VALENCE_EVICT", default_value_t = true, action = clap::ArgAction::Set)]
    pub evict: bool,

    /// What requested resources cost; both together also say what memory is worth to the model.
    #[command(flatten)]
    pub prices: Prices,

    /// How long a watch lasts before it is begun anew: how stale the caches get when a connection dies unnoticed.
    #[arg(long, env = "VALENCE_WATCH_TIMEOUT", default_value = "1m", value_parser = interval, hide = true)]
    pub watch_timeout: Duration,

    /// Shorten the waits of the model, and the pauses in a rotation of certificates, to those of a demonstration of a few
    /// minutes.
    #[arg(long, env = "VALENCE_HURRIED", hide = true)]
    pub hurried: bool,

    /// How log lines are written; RUST_LOG says which.
    #[arg(long, env = "VALENCE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// An interval from 100 ms to 10 minutes in Go's notation.
///
/// # Errors
/// When it is not one.
pub fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse::<GoDuration>()
        .and_then(|duration| duration.seconds())
        .map_err(|error| error.to_string())?;
    if (0.1..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be from 100ms to 10m".to_owned())
    }
}

impl Arguments {
    /// Runs the operator until it is told to stop.
    ///
    /// # Errors
    /// What makes a start impossible: no way to reach the API server, a port that is taken.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        self.log();
        Operator::start(self).await?.run().await?;
        Ok(ExitCode::SUCCESS)
    }

    /// The model's settings at these paces.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let settings = if self.hurried {
            Settings::hurried()
        } else {
            Settings::default()
        };
        Settings {
            scrape_interval_seconds: self.scrape_interval.as_secs_f64(),
            decision_interval_seconds: self.decision_interval.as_secs_f64(),
            gibibyte_in_cores: self.prices.gibibyte_in_cores(),
            ..settings
        }
    }

    /// What was chosen for admission, in a cluster that can take all of it.
    #[must_use]
    pub fn admission(&self) -> valence_webhook::Settings {
        valence_webhook::Settings {
            sidecar_image: self.sidecar_image.clone(),
            native_sidecars: !self.ordinary_sidecars,
            ..valence_webhook::Settings::default()
        }
    }

    fn log(&self) {
        // Directives of levels and targets; those that match fields would link a regular expression engine.
        let directives = std::env::var("RUST_LOG").ok();
        let filter = directives
            .and_then(|directives| directives.parse::<Targets>().ok())
            .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO));
        let filter = without_client(filter);
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            // It would be told on standard error, which panics where that cannot be written: on a full disk.
            .log_internal_errors(false)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        let registry = tracing_subscriber::registry().with(filter);
        // A second subscriber can only be met in a test; the first one stays.
        let _ = match self.log_format {
            LogFormat::Text => registry.with(layer).try_init(),
            LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        };
    }
}

/// The client of the API server tells each failure as an error of its own, beside those who asked and know what it means:
/// only where the client is asked for by name.
fn without_client(filter: Targets) -> Targets {
    const CLIENT: &str = "kube_client";
    let named = filter.iter().any(|(target, _)| target.starts_with(CLIENT));
    if named {
        filter
    } else {
        filter.with_target(CLIENT, LevelFilter::OFF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_heard_only_where_it_is_asked_for() {
        let level = |text: &str| {
            let filter = text.parse::<Targets>().map(without_client);
            filter.map(|filter| filter.would_enable("kube_client::client", &tracing::Level::ERROR))
        };
        assert!(level("info").is_ok_and(|heard| !heard));
        assert!(level("debug,valence=trace").is_ok_and(|heard| !heard));
        assert!(level("info,kube_client=warn").is_ok_and(|heard| heard));
    }
}
