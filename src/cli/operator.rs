//! Puts the parts of the operator together and takes them down in order.

use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use valence_certs::{Certificates, ClientAuthentication, Managed, Options as CertificateOptions, Source};
use valence_webhook::{Admission, Plans, notices};

use super::capabilities;
use super::cluster::inferred;
use super::run::Arguments;
use super::serving::Serving;
use crate::cache::Cluster;
use crate::recommender::lease::{Candidate, Pace};
use crate::recommender::pulse::Pulse;
use crate::recommender::{Options, Recommender};
use crate::report::events::{Events, relay};
use crate::report::metrics::{Metrics, certificates, server};
use crate::report::page;
use crate::report::statsd;
use crate::report::status::Board;

/// Name of the Service in front of the webhook.
const WEBHOOK_SERVICE: &str = "valence-webhook";

/// Name of the Secret with the certificates.
const CERTIFICATES: &str = "valence-webhook-certificates";

/// Name of the MutatingWebhookConfiguration.
const CONFIGURATION: &str = "valence";

/// Most notices of admission that wait to become Events.
const NOTICES: usize = 1024;

/// How often gauges are sent by StatsD.
const STATSD_INTERVAL: Duration = Duration::from_secs(10);

/// How long admission stays open after the signal to stop: endpoints of a large cluster need that long to forget this
/// replica on every node.
const LEAVING: Duration = Duration::from_secs(12);

/// The same on a control plane of one machine.
const LEAVING_HURRIED: Duration = Duration::from_secs(3);

/// Longest wait for what is under way at the end.
const DRAINING: Duration = Duration::from_secs(10);

/// The operator: admission, the recommender and what they report.
pub struct Operator {
    arguments: Arguments,
    cluster: Arc<Cluster>,
    certificates: Certificates,
    tasks: JoinSet<()>,
    followers: JoinSet<()>,
    serving: Serving,
    /// Whether connections to the webhook are accepted.
    accepting: Arc<AtomicBool>,
    /// Name of this replica, of which there is only one.
    instance: String,
    /// Ends the recommender, which then gives back its Lease.
    retire: CancellationToken,
    /// Ends what serves.
    close: CancellationToken,
}

impl Operator {
    /// Starts every part; each waits by itself for what it needs.
    ///
    /// # Errors
    /// When no API server is configured or a port is taken.
    pub async fn start(arguments: Arguments) -> anyhow::Result<Self> {
        valence_certs::install_crypto_provider();
        let client = client(arguments.watch_timeout).await?;
        let (retire, close) = (CancellationToken::new(), CancellationToken::new());
        let options = CertificateOptions {
            client_authentication: client_authentication(&arguments),
            ..CertificateOptions::new(certificates(&arguments))
        };
        let certificates = Certificates::start(client.clone(), options, close.clone())?;
        let mut operator = Self {
            cluster: Arc::new(Cluster::default()),
            certificates,
            tasks: JoinSet::new(),
            followers: JoinSet::new(),
            serving: Serving::start()?,
            accepting: Arc::default(),
            instance: instance(),
            retire,
            close,
            arguments,
        };
        let watch_seconds = u32::try_from(operator.arguments.watch_timeout.as_secs().max(1)).unwrap_or(60);
        // Who looks after the certificate is a part like any other.
        let kept = operator.certificates.clone();
        operator.tasks.spawn(async move { kept.ended().await });
        operator.cluster.follow(&client, watch_seconds, &mut operator.followers);
        operator.open(&client).await?;
        Ok(operator)
    }

