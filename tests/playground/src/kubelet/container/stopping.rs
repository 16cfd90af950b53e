//! The hooks of a container, and its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{ContainerRuntime, Stop, Turn, at_once};
use crate::kubelet::instance::{Exit, Instance};
use crate::kubelet::probe::Action;
use crate::kubelet::process;

impl ContainerRuntime {
    /// Runs the hook `name` where there is one; a command of it runs beside the container, with its environment.
    pub(super) async fn hook(&self, name: &str, hook: Option<&LifecycleHandler>) {
        let Some(hook) = hook else { return };
        let done = match hook.exec.as_ref().and_then(|exec| exec.command.as_deref()) {
            Some(command) => {
                let variables = self.variables.lock().clone();
                process::run(command, &variables).await
            }
            None => Action::of_hook(hook).run(self.address, &self.spec()).await,
        };
        if let Err(error) = done {
            let reason = format!("Failed{name}");
            self.event("Warning", &reason, format!("{name} failed: {error}")).await;
        }
    }

    pub(super) async fn end_within(&self, instance: &Instance, grace: Duration) -> Exit {
        let (_keep, mut stop) = watch::channel(Some(Instant::now() + grace));
        self.shut_down(instance, &mut stop, at_once()).await
    }

    /// The hook, the polite signal when it is its turn, and the last one when the time is over. The time can still become shorter.
    pub(super) async fn shut_down(
        &self,
        instance: &Instance,
        stop: &mut watch::Receiver<Stop>,
        mut turn: Turn,
    ) -> Exit {
        let spec = self.spec();
        let mut politely = std::pin::pin!(async {
            let hooks = spec.lifecycle.as_ref();
            self.hook("PreStopHook", hooks.and_then(|hooks| hooks.pre_stop.as_ref()))
                .await;
            tokio::select! {
                _ = turn.wait_for(|turn| *turn) => instance.control.terminate(),
                _ = instance.ended() => {}
            }
            instance.ended().await
        });
        loop {
            let deadline = stop.borrow_and_update().unwrap_or_else(Instant::now);
            tokio::select! {
                exit = &mut politely => return exit,
                () = tokio::time::sleep_until(deadline) => break,
                Ok(()) = stop.changed() => {}
            }
        }
        instance.control.kill();
        instance.ended().await
    }
}
