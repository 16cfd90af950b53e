//! Shows what is seen: a picture that is drawn over and over on a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use super::look::{Decision, NAMESPACE, Sight};
use crate::kubelet::quantity::Resources;

/// Sights kept for the curves.
const CURVE: usize = 60;

/// The view of the demo.
pub struct View {
    terminal: bool,
    kubeconfig: String,
    objective: Duration,
    sights: Vec<Sight>,
    last_line_at: f64,
    last_reason: String,
    drawing: bool,
}

/// "00:42".
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// "640m" or "-".
pub fn cpu(cores: Option<f64>) -> String {
    cores.map_or_else(|| "-".into(), |cores| format!("{:.0}m", cores * 1000.0))
}

/// "256Mi" or "-".
pub fn memory(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| format!("{:.0}Mi", bytes / 1_048_576.0))
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".into(), |time| format!("{:.0} ms", time.as_secs_f64() * 1000.0))
}

/// A curve of the last values in eight heights.
fn curve(values: impl Iterator<Item = f64>, top: f64) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    values
        .map(|value| HEIGHTS[((value / top.max(1e-9) * 8.0) as usize).min(7)])
        .collect()
}

impl View {
    /// A view for standard output as it is.
    pub fn new(kubeconfig: &Path, objective: Duration) -> Self {
        Self {
            terminal: std::io::stdout().is_terminal(),
            kubeconfig: kubeconfig.display().to_string(),
            objective,
            sights: Vec::new(),
            last_line_at: f64::NEG_INFINITY,
            last_reason: String::new(),
            drawing: false,
        }
    }

    /// A step of the preparation.
    pub fn step(&self, text: &str) {
        say(&format!("{text}\n"));
    }

    /// Gives the terminal back as it was.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.drawing) {
            say("\x1b[?25h\x1b[?1049l");
        }
    }

    /// Shows a sight.
    pub fn show(&mut self, sight: Sight) {
        self.sights.push(sight.clone());
        if self.terminal {
            let enter = if self.drawing { "" } else { "\x1b[?1049h\x1b[?25l" };
            self.drawing = true;
            say(&format!("{enter}\x1b[H\x1b[J{}", self.picture(&sight, columns())));
            return;
        }
        let reason = sight
            .decision
            .as_ref()
            .map(|decision| decision.reason.clone())
            .unwrap_or_default();
        if sight.seconds - self.last_line_at >= 5.0 {
            say(&line(&sight, self.objective));
            self.last_line_at = sight.seconds;
        }
        if reason != self.last_reason {
            say(&format!("{}  decision: {reason}\n", clock(sight.seconds)));
            self.last_reason = reason;
        }
    }

    fn picture(&self, sight: &Sight, width: usize) -> String {
        let length = width.saturating_sub(60).clamp(10, CURVE);
        let recent = &self.sights[self.sights.len().saturating_sub(length)..];
        let decision = sight.decision.clone().unwrap_or_default();
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Valence on the playground   {}   ^C ends it",
            clock(sight.seconds)
        );
        let _ = writeln!(text, "  export KUBECONFIG={}", self.kubeconfig);
        let _ = writeln!(text, "  kubectl -n {NAMESPACE} get pods,recommendations\n");
        text.push_str(&self.curves(sight, recent, length, &decision));
        text.push_str(&resources(sight, &decision));
        let _ = writeln!(
            text,
            "\n  pods      {} of {} with the sidecar, {} with recommended resources",
            sight.injected, sight.pods, sight.as_recommended
        );
        let state = if decision.state.is_empty() {
            "nothing recommended yet"
        } else {
            decision.state.as_str()
        };
        let _ = writeln!(text, "  model     {state}");
        for (index, part) in wrapped(&decision.reason, width.saturating_sub(14).max(30))
            .iter()
            .enumerate()
        {
            let _ = writeln!(text, "  {:<9} {part}", if index == 0 { "decision" } else { "" });
        }
        let _ = writeln!(text, "  {:<9} {}", "", decision.decided_at);
        text
    }

    fn curves(&self, sight: &Sight, recent: &[Sight], length: usize, decision: &Decision) -> String {
        let top = |of: &dyn Fn(&Sight) -> f64| recent.iter().map(of).fold(0.0, f64::max);
        let offered = |sight: &Sight| sight.offered;
        let replicas = |sight: &Sight| sight.replicas as f64;
        let latency = |sight: &Sight| sight.p99.unwrap_or_default().as_secs_f64();
        let kept = sight.p99.is_none_or(|p99| p99 <= self.objective);
        let rows = [
            (
                "load",
                curve(recent.iter().map(offered), top(&offered)),
                format!("{:.1} requests/s", sight.offered),
            ),
            (
                "p99",
                curve(
                    recent.iter().map(latency),
                    top(&latency).max(2.0 * self.objective.as_secs_f64()),
                ),
                format!(
                    "{} {} of {}, {:.2} % kept it",
                    if kept {
                        "\x1b[32m✓\x1b[0m"
                    } else {
                        "\x1b[31m✗\x1b[0m"
                    },
                    milliseconds(sight.p99),
                    milliseconds(Some(self.objective)),
                    sight.within * 100.0
                ),
            ),
            (
                "replicas",
                curve(recent.iter().map(replicas), top(&replicas)),
                format!(
                    "{} ({} ready), recommended {}",
                    sight.replicas,
                    sight.ready,
                    decision.replicas.map_or("-".into(), |number| number.to_string())
                ),
            ),
        ];
        rows.iter().fold(String::new(), |text, (name, curve, now)| {
            text + &format!("  {name:<9} {curve:<length$} {now}\n")
        })
    }
}

