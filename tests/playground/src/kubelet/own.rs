//! Containers that are the playground's own programs and run inside its process: the sample application, the load
//! generator, and small ones for tests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::instance::{Control, Exit, Instance, Usage};
use super::logs::Log;
use super::quantity::Resources;
use crate::application::PodLimits;
use crate::load::{Generator, LoadOptions, of_host, of_service};
use crate::sample::{Adjustment, ApplicationOptions, Listen, Worker, duration, serve};

/// The programs of the image `ghcr.io/valencenet/playground`.
#[derive(Parser, Debug)]
#[command(name = "playground", no_binary_name = true)]
enum Own {
    /// Serves the sample application.
    Application(ApplicationOptions),
    /// Makes load.
    Load(LoadOptions),
    /// Does nothing until it is stopped.
    Idle,
    /// Ends by itself.
    Exit {
        /// Exit code.
        #[arg(long, default_value_t = 0)]
        code: i32,
        /// After this time.
        #[arg(long, default_value = "0s", value_parser = duration)]
        after: Duration,
    },
}

/// Where an own program runs.
pub struct Place {
    /// The pod's address.
    pub address: IpAddr,
    /// The container's limits.
    pub limits: Resources,
    /// Cores that the node has.
    pub node_cores: f64,
    /// Client to resolve Services with.
    pub client: Client,
}

/// Starts an own program; a mistake on its command line ends it with code 2, as the real one would.
pub fn start(arguments: Vec<String>, place: Place, log: &Arc<Log>) -> Instance {
    let (ended, exit) = watch::channel(None);
    let signals = Signals {
        drain: CancellationToken::new(),
        kill: CancellationToken::new(),
    };
    let task = match Own::try_parse_from(arguments) {
        Ok(own) => own.start(&place, signals.clone(), log),
        Err(error) => {
            error.to_string().lines().for_each(|line| log.push(line));
            Err(2)
        }
    };
    let (work, worker) = match task {
        Ok(started) => started,
        Err(code) => {
            let _ = ended.send(Some(Exit::code(code)));
            return Instance {
                control: Arc::new(Task { signals, worker: None }),
                exit,
            };
        }
    };
    let kill = signals.kill.clone();
    tokio::spawn(async move {
        let code = tokio::select! {
            biased;
            () = kill.cancelled() => 137,
            code = work => code,
        };
        let _ = ended.send(Some(Exit::code(code)));
    });
    Instance {
        control: Arc::new(Task { signals, worker }),
        exit,
    }
}

type Work = std::pin::Pin<Box<dyn Future<Output = i32> + Send>>;

impl Own {
    fn start(self, place: &Place, signals: Signals, log: &Arc<Log>) -> Result<(Work, Option<Worker>), i32> {
        let log = Arc::clone(log);
        match self {
            Self::Application(options) => application(options, place, signals, log),
            Self::Load(options) => Ok((Box::pin(load(options, place.client.clone(), signals, log)), None)),
            Self::Idle => Ok((
                Box::pin(async move {
                    signals.drain.cancelled().await;
                    0
                }),
                None,
            )),
            Self::Exit { code, after } => Ok((
                Box::pin(async move {
                    tokio::select! {
                        () = tokio::time::sleep(after) => code,
                        () = signals.drain.cancelled() => 143,
                    }
                }),
                None,
            )),
        }
    }
}

fn application(
    options: ApplicationOptions,
    place: &Place,
    signals: Signals,
    log: Arc<Log>,
) -> Result<(Work, Option<Worker>), i32> {
    let profile = options.profile().map_err(|error| {
        log.push(format!("error: {error:#}"));
        2
    })?;
    let limits = PodLimits {
        cpu_limit: place.limits.cpu.or(options.cpu_limit),
        cpu_capacity: place.node_cores,
    };
    let worker = Worker::start(profile, limits, options.seed);
    worker.adjust(Adjustment::DemandScale(options.demand_scale));
    worker.adjust(Adjustment::DownstreamScale(options.downstream_scale));
    let listen = Listen {
        address: place.address,
        port: options.port,
        error_share: options.error_share,
        drain: signals.drain,
    };
    log.push(format!("starting; will serve on {}:{}", listen.address, listen.port));
    let serving = worker.clone();
    let work = async move {
        match serve(serving, listen).await {
            Ok(()) => {
                log.push("drained");
                0
            }
            Err(error) => {
                log.push(format!("error: {error:#}"));
                1
            }
        }
    };
    Ok((Box::pin(work), Some(worker)))
}

async fn load(options: LoadOptions, client: Client, signals: Signals, log: Arc<Log>) -> i32 {
    let (settings, host) = match options.settings().and_then(|settings| Ok((settings, options.host()?))) {
        Ok(ready) => ready,
        Err(error) => {
            log.push(format!("error: {error:#}"));
            return 2;
        }
    };
    let endpoints = match options.service() {
        Some((service, namespace, port)) => of_service(client, &namespace, &service, port),
        None => of_host(&host.0, host.1),
    };
    let generator = Generator::start(settings, endpoints);
    let report = loop {
        tokio::select! {
            report = generator.finished() => break report,
            () = signals.drain.cancelled() => break generator.stop().await,
            () = tokio::time::sleep(Duration::from_secs(10)) => log.push(generator.progress(10.0)),
        }
    };
    log.push(serde_json::to_string(&report).unwrap_or_default());
    i32::from(report.failed as f64 > options.most_failures * report.offered as f64)
}

#[derive(Clone)]
struct Signals {
    drain: CancellationToken,
    kill: CancellationToken,
}

struct Task {
    signals: Signals,
    worker: Option<Worker>,
}

impl Control for Task {
    fn terminate(&self) {
        self.signals.drain.cancel();
    }

    fn kill(&self) {
        self.signals.kill.cancel();
    }

    fn usage(&self) -> Usage {
        let Some(worker) = &self.worker else {
            return Usage {
                cpu_seconds: 0.0,
                memory_bytes: 4 << 20,
            };
        };
        let (cpu_seconds, memory_bytes) = worker.usage();
        Usage {
            cpu_seconds,
            memory_bytes,
        }
    }

    fn resize(&self, limits: Resources) {
        if let Some(worker) = &self.worker {
            worker.adjust(Adjustment::CpuLimit(limits.cpu));
        }
    }

    fn adjust(&self, adjustment: Adjustment) -> bool {
        self.worker
            .as_ref()
            .inspect(|worker| worker.adjust(adjustment))
            .is_some()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.signals.kill.cancel();
    }
}
