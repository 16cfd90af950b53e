//! The command line of the playground.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::run::{self, DemoOptions};
use super::view::say;
use crate::application::{ApplicationProfile, PodLimits};
use crate::load::{Generator, LoadOptions, of_host};
use crate::sample::{Adjustment, ApplicationOptions, Burner, Listen, Work, Worker, duration, serve};
use crate::{Options, Playground};

/// A Kubernetes control plane and kubelet in one process, for the demo and the tests of Valence.
#[derive(Parser, Debug)]
#[command(name = "playground", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Starts the API and the kubelet, prints the kubeconfig's path and runs until ^C.
    Up {
        #[command(flatten)]
        cluster: Cluster,
        /// Applies these manifests at the start.
        #[arg(long)]
        apply: Vec<PathBuf>,
        /// Installs Valence from its manifests first, and waits until it serves.
        #[arg(long)]
        install: bool,
        /// Further argument of `valence run`.
        #[arg(long = "operator-argument", requires = "install", allow_hyphen_values = true)]
        operator_arguments: Vec<String>,
    },
    /// Shows Valence at work on a workload whose load rises and falls.
    Demo {
        #[command(flatten)]
        cluster: Cluster,
        /// How many seconds of load; until ^C without it.
        #[arg(long, env = "DEMO_SECONDS")]
        seconds: Option<u64>,
        /// Requests per second at the lowest.
        #[arg(long, default_value_t = 20.0)]
        base: f64,
        /// How many more at the highest.
        #[arg(long, default_value_t = 80.0)]
        amplitude: f64,
        /// Time from the beginning of one rise and fall to that of the next; all of the seconds, or 4 minutes.
        #[arg(long, value_parser = duration)]
        period: Option<Duration>,
        /// Argument of `valence run`; given once or more, instead of those that shorten its waits enough to watch.
        #[arg(long = "operator-argument", default_values = ["--hurried", "--scrape-interval=5s", "--decision-interval=5s"])]
        operator_arguments: Vec<String>,
    },
    /// Serves the sample application.
    Application {
        #[command(flatten)]
        options: ApplicationOptions,
        /// Address to serve on.
        #[arg(long, default_value = "0.0.0.0")]
        address: IpAddr,
        /// Only waits as long as the work would take, instead of burning CPU and holding memory.
        #[arg(long)]
        simulate: bool,
    },
    /// Makes load and prints the account as JSON.
    Load {
        #[command(flatten)]
        options: LoadOptions,
    },
}

#[derive(Args, Debug)]
struct Cluster {
    /// The operator's binary.
    #[arg(long, env = "VALENCE_BINARY")]
    valence: Option<PathBuf>,
    /// The Envoy binary.
    #[arg(long, env = "ENVOY_BINARY")]
    envoy: Option<PathBuf>,
    /// Another image and the binary that stands for it.
    #[arg(long = "image", value_name = "NAME=PATH", value_parser = image)]
    images: Vec<(String, PathBuf)>,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Folder for the kubeconfig.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Cores of the node.
    #[arg(long, default_value_t = 16.0)]
    cpu: f64,
    /// Memory of the node in GiB.
    #[arg(long, default_value_t = 64)]
    memory_gib: u64,
    /// Shortest time to pull an image.
    #[arg(long, default_value = "1s", value_parser = duration)]
    start_least: Duration,
    /// Longest time to pull an image.
    #[arg(long, default_value = "3s", value_parser = duration)]
    start_most: Duration,
}

fn image(text: &str) -> anyhow::Result<(String, PathBuf)> {
    let (name, path) = text.split_once('=').context("expected NAME=PATH")?;
    Ok((
        name.to_owned(),
        PathBuf::from(path)
            .canonicalize()
            .with_context(|| format!("no binary {path}"))?,
    ))
}

impl Cluster {
    fn options(self) -> anyhow::Result<Options> {
        let mut options = Options::from_environment()?;
        options.images.valence = existing(self.valence)?.or(options.images.valence);
        options.images.envoy = existing(self.envoy)?.or(options.images.envoy);
        options.images.others = self.images;
        options.listen = self.listen;
        options.directory = self.directory;
        options.node.capacity.cpu_cores = self.cpu;
        options.node.capacity.memory_bytes = self.memory_gib << 30;
        options.node.start_delay = (self.start_least, self.start_most);
        Ok(options)
    }
}