    async fn open(&mut self, client: &Client) -> anyhow::Result<()> {
        let board = Arc::new(Board::default());
        let metrics = Metrics::new(Arc::clone(&board))?;
        certificates::register(&metrics.registry, self.certificates.status())?;
        let (events, publisher) = Events::new(client.clone(), self.instance.clone(), metrics.events.clone());
        self.followers.spawn(publisher.run());
        self.admit(client, &metrics, events.clone()).await?;
        self.serve_page(Arc::clone(&board)).await?;
        if let Some(target) = self.arguments.statsd.clone() {
            self.tasks.spawn(statsd::run(
                target,
                metrics.registry.clone(),
                STATSD_INTERVAL,
                self.close.clone(),
            ));
        }
        let pulses = self.recommend(client, board, metrics.clone(), events);
        self.serve_metrics(metrics, pulses).await
    }

    /// Serves admission from the caches of this replica.
    async fn admit(&mut self, client: &Client, metrics: &Metrics, events: Events) -> anyhow::Result<()> {
        let listener = self.listen(self.arguments.webhook_port).await?;
        let (notices, told) = notices::channel(NOTICES);
        let plans: Arc<dyn Plans> = Arc::clone(&self.cluster) as Arc<dyn Plans>;
        let counted = valence_webhook::Metrics::register(&metrics.registry)?;
        let chosen = self.arguments.admission();
        let (tls, close, asking) = (self.certificates.server_config(), self.close.clone(), client.clone());
        let accepting = Arc::clone(&self.accepting);
        let admit = async move {
            let Some(first) = close.run_until_cancelled(capabilities::of_cluster(&asking)).await else {
                return;
            };
            let admission = Arc::new(Admission::new(plans, first.allow(&chosen), counted, Arc::new(notices)));
            accepting.store(true, Ordering::Relaxed);
            let upgrades = capabilities::follow(&asking, first, |now| admission.reconfigure(now.allow(&chosen)));
            tokio::select! {
                () = upgrades => {}
                served = valence_webhook::serve(listener, tls, Arc::clone(&admission), close) => {
                    if let Err(error) = served {
                        warn!(%error, "admission is no longer served");
                    }
                }
            }
        };
        self.tasks.spawn_on(admit, self.serving.handle());
        self.followers.spawn(relay(told, events, Arc::clone(&self.cluster)));
        Ok(())
    }

    async fn serve_metrics(&mut self, metrics: Metrics, pulses: Vec<Pulse>) -> anyhow::Result<()> {
        let listener = self.listen(self.arguments.metrics_port).await?;
        let (cluster, certificates, retire) = (
            Arc::clone(&self.cluster),
            self.certificates.clone(),
            self.retire.clone(),
        );
        let accepting = Arc::clone(&self.accepting);
        let readiness = Arc::new(move || {
            let is_accepting = accepting.load(Ordering::Relaxed);
            missing(&cluster, certificates.is_ready(), is_accepting, retire.is_cancelled())
        });
        let liveness = Arc::new(move || pulses.iter().all(Pulse::is_alive));
        let serving = server::serve(listener, metrics, readiness, liveness, self.close.clone());
        let serve = async move {
            if let Err(error) = serving.await {
                warn!(%error, "metrics are no longer served");
            }
        };
        // The kubelet's probes are answered however much there is to decide.
        self.tasks.spawn_on(serve, self.serving.handle());
        Ok(())
    }

    async fn serve_page(&mut self, board: Arc<Board>) -> anyhow::Result<()> {
        if self.arguments.page_port == 0 {
            return Ok(());
        }
        let listener = listen(self.arguments.listen_address, self.arguments.page_port).await?;
        let serving = page::serve(listener, board, self.arguments.prices.clone(), self.close.clone());
        self.tasks.spawn(async move {
            if let Err(error) = serving.await {
                warn!(%error, "the page is no longer served");
            }
        });
        Ok(())
    }

    /// Listens with the threads that serve.
    async fn listen(&self, port: u16) -> anyhow::Result<TcpListener> {
        let listening = listen(self.arguments.listen_address, port);
        self.serving.handle().spawn(listening).await?
    }

