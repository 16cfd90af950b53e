//! The loop of a replica that looks after Valence's own CA: read, decide, do one thing, look again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tracing::{debug, info};

use crate::bundle;
use crate::certificates::{InForce, Keeper};
use crate::decide::{Bundle, Step, View, decide};
use crate::error::Error;
use crate::issue;
use crate::material::Material;
use crate::options::Managed;
use crate::watch::Changes;

const FIELD_MANAGER: &str = "valence";
/// Steps between two pauses. A whole rotation takes four; more in a row means that somebody undoes what is done.
const STEPS_IN_A_ROW: usize = 8;

pub(crate) struct Manager {
    secrets: Api<Secret>,
    configurations: Api<MutatingWebhookConfiguration>,
    options: Managed,
    in_force: InForce,
    remembered: Option<Material>,
    bundle_live: Option<(String, Timestamp)>,
}

/// What one look found.
struct Read {
    configuration: Option<MutatingWebhookConfiguration>,
    secret: Option<Secret>,
    material: Option<Material>,
}

impl Manager {
    pub(crate) fn new(client: Client, options: Managed, in_force: InForce) -> Self {
        let secrets = Api::namespaced(client.clone(), &options.namespace);
        Self {
            secrets,
            configurations: Api::all(client),
            options,
            in_force,
            remembered: None,
            bundle_live: None,
        }
    }

    pub(crate) async fn run(mut self, keeper: &Keeper) {
        let mut changes = Changes::new();
        changes.watch(self.secrets.clone(), &self.options.secret);
        if let Some(name) = &self.options.webhook_configuration {
            changes.watch(self.configurations.clone(), name);
        }
        let mut failures = 0;
        loop {
            let pause = match self.settle().await {
                Ok(until) => {
                    failures = 0;
                    self.pause_until(until).min(keeper.options.recheck)
                }
                Err(error) => {
                    self.in_force.report_failure(&error);
                    failures += 1;
                    backoff(failures).min(keeper.options.recheck)
                }
            };
            changes.wait(pause, &keeper.nudge).await;
            keeper.reload_client_authorities();
        }
    }

    /// Does one thing after the other until there is nothing to do before the time that it returns.
    async fn settle(&mut self) -> Result<Timestamp, Error> {
        for _ in 0..STEPS_IN_A_ROW {
            // The configuration first: whatever CA it carries was in the Secret before, so the Secret read after it
            // cannot be an older one, and publishing the Secret's CAs never takes away one that is in use.
            let configuration = self.configuration().await?;
            let secret = self.secrets.get_opt(&self.options.secret).await?;
            let read = self.understand(configuration, secret);
            let bundle = self.bundle_state(&read);
            self.serve(&read)?;
            let view = View {
                secret: read.material.as_ref(),
                remembered: self.remembered.as_ref(),
                bundle,
            };
            let now = self.in_force.now();
            match decide(view, &self.options, now) {
                Step::Wait(until) => return Ok(until),
                step => self.perform(step, read, now).await?,
            }
        }
        Ok(self.in_force.now())
    }

    async fn configuration(&self) -> Result<Option<MutatingWebhookConfiguration>, Error> {
        match &self.options.webhook_configuration {
            Some(name) => Ok(self.configurations.get_opt(name).await?),
            None => Ok(None),
        }
    }

    fn understand(&self, configuration: Option<MutatingWebhookConfiguration>, secret: Option<Secret>) -> Read {
        let data = secret.as_ref().and_then(|secret| secret.data.as_ref());
        let material = data.and_then(|data| {
            Material::parse(data)
                .inspect_err(|error| self.in_force.report_failure(error))
                .ok()
        });
        Read {
            configuration,
            secret,
            material,
        }
    }

