//! How long the certificates of the webhook are good for.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGauge, Opts, Registry};
use tokio::sync::watch;
use valence_certs::Status;

/// Reads the state of the certificates whenever metrics are gathered.
struct Certificates {
    status: watch::Receiver<Status>,
    expiry: GaugeVec,
    ready: IntGauge,
    reloads: IntGauge,
}

/// Registers the metrics.
///
/// # Errors
/// When a name is registered twice.
pub fn register(registry: &Registry, status: watch::Receiver<Status>) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Certificates {
        status,
        expiry: GaugeVec::new(
            Opts::new(
                "valence_certificate_expiry_timestamp_seconds",
                "End of the validity of a certificate, since the Unix epoch.",
            ),
            &["certificate"],
        )?,
        ready: IntGauge::new(
            "valence_certificate_ready",
            "1 while a certificate is in force that the API server trusts.",
        )?,
        reloads: IntGauge::new(
            "valence_certificate_reloads",
            "How often the certificate in force has been replaced.",
        )?,
    }))
}

impl Collector for Certificates {
    fn desc(&self) -> Vec<&Desc> {
        let mut all = self.expiry.desc();
        all.extend(self.ready.desc());
        all.extend(self.reloads.desc());
        all
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let status = self.status.borrow().clone();
        for (certificate, end) in [
            ("leaf", status.leaf_not_after),
            ("authority", status.authority_not_after),
        ] {
            match end {
                Some(end) => self
                    .expiry
                    .with_label_values(&[certificate])
                    .set(end.as_second() as f64),
                None => drop(self.expiry.remove_label_values(&[certificate])),
            }
        }
        self.ready.set(i64::from(status.ready));
        self.reloads.set(i64::try_from(status.reloads).unwrap_or(i64::MAX));
        let mut all = self.expiry.collect();
        all.extend(self.ready.collect());
        all.extend(self.reloads.collect());
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_expiry_comes_and_goes_with_its_certificate() {
        let (sender, receiver) = watch::channel(Status::default());
        let registry = Registry::new();
        register(&registry, receiver).unwrap();
        let names = || {
            registry
                .gather()
                .iter()
                .map(|family| family.name().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(), ["valence_certificate_ready", "valence_certificate_reloads"]);
        sender.send_modify(|status| status.leaf_not_after = Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(names()[0], "valence_certificate_expiry_timestamp_seconds");
        sender.send_modify(|status| status.leaf_not_after = None);
        assert_eq!(names().len(), 2);
    }
}
