//! The container that is injected.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use super::Arrival;
use super::inject::Injection;
use super::resources::Rewriting;
use crate::amounts::Amounts;
use crate::envoy::{ADMIN_SOCKET_PREFIX, Proxy, bootstrap};
use crate::patch::{Content, Patch, Prepared};
use crate::plans::names;
use crate::quantity;
use crate::settings::Settings;

/// Names of the sidecar's ports in the hand-written form; that of the traffic port gives way to a name that moves.
const TRAFFIC_PORT_NAME: &str = "envoy-sidecar";
const METRICS_PORT_NAME: &str = "envoy-metrics";

/// Seconds that Kubernetes gives a pod to stop when it does not say.
const USUAL_GRACE_SECONDS: i64 = 30;

/// What a sidecar does before it is told to stop. Perl is in every image of Ubuntu and Debian, and in that of Envoy nothing
/// else speaks to a socket.
///
/// It asks Envoy over its administration socket to tell clients, with each answer, to use another connection. Then it
/// waits until the application no longer listens and no request is in progress, and ends Envoy at once: a connection
/// that is idle then is closed, as it would be without Envoy, before a client sends into it what nobody can answer.
/// Where the application is not seen to listen (it was stopped first, or nothing tells), Envoy runs on for a while in a pod
/// whose containers are all stopped at once, and while requests are in progress.
///
/// Arguments: least and most seconds, and the port of the application.
const DRAIN: &str = r#"
use IO::Socket::UNIX;
my ($least, $most, $port) = @ARGV;
my $address = join "", map { sprintf "%02X", $_ } reverse split /\./, $ENV{POD_IP};
sub ask {
  my $socket = IO::Socket::UNIX->new(Peer => "\0$ENV{ADMIN_SOCKET}") or return "";
  print $socket "$_[0] HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
  local $/;
  <$socket> // "";
}
sub idle { ask("GET /stats?filter=http.app.downstream_rq_active") =~ /rq_active: 0/ }
sub listening {
  my $wanted = sprintf ":%04X", $port;
  for my $table ("tcp", "tcp6") {
    open my $lines, "<", "/proc/net/$table" or next;
    while (<$lines>) {
      my (undef, $local, undef, $state) = split;
      next unless $state eq "0A" and substr($local, -5) eq $wanted;
      return 1 if $table eq "tcp6" or $local =~ /^(00000000|$address):/;
    }
  }
  0;
}
ask("POST /drain_listeners?graceful&skip_exit");
my $start = time;
if (listening()) {
  while (time - $start < $most) {
    select undef, undef, undef, 0.05;
    next if listening() or !idle();
    ask("POST /quitquitquit");
    last;
  }
} elsif ($least > 0) {
  while (time - $start < $most) {
    sleep 1;
    last if time - $start >= $least and idle();
  }
}
"#;

/// Most sidecars that are kept as text, each of about 20 KB.
const MOST_TEXTS: usize = 256;

/// Everything in which one sidecar may differ from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shape {
    port: u16,
    name: Option<String>,
    all_families: bool,
    /// Response times of the objectives in seconds, by their bits.
    objectives: Vec<u64>,
    native: bool,
    user: i64,
    /// Threads of Envoy.
    concurrency: u64,
    drain_seconds: (i64, i64),
}

/// A sidecar: what hardly differs from one Deployment to the next, as text without its first bracket, and its resources,
/// which do.
pub(super) struct Sidecar {
    resources: String,
    rest: Arc<Prepared>,
}

impl Content for Sidecar {
    fn write(self, patch: &mut Patch) {
        let json = patch.json();
        json.push_str("{\"resources\":");
        json.push_str(&self.resources);
        json.push(',');
        self.rest.write(patch);
    }
}

/// Sidecars that were injected before by the same settings, as text: the pods of all Deployments that want the same of Envoy share theirs.
///
/// It is read without a lock; a new text replaces the map, and of two that come at once one may be made again.
#[derive(Debug, Default)]
pub struct Sidecars(ArcSwap<HashMap<Shape, Arc<Prepared>>>);

impl Sidecars {
    fn text(&self, shape: Shape, make: impl FnOnce(&Shape) -> Value) -> Arc<Prepared> {
        let texts = self.0.load();
        if let Some(text) = texts.get(&shape) {
            return Arc::clone(text);
        }
        let container = make(&shape).to_string();
        let text = Arc::new(Prepared::new(container.trim_start_matches('{').to_owned()));
        let mut more = if texts.len() < MOST_TEXTS {
            HashMap::clone(&texts)
        } else {
            HashMap::new()
        };
        more.insert(shape, Arc::clone(&text));
        self.0.store(Arc::new(more));
        text
    }
}

