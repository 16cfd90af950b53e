//! Containers that are processes of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, LazyLock};

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::instance::{Control, Exit, Instance, Usage};
use super::logs::Log;
use super::quantity::Resources;

/// Makes the kernel end a process when the playground is gone, however it went. Part of util-linux; without it,
/// processes are still ended whenever the playground ends in an orderly way.
static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| find_on_path("setpriv"));

/// The first executable of that name on PATH.
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Starts a process with exactly this environment.
///
/// # Errors
/// When it cannot be started.
pub fn start(
    binary: &Path,
    arguments: &[String],
    variables: &BTreeMap<String, String>,
    log: &Arc<Log>,
) -> anyhow::Result<Instance> {
    let mut child = command(binary, arguments, variables)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let pid = child
        .id()
        .and_then(|id| Pid::from_raw(id.cast_signed()))
        .context("the process ended at once")?;
    keep_lines(child.stdout.take(), log);
    keep_lines(child.stderr.take(), log);
    let (ended, exit) = watch::channel(None);
    tokio::spawn(async move { reap(child, ended).await });
    let control = Process {
        pid,
        exit: exit.clone(),
        last_usage: Mutex::default(),
    };
    Ok(Instance {
        control: Arc::new(control),
        exit,
    })
}

fn command(binary: &Path, arguments: &[String], variables: &BTreeMap<String, String>) -> Command {
    let mut command = match SETPRIV.as_ref() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

fn keep_lines(stream: Option<impl AsyncRead + Unpin + Send + 'static>, log: &Arc<Log>) {
    let Some(stream) = stream else { return };
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            log.push(line);
        }
    });
}

async fn reap(mut child: Child, ended: watch::Sender<Option<Exit>>) {
    let code = child.wait().await.map_or(255, exit_code);
    let _ = ended.send(Some(Exit::code(code)));
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<Exit>>,
    /// What it had used when it was last looked at: the kernel forgets it at the end.
    last_usage: Mutex<Usage>,
}

impl Process {
    /// The process ID while it still is this process's.
    fn pid(&self) -> Option<Pid> {
        self.exit.borrow().is_none().then_some(self.pid)
    }
}

impl Control for Process {
    fn terminate(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    fn kill(&self) {
        if let Some(pid) = self.pid() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    fn usage(&self) -> Usage {
        let mut last = self.last_usage.lock();
        if let Some(usage) = self.pid().and_then(|pid| read_usage(pid.as_raw_nonzero().get())) {
            *last = usage;
        }
        *last
    }

    fn resize(&self, _limits: Resources) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// CPU and memory of a process from /proc: fields utime and stime of stat, resident pages of statm.
fn read_usage(pid: i32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(Usage {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        memory_bytes: pages * rustix::param::page_size() as u64,
    })
}

/// Runs a command of a hook to its end, with a container's environment and the programs of this machine.
///
/// # Errors
/// When it cannot be run or does not succeed.
pub async fn run(command: &[String], variables: &BTreeMap<String, String>) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(variables)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("command '{program}' {}: {}", output.status, said.trim()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str, log: &Arc<Log>) -> Instance {
        let variables = BTreeMap::from([("GREETING".into(), "hello".into())]);
        start(Path::new("/bin/sh"), &["-c".into(), script.into()], &variables, log).unwrap()
    }

    #[tokio::test]
    async fn output_is_kept_and_the_exit_code_is_told() {
        let log = Arc::new(Log::default());
        let instance = shell("echo $GREETING; echo fault >&2; exit 3", &log);
        assert_eq!(instance.ended().await, Exit::code(3));
        for _ in 0..100 {
            if log.text(false, None).unwrap().lines().count() == 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let text = log.text(false, None).unwrap();
        assert!(text.contains("hello") && text.contains("fault"), "{text}");
    }

    #[tokio::test]
    async fn a_process_can_be_ended_and_killed() {
        let log = Arc::default();
        let polite = shell("exec sleep 60", &log);
        polite.control.terminate();
        assert_eq!(polite.ended().await.code, 143);
        let stubborn = shell("trap '' TERM; echo ready; while :; do sleep 1; done", &log);
        while log.text(false, None).unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        stubborn.control.terminate();
        stubborn.control.kill();
        assert_eq!(stubborn.ended().await.code, 137);
    }

    #[tokio::test]
    async fn usage_is_read_from_the_kernel() {
        let log = Arc::default();
        let instance = shell("exec sleep 60", &log);
        let mut usage = Usage::default();
        for _ in 0..100 {
            usage = instance.control.usage();
            if usage.memory_bytes > 100_000 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(usage.memory_bytes > 100_000, "{usage:?}");
        instance.control.kill();
    }
}