fn resources(sight: &Sight, decision: &Decision) -> String {
    let heads = ["", "request", "recommended", "limit", "recommended"].map(str::to_owned);
    let of = |name: &str, show: fn(Option<f64>) -> String, value: fn(&Resources) -> Option<f64>| {
        let all = [&sight.requests, &decision.requests, &sight.limits, &decision.limits];
        let [request, wanted, limit, most] = all.map(|resources| show(value(resources)));
        [name.to_owned(), request, wanted, limit, most]
    };
    let rows = [
        heads,
        of("cpu", cpu, |resources| resources.cpu),
        of("memory", memory, |resources| resources.memory),
    ];
    let line = |[name, a, b, c, d]: &[String; 5]| format!("  {name:<9} {a:>9} {b:>13} {c:>9} {d:>13}\n");
    rows.iter().fold("\n".to_owned(), |text, row| text + &line(row))
}

/// The text in lines no longer than `width`, broken at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Columns of the terminal.
fn columns() -> usize {
    rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(100, |size| usize::from(size.ws_col))
        .max(40)
}

impl Drop for View {
    fn drop(&mut self) {
        self.close();
    }
}

fn line(sight: &Sight, objective: Duration) -> String {
    let decision = sight.decision.clone().unwrap_or_default();
    let recommended = |text: String| {
        if text == "-" {
            String::new()
        } else {
            format!(" (recommended {text})")
        }
    };
    format!(
        "{}  load {:>5.1}/s  p99 {} of {}  replicas {}/{}{}  cpu {}{}  memory {}{}  {}\n",
        clock(sight.seconds),
        sight.offered,
        milliseconds(sight.p99),
        milliseconds(Some(objective)),
        sight.ready,
        sight.replicas,
        recommended(decision.replicas.map_or("-".into(), |number| number.to_string())),
        cpu(sight.requests.cpu),
        recommended(cpu(decision.requests.cpu)),
        memory(sight.requests.memory),
        recommended(memory(decision.requests.memory)),
        decision.state,
    )
}

/// Writes to standard output; a reader that has gone away is no reason to fail.
pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn curves_have_eight_heights() {
        assert_eq!(curve([0.0, 4.0, 8.0, 99.0].into_iter(), 8.0), "▁▅██");
        assert_eq!(curve([0.0].into_iter(), 0.0), "▁");
    }

    #[test]
    fn the_picture_fits_the_terminal() {
        let mut view = View::new(Path::new("/tmp/kubeconfig"), Duration::from_millis(100));
        view.sights = vec![
            Sight {
                p99: Some(Duration::from_millis(54)),
                within: 0.9993,
                ..Sight::default()
            };
            90
        ];
        let decision = Decision {
            reason: "because ".repeat(30),
            replicas: Some(12),
            ..Decision::default()
        };
        let sight = Sight {
            seconds: 65.0,
            offered: 104.5,
            replicas: 10,
            decision: Some(decision),
            ..view.sights[0].clone()
        };
        for width in [80, 100, 200] {
            let picture = view
                .picture(&sight, width)
                .replace("\x1b[32m", "")
                .replace("\x1b[0m", "");
            let widest = picture.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{picture}");
        }
    }

    #[test]
    fn a_line_tells_what_is_and_what_is_recommended() {
        let resources = Resources {
            cpu: Some(1.0),
            memory: Some(536_870_912.0),
        };
        let decision = Decision {
            replicas: Some(4),
            requests: resources,
            state: "Confident".into(),
            ..Decision::default()
        };
        let sight = Sight {
            seconds: 65.0,
            replicas: 3,
            ready: 3,
            requests: resources,
            decision: Some(decision),
            ..Sight::default()
        };
        let text = line(&sight, Duration::from_millis(100));
        assert!(text.starts_with("01:05"), "{text}");
        assert!(
            text.contains("replicas 3/3 (recommended 4)") && text.contains("memory 512Mi"),
            "{text}"
        );
        let cold = line(&Sight::default(), Duration::from_millis(100));
        assert!(!cold.contains("recommended"), "{cold}");
    }
}
