//! How a container is started.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use tokio::sync::watch;

use super::{ContainerRuntime, Stop};
use crate::controllers::objects::now;
use crate::kubelet::environment::{self, Facts, expand};
use crate::kubelet::image::Program;
use crate::kubelet::instance::Instance;
use crate::kubelet::own::{self, Place};
use crate::kubelet::process;
use crate::kubelet::quantity::Resources;
use crate::kubelet::state::State;

impl ContainerRuntime {
    /// Pulls, creates and starts. `Ok(None)` when stopped meanwhile, `Err` when it did not work this time.
    pub(super) async fn start(&self, first: bool, stop: &mut watch::Receiver<Stop>) -> Result<Option<Instance>, ()> {
        let spec = self.spec();
        let image = spec.image.clone().unwrap_or_default();
        let program = match self.node.images.program(&spec) {
            Ok(program) => program,
            Err(error) => {
                let message = format!("Failed to pull image \"{image}\": {error}");
                self.fail(
                    if first { "ErrImagePull" } else { "ImagePullBackOff" },
                    "Failed",
                    message,
                )
                .await;
                return Err(());
            }
        };
        if first {
            self.event("Normal", "Pulling", format!("Pulling image \"{image}\""))
                .await;
            if !self.sleep(self.node.start_delay(), stop).await {
                return Ok(None);
            }
            self.event("Normal", "Pulled", format!("Successfully pulled image \"{image}\""))
                .await;
        } else {
            self.log.turn();
            let message = format!("Container image \"{image}\" already present on machine");
            self.event("Normal", "Pulled", message).await;
        }
        let instance = match self.create(&spec, program).await {
            Ok(instance) => instance,
            Err((reason, error)) => {
                self.fail(reason, "Failed", format!("Error: {error:#}")).await;
                return Err(());
            }
        };
        self.event("Normal", "Created", format!("Created container: {}", spec.name))
            .await;
        *self.instance.lock() = Some(instance.clone());
        let has_readiness = spec.readiness_probe.is_some();
        let has_startup = spec.startup_probe.is_some();
        self.change(|view| {
            view.state = State::Running(now());
            view.id = Some(format!("playground://{:032x}", rand::random::<u128>()));
            view.started = !has_startup;
            view.ready = !has_startup && !has_readiness;
            view.resources.clone_from(&spec.resources);
        });
        self.event("Normal", "Started", format!("Started container {}", spec.name))
            .await;
        Ok(Some(instance))
    }

    async fn fail(&self, state: &str, reason: &str, message: String) {
        self.change(|view| {
            view.state = State::Waiting {
                reason: state.into(),
                message: message.clone(),
            }
        });
        self.event("Warning", reason, message).await;
    }

    async fn create(&self, spec: &Container, program: Program) -> Result<Instance, (&'static str, anyhow::Error)> {
        let pod = self.pod();
        let facts = Facts {
            pod: &pod,
            pod_ip: self.address.to_string(),
            node_ip: self.node.address().to_string(),
            allocatable: self.node.options.capacity.resources(),
        };
        let resolved = environment::resolve(&self.node.client, &facts, spec).await;
        let mut variables = resolved.map_err(|error| ("CreateContainerConfigError", error.into()))?;
        self.variables.lock().clone_from(&variables);
        let expanded = |words: Vec<String>, variables: &BTreeMap<String, String>| -> Vec<String> {
            words.iter().map(|word| expand(word, variables)).collect()
        };
        let started = match program {
            Program::Binary {
                path,
                arguments,
                operator,
            } => {
                let arguments = self.node.fit_to_host(&path, expanded(arguments, &variables));
                if operator {
                    self.give_credentials(&pod, &mut variables)
                        .map_err(|error| ("CreateContainerError", error))?;
                }
                process::start(&path, &arguments, &variables, &self.log)
            }
            Program::Own(arguments) => {
                let place = Place {
                    address: self.address,
                    limits: Resources::limits(spec.resources.as_ref()),
                    node_cores: self.node.options.capacity.cpu_cores,
                    client: self.node.client.clone(),
                };
                Ok(own::start(expanded(arguments, &variables), place, &self.log))
            }
        };
        started.map_err(|error| ("RunContainerError", error))
    }

    fn give_credentials(&self, pod: &Pod, variables: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".into());
        let file = (self.node.kubeconfig_for)(&pod.namespace().unwrap_or_default(), &account)?;
        variables.insert("KUBECONFIG".into(), file.display().to_string());
        // Pods share one network namespace here: each listens on its own address instead of on all.
        let listen = variables.entry("VALENCE_LISTEN_ADDRESS".into());
        listen.or_insert_with(|| self.address.to_string());
        Ok(())
    }
}
