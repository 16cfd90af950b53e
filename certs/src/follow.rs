//! Serves a certificate that somebody else looks after: from files, or from a Secret read by name.

use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use crate::certificates::{InForce, Keeper};
use crate::error::Error;
use crate::manage::backoff;
use crate::material::Contents;
use crate::options::Source;
use crate::watch::Changes;

/// Files are read this often. The kubelet swaps a mounted Secret behind a symbolic link, which no watch of the file
/// itself would see.
const FILE_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Follower {
    client: Client,
    source: Source,
    in_force: InForce,
}

impl Follower {
    pub(crate) fn new(client: Client, source: Source, in_force: InForce) -> Self {
        Self {
            client,
            source,
            in_force,
        }
    }

    pub(crate) async fn run(mut self, keeper: &Keeper) {
        let mut changes = Changes::new();
        if let Source::Secret { namespace, name } = &self.source {
            changes.watch(Api::<Secret>::namespaced(self.client.clone(), namespace), name);
        }
        let mut failures = 0;
        loop {
            let interval = match self.look().await {
                Ok(interval) => {
                    failures = 0;
                    self.in_force.report(true, None);
                    interval
                }
                Err(error) => {
                    self.in_force.report_failure(&error);
                    failures += 1;
                    backoff(failures)
                }
            };
            changes.wait(interval.min(keeper.options.recheck), &keeper.nudge).await;
            keeper.reload_client_authorities();
        }
    }

    async fn look(&mut self) -> Result<Duration, Error> {
        match &self.source {
            Source::Files { certificate, key } => {
                let (chain, private) = (read(certificate).await?, read(key).await?);
                self.in_force
                    .serve_pem(&chain, &private, &certificate.display().to_string())?;
                Ok(FILE_INTERVAL)
            }
            Source::Secret { namespace, name } => {
                let contents = contents(&self.client, namespace, name).await?;
                self.in_force.serve(&contents)?;
                Ok(Duration::MAX)
            }
            Source::Managed(_) => Err(Error::Options("a managed certificate is not followed")),
        }
    }
}

async fn contents(client: &Client, namespace: &str, name: &str) -> Result<Contents, Error> {
    let secret = Api::<Secret>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await?;
    let what = || format!("Secret {namespace}/{name}");
    let secret = secret.ok_or_else(|| Error::malformed(what(), "does not exist"))?;
    secret.data.ok_or_else(|| Error::malformed(what(), "is empty"))
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}
