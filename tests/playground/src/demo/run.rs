//! Runs the demo.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use tokio::time::Instant;

use super::install;
use super::look::{NAME, NAMESPACE, look};
use super::summary::{Record, Summary};
use super::view::{View, say};
use crate::load::{Generator, Settings, Shape};
use crate::{Options, Playground};

/// The objective in `application.yaml`.
const OBJECTIVE: Duration = Duration::from_millis(100);
const SHARE: f64 = 0.99;
const OPERATOR: &str = "app.kubernetes.io/component=operator";

/// How the demo is run.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// How long the load lasts; until ^C without it.
    pub length: Option<Duration>,
    /// Requests per second at the lowest.
    pub base: f64,
    /// How many more at the highest.
    pub amplitude: f64,
    /// Time from low to low.
    pub period: Option<Duration>,
    /// Further arguments of the operator.
    pub operator_arguments: Vec<String>,
}

/// Runs the demo to its end.
///
/// # Errors
/// When something could not be started; what it shows is judged by the exit code.
pub async fn run(options: Options, demo: DemoOptions) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        options.images.valence.is_some(),
        "no valence binary: build it, or name it by --valence or VALENCE_BINARY"
    );
    anyhow::ensure!(
        options.images.envoy.is_some(),
        "no envoy binary: run .ci/tools.sh envoy, or name it by --envoy or ENVOY_BINARY"
    );
    let start = Instant::now();
    let playground = Playground::start(options).await?;
    let ended = tokio::select! {
        ended = show(&playground, &demo, start) => ended,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    };
    playground.stop().await;
    ended
}

async fn show(playground: &Playground, demo: &DemoOptions, start: Instant) -> anyhow::Result<ExitCode> {
    let mut view = View::new(playground.kubeconfig(), OBJECTIVE);
    view.step(&format!("KUBECONFIG={}", playground.kubeconfig().display()));
    prepare(playground, demo, &view).await?;
    let load = playground.load(NAMESPACE, NAME, settings(demo));
    let (record, interrupted) = watch(playground, demo, &load, &mut view, start).await;
    let end = load.elapsed();
    let summary = Summary {
        record,
        last_third: load.between(end * 2.0 / 3.0, end),
        load: load.stop().await,
        objective: OBJECTIVE,
        share: SHARE,
        admissions: admissions(playground).await,
        operator_memory: operator_memory(playground),
    };
    view.close();
    say(&summary.table());
    Ok(if summary.holds() || interrupted {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Installs Valence, waits until it serves and gives the address of its page.
///
/// # Errors
/// When it does not become ready, with the end of its log.
pub async fn install(playground: &Playground, operator_arguments: &[String]) -> anyhow::Result<String> {
    playground
        .apply_objects(install::objects(1, operator_arguments)?)
        .await?;
    let settled = playground
        .deployment_settled("valence-system", "optimization-operator", Duration::from_secs(60))
        .await;
    if let Err(error) = settled {
        let log = operator_log(playground).await;
        return Err(anyhow::Error::new(error).context(format!("the operator did not become ready:\n{log}")));
    }
    let address = operator_address(playground)
        .await
        .context("the operator has no address")?;
    Ok(format!("http://{address}:8088"))
}

async fn prepare(playground: &Playground, demo: &DemoOptions, view: &View) -> anyhow::Result<()> {
    view.step("installing Valence from deploy/base");
    let page = install(playground, &demo.operator_arguments).await?;
    view.step(&format!("its page is at {page}"));
    view.step("applying the objective, the Deployment and its Service");
    playground.apply(include_str!("application.yaml")).await?;
    playground
        .deployment_settled(NAMESPACE, NAME, Duration::from_secs(90))
        .await
        .context("the workload did not become ready")?;
    // What pods use while they start is not what they use for requests: the windows of the first figures are to be clean.
    tokio::time::sleep(Duration::from_secs(10)).await;
    Ok(())
}

fn settings(demo: &DemoOptions) -> Settings {
    let period = demo.period.or(demo.length).unwrap_or(Duration::from_secs(240));
    let shape = Shape::Plateau {
        base: demo.base,
        amplitude: demo.amplitude,
        period_seconds: period.as_secs_f64().max(1.0),
    };
    Settings {
        shape,
        uri: http::Uri::from_static("http://web.shop/"),
        ..Settings::default()
    }
}

/// Looks every second until the time is over; true when ^C ended it.
async fn watch(
    playground: &Playground,
    demo: &DemoOptions,
    load: &Generator,
    view: &mut View,
    start: Instant,
) -> (Record, bool) {
    let mut record = Record::default();
    let client = playground.client();
    let end = demo.length.map(|length| length.as_secs_f64());
    while end.is_none_or(|end| load.elapsed() < end) {
        match look(&client, load, OBJECTIVE).await {
            Ok(sight) => {
                record.add(&sight, start.elapsed().as_secs_f64());
                view.show(sight);
            }
            Err(error) => tracing::warn!(%error, "the cluster could not be looked at"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = tokio::signal::ctrl_c() => return (record, true),
        }
    }
    (record, false)
}

fn operator_memory(playground: &Playground) -> Option<u64> {
    let usage = playground.kubelet().usage();
    usage
        .iter()
        .find(|usage| usage.container == "valence")
        .map(|usage| usage.memory_bytes)
}

async fn operator_log(playground: &Playground) -> String {
    let pods = playground.pods("valence-system", OPERATOR).await.unwrap_or_default();
    let logs = pods.iter().filter_map(|pod| {
        let name = pod.metadata.name.as_deref()?;
        playground
            .kubelet()
            .log("valence-system", name, "valence", false, Some(40))
    });
    logs.collect()
}

async fn operator_address(playground: &Playground) -> Option<String> {
    let pods = playground.pods("valence-system", OPERATOR).await.ok()?;
    pods.first()?.status.as_ref()?.pod_ip.clone()
}

/// The sum of the operator's counters of admissions.
async fn admissions(playground: &Playground) -> Option<u64> {
    let address = operator_address(playground).await?;
    let client: HttpClient<_, Empty<Bytes>> = HttpClient::builder(TokioExecutor::new()).build_http();
    let response = client
        .get(format!("http://{address}:8080/metrics").parse().ok()?)
        .await
        .ok()?;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some(sum_of(std::str::from_utf8(&body).ok()?, "valence_admission"))
}

/// Sums the samples of counters (names that end in `_total`) with this prefix.
fn sum_of(exposition: &str, prefix: &str) -> u64 {
    let lines = exposition.lines().filter(|line| line.starts_with(prefix));
    let counters = lines.filter(|line| {
        line.split(['{', ' '])
            .next()
            .is_some_and(|name| name.ends_with("_total"))
    });
    counters
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum::<f64>() as u64
}
