//! Prometheus's own tool reading the same text, where it is installed.
//!
//! This is another kind of measurement than the tables: CPU time of a process that also builds a message for each sample
//! and judges names and helps. What it takes to start is left out, by the difference between a long and a short text.

use std::io::{Error, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Copies in the short and in the long text.
const COPIES: [usize; 2] = [10, 50];

/// Prints what the tool takes beside what `parse` takes.
pub fn compare(exposition: &str, parse: impl Fn(&[u8])) {
    let Some(promtool) = find() else {
        println!("promtool check metrics: skipped: no promtool in PATH or .tools/bin (`make tools-test` installs it)");
        return;
    };
    let texts = COPIES.map(|copies| renamed(exposition, copies));
    let [short, long] = [0, 1].map(|text: usize| cpu_of_tool(&promtool, &texts[text]));
    let (short, long) = match (short, long) {
        (Ok(short), Ok(long)) => (short, long),
        (Err(error), _) | (_, Err(error)) => {
            println!("promtool check metrics: skipped: {error}");
            return;
        }
    };
    let megabytes = (texts[1].len() - texts[0].len()) as f64 / 1e6;
    let theirs = long.saturating_sub(short).as_secs_f64();
    let ours = fastest(|| parse(texts[1].as_bytes())).as_secs_f64() * megabytes * 1e6 / texts[1].len() as f64;
    println!(
        "another kind of measurement: promtool check metrics takes {theirs:.2} s of CPU for {megabytes:.1} MB ({:.1} MB/s; it lints, too), \
         valence reads every sample of it in {:.4} s ({:.0} MB/s)",
        megabytes / theirs,
        ours,
        megabytes / ours,
    );
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    let folders = std::env::split_paths(&path).chain([own]);
    folders
        .map(|folder| folder.join("promtool"))
        .find(|file| file.is_file())
}

/// Copies whose families have names of their own: the tool stops at a family that comes twice.
fn renamed(exposition: &str, copies: usize) -> String {
    let mut text = String::with_capacity((exposition.len() + exposition.len() / 8) * copies);
    for copy in 0..copies {
        for line in exposition.lines().filter(|line| !line.is_empty()) {
            let name = ["# TYPE ", "# HELP "].into_iter().find(|start| line.starts_with(start));
            let (start, rest) = line.split_at(name.map_or(0, str::len));
            text.push_str(&format!("{start}copy{copy}_{rest}\n"));
        }
    }
    text
}

fn cpu_of_tool(promtool: &Path, text: &str) -> Result<Duration, Error> {
    let before = cpu_of_children();
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // What it is told ends with the pipe.
    child
        .stdin
        .take()
        .ok_or(Error::other("no pipe"))?
        .write_all(text.as_bytes())?;
    child.wait()?;
    Ok(cpu_of_children().saturating_sub(before))
}

/// CPU time of children that have ended, in steps of 10 ms.
fn cpu_of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: state, and so on; the children's user and system time are the 14th and 15th.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields
        .skip(13)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn fastest(work: impl Fn()) -> Duration {
    let times = (0..20).map(|_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    });
    times.min().unwrap_or_default()
}