/// The container as JSON, complete but for what the API server fills in.
pub(super) fn container(arrival: &Arrival<'_, '_>, injection: &Injection, rewriting: &Rewriting) -> Sidecar {
    let objectives = arrival
        .workload
        .map(|workload| workload.objectives.as_slice())
        .unwrap_or_default();
    let shape = Shape {
        port: injection.fronted.number,
        name: injection.fronted.name.clone(),
        all_families: injection.fronted.all_families,
        objectives: objectives
            .iter()
            .map(|objective| objective.response_time_seconds.to_bits())
            .collect(),
        native: injection.native,
        user: user(arrival),
        concurrency: concurrency(arrival.context.settings, &rewriting.sidecar),
        drain_seconds: drain_seconds(arrival, injection),
    };
    let settings = arrival.context.settings;
    Sidecar {
        resources: resources(&rewriting.sidecar, rewriting.sidecar_storage),
        rest: arrival.context.sidecars.text(shape, |shape| made(settings, shape)),
    }
}

fn made(settings: &Settings, shape: &Shape) -> Value {
    let mut container = json!({
        "name": names::SIDECAR_CONTAINER,
        "image": settings.sidecar_image,
        "imagePullPolicy": "IfNotPresent",
        "args": arguments(settings, shape),
        "env": environment(),
        "ports": ports(shape),
        "startupProbe": {"tcpSocket": {"port": names::METRICS_PORT}, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"tcpSocket": {"port": names::METRICS_PORT}, "periodSeconds": 5},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": shape.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    if let Some(hook) = stop_hook(settings, shape) {
        container["lifecycle"] = json!({"preStop": hook});
    }
    if shape.native {
        container["restartPolicy"] = json!("Always");
    }
    container
}

/// What happens before the sidecar is told to stop.
///
/// An image without Perl, as the distroless one, can only be kept running for a while, which a native sidecar is anyway:
/// then clients are not told to leave before the application does.
fn stop_hook(settings: &Settings, shape: &Shape) -> Option<Value> {
    let least = shape.drain_seconds.0;
    if !settings.sidecar_image.contains("distroless") {
        Some(json!({"exec": {"command": drain(shape)}}))
    } else if least > 0 {
        Some(json!({"sleep": {"seconds": least}}))
    } else {
        None
    }
}

fn resources(amounts: &Amounts, storage: Option<u64>) -> String {
    let mut text = String::new();
    amounts.write(&mut text);
    let Some(bytes) = storage else { return text };
    let mut resources: Value = serde_json::from_str(&text).unwrap_or_default();
    for field in ["requests", "limits"] {
        resources[field]["ephemeral-storage"] = json!(quantity::memory_text(bytes));
    }
    resources.to_string()
}

/// One thread for each core that is begun, where nothing is set.
fn concurrency(settings: &Settings, amounts: &Amounts) -> u64 {
    let cores = amounts
        .cpu
        .effective_request()
        .unwrap_or_default()
        .div_ceil(1000)
        .max(1);
    settings.sidecar_concurrency.map_or(cores, u64::from)
}

/// The user of the whole pod where it has one, so that namespaces with a range of their own admit it.
fn user(arrival: &Arrival<'_, '_>) -> i64 {
    let own = arrival
        .spec
        .security_context
        .as_ref()
        .and_then(|context| context.run_as_user);
    own.filter(|user| *user > 0)
        .unwrap_or(arrival.context.settings.sidecar_user)
}

fn arguments(settings: &Settings, shape: &Shape) -> Vec<String> {
    let bootstrap = bootstrap(&Proxy {
        application_port: shape.port,
        objectives_seconds: shape.objectives.iter().copied().map(f64::from_bits).collect(),
        all_families: shape.all_families,
    });
    vec![
        "--config-yaml".to_owned(),
        bootstrap.to_string(),
        "--concurrency".to_owned(),
        shape.concurrency.to_string(),
        "--log-level".to_owned(),
        settings.sidecar_log_level.clone(),
        "--drain-strategy".to_owned(),
        "immediate".to_owned(),
        "--disable-hot-restart".to_owned(),
    ]
}

fn environment() -> Value {
    json!([
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "ADMIN_SOCKET", "value": format!("{ADMIN_SOCKET_PREFIX}$(POD_UID)")},
    ])
}

fn ports(shape: &Shape) -> Value {
    let name = shape.name.as_deref().unwrap_or(TRAFFIC_PORT_NAME);
    json!([
        {"name": name, "containerPort": names::TRAFFIC_PORT, "protocol": "TCP"},
        {"name": METRICS_PORT_NAME, "containerPort": names::METRICS_PORT, "protocol": "TCP"},
    ])
}

fn drain(shape: &Shape) -> Vec<String> {
    let (least, most) = shape.drain_seconds;
    let perl = ["perl", "-e", DRAIN.trim()].map(str::to_owned);
    let arguments = [least.to_string(), most.to_string(), shape.port.to_string()];
    perl.into_iter().chain(arguments).collect()
}

/// A native sidecar is stopped after the application anyway; one among the containers has to outlast it.
fn drain_seconds(arrival: &Arrival<'_, '_>, injection: &Injection) -> (i64, i64) {
    let grace = arrival
        .spec
        .termination_grace_period_seconds
        .unwrap_or(USUAL_GRACE_SECONDS);
    let most = (grace - 2).max(0);
    let least = if injection.native {
        0
    } else {
        arrival.context.settings.drain_seconds
    };
    (i64::from(least).min(most), most)
}