    /// Competes for the Lease and recommends while it is held; what comes back beats while that gets on.
    fn recommend(&mut self, client: &Client, board: Arc<Board>, metrics: Metrics, events: Events) -> Vec<Pulse> {
        let (candidate, leadership) = Candidate::new(
            client.clone(),
            &self.arguments.namespace,
            self.instance.clone(),
            Pace::default(),
        );
        let options = Options {
            scrape_interval: self.arguments.scrape_interval,
            decision_interval: self.arguments.decision_interval,
            settings: self.arguments.settings(),
            evict: self.arguments.evict,
            readmit_services: self.arguments.readmit_services,
        };
        let cluster = Arc::clone(&self.cluster);
        let recommender = Recommender::new(client, cluster, leadership, board, metrics, events, options);
        let pulses = recommender.pulses();
        self.tasks
            .spawn(candidate.while_alive(pulses.clone()).run(self.close.clone()));
        self.tasks.spawn(recommender.run(self.retire.clone()));
        pulses
    }

    /// Runs until SIGTERM or SIGINT, then takes everything down in order: first this replica is no longer ready and the
    /// recommender writes what it learnt; then, when nobody sends admission any more, what is under way is answered.
    ///
    /// # Errors
    /// When signals cannot be received, or when a part ended by itself: the rest is taken down in the same order, and the
    /// kubelet starts all of it anew.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let ended = tokio::select! {
            _ = terminate.recv() => { info!("told to stop"); None }
            _ = interrupt.recv() => { info!("interrupted"); None }
            Some(ended) = self.tasks.join_next() => Some(ended),
            Some(ended) = self.followers.join_next() => Some(ended),
        };
        if let Some(ended) = &ended {
            error!(?ended, "a part of the operator ended by itself");
        }
        self.retire.cancel();
        let hurried = self.arguments.hurried;
        tokio::time::sleep(if hurried { LEAVING_HURRIED } else { LEAVING }).await;
        self.close.cancel();
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAINING, drained).await.is_err() {
            warn!("gave up on what was still under way");
        }
        self.followers.abort_all();
        info!("stopped");
        match ended {
            None => Ok(()),
            Some(ended) => anyhow::bail!("a part of the operator ended by itself: {ended:?}"),
        }
    }
}

/// Listens on an address; on every one of IPv4 where it is every one of IPv6, and there is no IPv6.
async fn listen(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    let bound = match TcpListener::bind((address, port)).await {
        Err(error) if address == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    };
    bound.with_context(|| format!("cannot listen on {}", SocketAddr::new(address, port)))
}

/// Who makes the certificate.
fn certificates(arguments: &Arguments) -> Source {
    let namespace = &arguments.namespace;
    if arguments.external_certificates {
        return Source::Secret {
            namespace: namespace.clone(),
            name: CERTIFICATES.to_owned(),
        };
    }
    let mut managed = Managed::for_service(namespace, WEBHOOK_SERVICE, CERTIFICATES, CONFIGURATION);
    if arguments.hurried {
        managed.lifetimes.settle = Duration::from_secs(2);
        managed.lifetimes.retire = Duration::from_secs(4);
    }
    Source::Managed(managed)
}

fn client_authentication(arguments: &Arguments) -> Option<ClientAuthentication> {
    Some(ClientAuthentication {
        authorities: arguments.client_ca.clone()?,
        names: arguments.client_names.clone(),
    })
}

/// What is missing before admission can be served by this replica.
fn missing(cluster: &Cluster, is_certified: bool, is_accepting: bool, is_leaving: bool) -> Vec<String> {
    let lists = cluster.missing().into_iter().map(|kind| format!("the list of {kind}"));
    let mut missing: Vec<String> = lists.collect();
    for (is_there, what) in [
        (is_certified, "a certificate in force"),
        (is_accepting, "the version of the cluster"),
        (!is_leaving, "its end"),
    ] {
        if !is_there {
            missing.push(what.to_owned());
        }
    }
    missing
}