fn existing(path: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    path.map(|path| {
        path.canonicalize()
            .with_context(|| format!("no binary {}", path.display()))
    })
    .transpose()
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Says what could not be done.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let directives = std::env::var("RUST_LOG").ok();
        let filter = directives
            .and_then(|directives| directives.parse::<Targets>().ok())
            .unwrap_or_else(|| {
                // The client tells each failed request by itself, and every watch fails at the end.
                Targets::new()
                    .with_default(LevelFilter::WARN)
                    .with_target("kube_client", LevelFilter::OFF)
            });
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        tracing_subscriber::registry().with(filter).with(layer).init();
        match self.command {
            Command::Up {
                cluster,
                apply,
                install,
                operator_arguments,
            } => up(cluster.options()?, apply, install.then_some(operator_arguments)).await,
            Command::Demo {
                cluster,
                seconds,
                base,
                amplitude,
                period,
                operator_arguments,
            } => {
                let length = seconds.map(Duration::from_secs);
                let mut options = cluster.options()?;
                // A metrics server looks every 15 s at most; within three minutes that is too coarse to watch.
                options.node.usage_window = Duration::from_secs(5);
                run::run(
                    options,
                    DemoOptions {
                        length,
                        base,
                        amplitude,
                        period,
                        operator_arguments,
                    },
                )
                .await
            }
            Command::Application {
                options,
                address,
                simulate,
            } => application(options, address, simulate).await,
            Command::Load { options } => load(options).await,
        }
    }
}

/// Cancelled at SIGINT or SIGTERM.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    Ok(token)
}

async fn up(options: Options, manifests: Vec<PathBuf>, install: Option<Vec<String>>) -> anyhow::Result<ExitCode> {
    let stop = stop_signal()?;
    let playground = Playground::start(options).await?;
    say(&format!("export KUBECONFIG={}\n", playground.kubeconfig().display()));
    if let Some(arguments) = install {
        let page = run::install(&playground, &arguments).await?;
        say(&format!("# Valence serves, its page at {page}\n"));
    }
    for manifest in manifests {
        let text = std::fs::read_to_string(&manifest).with_context(|| format!("reading {}", manifest.display()))?;
        playground
            .apply(&text)
            .await
            .with_context(|| format!("in {}", manifest.display()))?;
    }
    stop.cancelled().await;
    playground.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// A process of its own is measured by others: it does the work, unless it is asked to simulate it.
async fn application(options: ApplicationOptions, address: IpAddr, simulate: bool) -> anyhow::Result<ExitCode> {
    let profile = options.profile()?;
    let work: Work = if simulate {
        simulated(profile, &options).into()
    } else {
        Burner::start(profile, options.demand_scale, options.downstream_scale, options.seed).into()
    };
    let listen = Listen {
        address,
        port: options.port,
        error_share: options.error_share,
        drain: stop_signal()?,
    };
    serve(work, listen).await?;
    Ok(ExitCode::SUCCESS)
}

fn simulated(profile: ApplicationProfile, options: &ApplicationOptions) -> Worker {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let limits = PodLimits {
        cpu_limit: options.cpu_limit,
        cpu_capacity: cores,
    };
    let worker = Worker::start(profile, limits, options.seed);
    worker.adjust(Adjustment::DemandScale(options.demand_scale));
    worker.adjust(Adjustment::DownstreamScale(options.downstream_scale));
    worker
}

async fn load(options: LoadOptions) -> anyhow::Result<ExitCode> {
    let stop = stop_signal()?;
    let (host, port) = options.host()?;
    let generator = Generator::start(options.settings()?, of_host(&host, port));
    let report = loop {
        tokio::select! {
            report = generator.finished() => break report,
            () = stop.cancelled() => break generator.stop().await,
            () = tokio::time::sleep(Duration::from_secs(10)) => tracing::info!("{}", generator.progress(10.0)),
        }
    };
    say(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    let failed = report.failed as f64 > options.most_failures * report.offered as f64;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
