//! Finds and runs the real Envoy.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The Envoy to test with: `ENVOY_BINARY`, else the one that the demo installs. Says so when there is none, and fails
/// where `VALENCE_REQUIRE_TOOLS` names it.
pub fn binary(test: &str) -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/envoy");
    let found = std::env::var_os("ENVOY_BINARY").map_or(installed, PathBuf::from);
    if found.exists() {
        return Some(found);
    }
    let why = "no Envoy: set ENVOY_BINARY, or run .ci/tools.sh";
    let required = std::env::var("VALENCE_REQUIRE_TOOLS").unwrap_or_default();
    let is_required = required.split_whitespace().any(|name| name == "envoy");
    assert!(!is_required, "{test} needs envoy: {why}");
    // Past the test runner, which keeps to itself what a test that passes prints.
    let _ = writeln!(std::io::stderr(), "skipped: {test} ({why})");
    None
}

/// Whether Envoy accepts a configuration; its complaint otherwise.
pub fn validate(binary: &Path, configuration: &str) -> Result<(), String> {
    let output = Command::new(binary)
        .args([
            "--mode",
            "validate",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--config-yaml",
            configuration,
        ])
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// An argument with what the kubelet would fill in.
pub fn expanded(argument: &str, address: &str) -> String {
    argument.replace("$(POD_IP)", address).replace("$(POD_UID)", address)
}

/// An Envoy process that ends with the value.
pub struct Running(Child);

impl Running {
    /// Starts Envoy as it is injected, on an address, and waits until it listens.
    pub async fn start(binary: &Path, address: &str, port: u16, objectives_seconds: &[f64]) -> Self {
        let container = super::sidecar(port, objectives_seconds);
        let arguments = container["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|argument| expanded(argument.as_str().unwrap(), address));
        let child = Command::new(binary)
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self(child);
        for _ in 0..600 {
            if tokio::net::TcpStream::connect((address, 8081)).await.is_ok() {
                return running;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Envoy does not listen on {address}:8081");
    }
}

impl Running {
    /// Waits until the process ends by itself.
    pub async fn ended(&mut self) {
        for _ in 0..600 {
            if self.has_ended() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Envoy does not end");
    }

    /// Whether the process ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
