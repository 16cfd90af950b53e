//! Shows what is seen: a picture that is drawn over and over on a terminal, lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use super::look::{NAMESPACE, Sight};

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
        }
    }

    /// A step of the preparation.
    pub fn step(&self, text: &str) {
        say(&format!("{text}\n"));
    }

    /// Shows a sight.
    pub fn show(&mut self, sight: Sight) {
        self.sights.push(sight.clone());
        if self.terminal {
            say(&format!("\x1b[H\x1b[J{}", self.picture(&sight)));
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

    fn recent(&self) -> &[Sight] {
        &self.sights[self.sights.len().saturating_sub(CURVE)..]
    }

    fn picture(&self, sight: &Sight) -> String {
        let recent = self.recent();
        let top = |of: &dyn Fn(&Sight) -> f64| recent.iter().map(of).fold(0.0, f64::max);
        let offered = |sight: &Sight| sight.offered;
        let replicas = |sight: &Sight| sight.replicas as f64;
        let latency = |sight: &Sight| sight.p99.unwrap_or_default().as_secs_f64();
        let objective = self.objective.as_secs_f64();
        let kept = sight.p99.is_none_or(|p99| p99 <= self.objective);
        let decision = sight.decision.clone().unwrap_or_default();
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Valence on the playground   {}   ^C ends it",
            clock(sight.seconds)
        );
        let _ = writeln!(text, "  export KUBECONFIG={}", self.kubeconfig);
        let _ = writeln!(text, "  kubectl -n {NAMESPACE} get pods,recommendations\n");
        let _ = writeln!(
            text,
            "  load      {:<60} {:.1} requests/s",
            curve(recent.iter().map(offered), top(&offered)),
            sight.offered
        );
        let _ = writeln!(
            text,
            "  p99       {:<60} {} {} of {} · {:.2} % within it over a minute",
            curve(recent.iter().map(latency), (2.0 * objective).max(top(&latency))),
            if kept {
                "\x1b[32m✓\x1b[0m"
            } else {
                "\x1b[31m✗\x1b[0m"
            },
            milliseconds(sight.p99),
            milliseconds(Some(self.objective)),
            sight.within * 100.0
        );
        let _ = writeln!(
            text,
            "  replicas  {:<60} {} ({} ready), recommended {}",
            curve(recent.iter().map(replicas), top(&replicas)),
            sight.replicas,
            sight.ready,
            decision.replicas.map_or("-".into(), |number| number.to_string())
        );
        let _ = writeln!(
            text,
            "\n  {:<10} {:>12} {:>14} {:>12} {:>14}",
            "", "request", "recommended", "limit", "recommended"
        );
        let _ = writeln!(
            text,
            "  {:<10} {:>12} {:>14} {:>12} {:>14}",
            "cpu",
            cpu(sight.requests.cpu),
            cpu(decision.requests.cpu),
            cpu(sight.limits.cpu),
            cpu(decision.limits.cpu)
        );
        let _ = writeln!(
            text,
            "  {:<10} {:>12} {:>14} {:>12} {:>14}",
            "memory",
            memory(sight.requests.memory),
            memory(decision.requests.memory),
            memory(sight.limits.memory),
            memory(decision.limits.memory)
        );
        let _ = writeln!(
            text,
            "\n  pods      {} with the sidecar of {}, {} with recommended resources",
            sight.injected, sight.pods, sight.as_recommended
        );
        let state = if decision.state.is_empty() {
            "no recommendation yet"
        } else {
            decision.state.as_str()
        };
        let _ = writeln!(text, "  model     {state}");
        let _ = writeln!(text, "  decision  {} {}", decision.decided_at, decision.reason);
        text
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
    use crate::demo::look::Decision;
    use crate::kubelet::quantity::Resources;

    #[test]
    fn curves_have_eight_heights() {
        assert_eq!(curve([0.0, 4.0, 8.0, 99.0].into_iter(), 8.0), "▁▅██");
        assert_eq!(curve([0.0].into_iter(), 0.0), "▁");
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
