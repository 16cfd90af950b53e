//! Prometheus's own library reading the same text, where Go and the library's source are installed, as Debian has them:
//! golang-go and golang-github-prometheus-common-dev.
//!
//! It reads what the tables are of, in a process of its own, and its own clock is read: what is compared is reading alone.

use std::io::{Error, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian puts sources of Go.
const SOURCES: &str = "/usr/share/gocode";

/// Readings of which the median counts.
const REPEATS: &str = "31";

/// Seconds that one reading takes, or why there is no telling.
pub fn seconds(exposition: &[u8]) -> Result<f64, String> {
    if !Path::new(SOURCES)
        .join("src/github.com/prometheus/common/expfmt")
        .is_dir()
    {
        return Err("golang-github-prometheus-common-dev is not installed".to_owned());
    }
    let program = program().map_err(|error| format!("go: {error}"))?;
    read(&program, exposition).map_err(|error| format!("{}: {error}", program.display()))
}

/// Builds the program without any network.
fn program() -> Result<PathBuf, Error> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = target.join("expfmt");
    let status = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/exposition/expfmt.go"))
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPATH", SOURCES)
        .env("GOCACHE", target.join("gocache"))
        .status()?;
    if status.success() {
        Ok(program)
    } else {
        Err(Error::other("it does not build expfmt.go"))
    }
}

fn read(program: &Path, exposition: &[u8]) -> Result<f64, Error> {
    let mut child = Command::new(program)
        .arg(REPEATS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // What it is told ends with the pipe.
    let mut pipe = child.stdin.take().ok_or(Error::other("no pipe"))?;
    pipe.write_all(exposition)?;
    drop(pipe);
    let output = child.wait_with_output()?;
    let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse::<f64>();
    nanoseconds.map(|nanoseconds| nanoseconds * 1e-9).map_err(Error::other)
}
