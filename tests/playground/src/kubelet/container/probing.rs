//! The probes of a container.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;

use super::ContainerRuntime;
use crate::kubelet::probe::{Action, Schedule};

impl ContainerRuntime {
    /// Runs the probes; returns the name of the one that says that the container must be restarted.
    pub(super) async fn monitor(&self, spec: &Arc<Container>) -> &'static str {
        if let Some(probe) = &spec.startup_probe {
            if !self.succeeds_in_time(spec, &Schedule::of(probe)).await {
                return "startup";
            }
            let ready = spec.readiness_probe.is_none();
            self.change(|view| {
                view.started = true;
                view.ready = ready;
            });
        }
        let readiness = async {
            match &spec.readiness_probe {
                Some(probe) => self.follow_readiness(spec, &Schedule::of(probe)).await,
                None => std::future::pending().await,
            }
        };
        let liveness = async {
            match &spec.liveness_probe {
                Some(probe) => self.fails_for_good(spec, &Schedule::of(probe)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = readiness => "readiness",
            () = liveness => "liveness",
        }
    }

    async fn probe(&self, kind: &str, spec: &Arc<Container>, schedule: &Schedule) -> bool {
        if schedule.action == Action::Exec {
            let message = format!("{kind} probe runs a command, which the playground cannot: counted as success");
            self.event("Warning", "ProbeSkipped", message).await;
        }
        match schedule.once(self.address, spec).await {
            Ok(()) => true,
            Err(error) => {
                self.event("Warning", "Unhealthy", format!("{kind} probe failed: {error}"))
                    .await;
                false
            }
        }
    }

    async fn succeeds_in_time(&self, spec: &Arc<Container>, schedule: &Schedule) -> bool {
        tokio::time::sleep(schedule.initial_delay).await;
        for _ in 0..schedule.failures {
            if self.probe("Startup", spec, schedule).await {
                return true;
            }
            tokio::time::sleep(schedule.period).await;
        }
        false
    }

    async fn follow_readiness(&self, spec: &Arc<Container>, schedule: &Schedule) {
        tokio::time::sleep(schedule.initial_delay).await;
        let (mut successes, mut failures) = (0, 0);
        loop {
            if self.probe("Readiness", spec, schedule).await {
                (successes, failures) = (successes + 1, 0);
            } else {
                (successes, failures) = (0, failures + 1);
            }
            let was = self.view.lock().ready;
            if !was && successes >= schedule.successes {
                self.change(|view| view.ready = true);
            } else if was && failures >= schedule.failures {
                self.change(|view| view.ready = false);
            }
            tokio::time::sleep(schedule.period).await;
        }
    }

    async fn fails_for_good(&self, spec: &Arc<Container>, schedule: &Schedule) {
        tokio::time::sleep(schedule.initial_delay).await;
        let mut failures = 0;
        while failures < schedule.failures {
            failures = if self.probe("Liveness", spec, schedule).await {
                0
            } else {
                failures + 1
            };
            if failures < schedule.failures {
                tokio::time::sleep(schedule.period).await;
            }
        }
    }
}