async fn client(watch_timeout: Duration) -> anyhow::Result<Client> {
    let mut config = inferred()
        .await
        .context("no API server is configured: neither a service account nor a kubeconfig was found")?;
    // A request that hangs must not hold up a cycle for minutes.
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(15));
    // Whoever is silent for longer than a watch lasts is no longer there, whatever the socket says.
    config.read_timeout = Some(watch_timeout + Duration::from_secs(15));
    config.reset_reader_on_write = true;
    // kube-rs would ask again after 429 and 503, for minutes in the end; here the next cycle does.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// The name of this replica: that of its pod, so that a container that was restarted finds its own Lease again. Where nobody
/// says it, one that no other replica has: the process numbers of containers are all alike.
fn instance() -> String {
    let named = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    named.unwrap_or_else(|| format!("valence-{:016x}", RandomState::new().hash_one(std::process::id())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[test]
    fn ready_means_that_reviews_are_answered() {
        let cluster = Cluster::default();
        let lists = cluster.missing().len();
        assert_eq!(missing(&cluster, true, true, false).len(), lists);
        let named = |missing: Vec<String>| missing[lists..].join(", ");
        assert_eq!(
            named(missing(&cluster, true, false, false)),
            "the version of the cluster"
        );
        assert_eq!(
            named(missing(&cluster, false, true, true)),
            "a certificate in force, its end"
        );
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// An operator of which nothing runs yet, and whose API server knows nothing.
    fn idle() -> Operator {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let mut response = http::Response::new(kube::client::Body::empty());
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            Ok::<_, std::convert::Infallible>(response)
        });
        let arguments = Line::parse_from(["run", "--hurried"]).arguments;
        let options = CertificateOptions::new(certificates(&arguments));
        let close = CancellationToken::new();
        let client = Client::new(service, "valence-system");
        Operator {
            certificates: Certificates::start(client, options, close.clone()).unwrap(),
            arguments,
            cluster: Arc::default(),
            tasks: JoinSet::new(),
            followers: JoinSet::new(),
            serving: Serving::start().unwrap(),
            accepting: Arc::default(),
            instance: instance(),
            retire: CancellationToken::new(),
            close,
        }
    }

    #[tokio::test]
    async fn a_part_that_ends_takes_the_rest_down_in_order() {
        let mut operator = idle();
        let (retire, close) = (operator.retire.clone(), operator.close.clone());
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        for (name, token) in [("the recommender", retire), ("admission", close)] {
            let order = Arc::clone(&order);
            operator.tasks.spawn(async move {
                token.cancelled().await;
                order.lock().unwrap().push(name);
            });
        }
        operator.followers.spawn(async { panic!("a watch") });
        let error = operator.run().await.unwrap_err();
        assert!(error.to_string().contains("ended by itself"), "{error}");
        assert_eq!(*order.lock().unwrap(), ["the recommender", "admission"]);
    }

    #[tokio::test]
    async fn an_operator_ends_with_the_keeper_of_its_certificate() {
        let mut operator = idle();
        let kept = operator.certificates.clone();
        operator.tasks.spawn(async move { kept.ended().await });
        // As a fault would.
        operator.close.cancel();
        let error = operator.run().await.unwrap_err();
        assert!(error.to_string().contains("ended by itself"), "{error}");
    }

    #[test]
    fn no_two_replicas_have_one_name() {
        assert_ne!(instance(), instance());
    }

    #[tokio::test]
    async fn every_address_is_those_of_ipv4_too() {
        let listener = listen(Ipv6Addr::UNSPECIFIED.into(), 0).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        // A machine without IPv6 has no such address to be reached by.
        if std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            tokio::net::TcpStream::connect((Ipv6Addr::LOCALHOST, port))
                .await
                .unwrap();
        }
        let taken = listen(Ipv6Addr::UNSPECIFIED.into(), port).await.unwrap_err();
        assert!(taken.to_string().contains(&format!("[::]:{port}")), "{taken}");
    }
}