    fn bundle_state(&mut self, read: &Read) -> Bundle {
        if self.options.webhook_configuration.is_none() {
            return Bundle::Foreign;
        }
        let configuration = read
            .configuration
            .as_ref()
            .filter(|configuration| bundle::has_webhooks(configuration));
        let Some(configuration) = configuration else {
            return Bundle::Absent;
        };
        let Some(material) = read
            .material
            .as_ref()
            .filter(|material| bundle::is_live(configuration, material))
        else {
            self.bundle_live = None;
            return Bundle::Differs;
        };
        let (now, pem) = (self.in_force.now(), material.bundle());
        // A clock that jumped back must not turn the settling time into a long one.
        let since = self
            .bundle_live
            .take()
            .filter(|(live, _)| *live == pem)
            .map_or(now, |(_, since)| since.min(now));
        self.bundle_live = Some((pem, since));
        Bundle::Live(since)
    }

    fn serve(&mut self, read: &Read) -> Result<(), Error> {
        let Some(material) = &read.material else { return Ok(()) };
        self.in_force.serve(&material.contents())?;
        let trusted = read
            .configuration
            .as_ref()
            .is_none_or(|configuration| bundle::trusts(configuration, material));
        self.in_force.report(trusted, Some(material.authority.not_after));
        self.remembered = Some(material.clone());
        Ok(())
    }

    async fn perform(&self, step: Step, read: Read, now: Timestamp) -> Result<(), Error> {
        if step == Step::PublishBundle {
            return self.publish(&read).await;
        }
        let Some(material) = self.next_material(step, read.material.as_ref(), now)? else {
            return Ok(());
        };
        self.write(read.secret, &material, step).await
    }

    fn next_material(&self, step: Step, current: Option<&Material>, now: Timestamp) -> Result<Option<Material>, Error> {
        let current = current.or(self.remembered.as_ref());
        Ok(match (step, current) {
            (Step::IssueEverything, _) => Some(issue::everything(&self.options, now)?),
            (Step::RotateAuthority(_), Some(current)) => Some(issue::rotated_authority(&self.options, current, now)?),
            (Step::IssueLeaf(_), Some(current)) => Some(issue::renewed_leaf(&self.options, current, now)?),
            (Step::RetirePrevious, Some(current)) => Some(Material {
                previous: Vec::new(),
                ..current.clone()
            }),
            _ => None,
        })
    }

    /// Writes the Secret over exactly what was read. When another replica was faster, its work is read next.
    async fn write(&self, read: Option<Secret>, material: &Material, step: Step) -> Result<(), Error> {
        let exists = read.is_some();
        let mut secret = read.unwrap_or_else(|| self.new_secret());
        secret.data = Some(material.contents());
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let written = match exists {
            true => self.secrets.replace(&self.options.secret, &parameters, &secret).await,
            false => self.secrets.create(&parameters, &secret).await,
        };
        match written {
            Ok(_) => info!(?step, secret = self.options.secret, "wrote the certificates"),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                debug!(?step, "another replica was faster");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn new_secret(&self) -> Secret {
        let labels = [
            ("app.kubernetes.io/name", "valence"),
            ("app.kubernetes.io/managed-by", "valence"),
        ];
        let labels: BTreeMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Secret {
            metadata: ObjectMeta {
                name: Some(self.options.secret.clone()),
                namespace: Some(self.options.namespace.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        }
    }

    async fn publish(&self, read: &Read) -> Result<(), Error> {
        let (Some(configuration), Some(material)) = (&read.configuration, &read.material) else {
            return Ok(());
        };
        let Some(name) = &self.options.webhook_configuration else {
            return Ok(());
        };
        let operations = serde_json::from_value(bundle::patch(configuration, material))
            .map_err(|error| Error::malformed("caBundle patch", error))?;
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match self
            .configurations
            .patch(name, &parameters, &Patch::Json::<()>(operations))
            .await
        {
            Ok(_) => info!(configuration = name, "published the CA bundle"),
            // 422: a test of the patch failed, so somebody changed the configuration; it is read again.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
                debug!(configuration = name, %status, "the configuration changed meanwhile");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn pause_until(&self, until: Timestamp) -> Duration {
        let pause = until.duration_since(self.in_force.now());
        // A pause of nothing would spin where the steps in a row were used up.
        Duration::try_from(pause)
            .unwrap_or(Duration::ZERO)
            .max(Duration::from_millis(200))
    }
}

/// 200 ms, doubled with every failure up to 30 s.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_millis(200 << failures.saturating_sub(1).min(8)).min(Duration::from_secs(30))
}
