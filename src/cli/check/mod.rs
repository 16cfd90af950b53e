//! `valence check`: whether a cluster is ready for Valence, and whether Valence works in it.

mod admission;
mod after;
mod before;
mod workloads;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use kube::Client;
use serde::Serialize;

use super::cluster::Cluster;
use super::format::{Format, Table, render};
use super::output;
use super::run::interval;

/// Time between two tries of `--wait`.
const AGAIN: Duration = Duration::from_secs(2);

/// Arguments of `valence check`.
///
/// Ends with 0 where nothing failed (warnings do not count), 1 where something did, 2 for a wrong command line.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    cluster: Cluster,

    /// Only what must hold before Valence is installed.
    #[arg(long)]
    before: bool,

    /// Namespace of the operator.
    #[arg(long, value_name = "NAME", default_value = "valence-system")]
    system_namespace: String,

    /// Check again until nothing fails, at most for this long.
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    wait: Option<Duration>,

    /// How to write the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Works, but look at it.
    Warned,
    /// Valence cannot work as it is.
    Failed,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it belongs to.
    pub category: &'static str,
    /// What was looked at.
    pub subject: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found.
    pub message: String,
    /// What to do about it; empty where nothing is to be done.
    pub hint: String,
}

impl Finding {
    fn new(category: &'static str, outcome: Outcome, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            category,
            outcome,
            subject: subject.into(),
            message: message.into(),
            hint: String::new(),
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// What a check needs to look around.
struct Context {
    client: Client,
    /// Where a pod is tried.
    namespace: String,
    system_namespace: String,
}

impl Arguments {
    /// Prints what was found.
    ///
    /// # Errors
    /// When the cluster cannot be reached at all.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let (client, namespace) = self.cluster.connect().await?;
        let context = Context {
            client,
            namespace,
            system_namespace: self.system_namespace.clone(),
        };
        let findings = self.settle(&context).await;
        output::print(&match self.output {
            Format::Table => report(
                &findings,
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            ),
            other => render(other, &findings, |findings| table(findings))?,
        })?;
        Ok(if failed(&findings) {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    /// The findings, taken again while something fails and there is time.
    async fn settle(&self, context: &Context) -> Vec<Finding> {
        let start = Instant::now();
        loop {
            let findings = self.findings(context).await;
            if !failed(&findings) || self.wait.is_none_or(|wait| start.elapsed() + AGAIN > wait) {
                return findings;
            }
            progress(&findings);
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn findings(&self, context: &Context) -> Vec<Finding> {
        let mut findings = before::findings(context, self.before).await;
        // Without an API server the rest would only repeat that.
        if !self.before && !failed(&findings) {
            let installed = after::findings(context).await;
            let works = !failed(&installed);
            findings.extend(installed);
            if works {
                findings.extend(admission::findings(context).await);
                findings.extend(workloads::findings(context).await);
            }
        }
        findings
    }
}

fn failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.outcome == Outcome::Failed)
}

fn progress(findings: &[Finding]) {
    if std::io::stderr().is_terminal()
        && let Some(first) = findings.iter().find(|finding| finding.outcome == Outcome::Failed)
    {
        output::note(&format!("waiting: {}: {}", first.subject, first.message));
    }
}

/// The findings by category, with what to do below each that did not pass.
fn report(findings: &[Finding], colour: bool) -> String {
    let mut text = String::new();
    let mut category = "";
    for finding in findings {
        if finding.category != category {
            category = finding.category;
            text += &format!("{}{category}\n", if text.is_empty() { "" } else { "\n" });
        }
        text += &format!(
            "  {} {}: {}\n",
            mark(finding.outcome, colour),
            finding.subject,
            finding.message
        );
        if finding.outcome != Outcome::Passed && !finding.hint.is_empty() {
            text += &format!("       {}\n", finding.hint);
        }
    }
    let count = |outcome| findings.iter().filter(|finding| finding.outcome == outcome).count();
    text + &format!(
        "\n{} passed, {} to look at, {} failed\n",
        count(Outcome::Passed),
        count(Outcome::Warned),
        count(Outcome::Failed)
    )
}

fn mark(outcome: Outcome, colour: bool) -> String {
    let (word, code) = match outcome {
        Outcome::Passed => ("ok  ", 32),
        Outcome::Warned => ("look", 33),
        Outcome::Failed => ("FAIL", 31),
    };
    if colour {
        format!("\x1b[{code}m{word}\x1b[0m")
    } else {
        word.to_owned()
    }
}

fn table(findings: &[Finding]) -> Table {
    let row = |one: &Finding| {
        let outcome = format!("{:?}", one.outcome).to_lowercase();
        vec![
            one.category.to_owned(),
            one.subject.clone(),
            outcome,
            one.message.clone(),
            one.hint.clone(),
        ]
    };
    Table {
        headings: vec!["CATEGORY", "SUBJECT", "OUTCOME", "MESSAGE", "HINT"],
        rows: findings.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_groups_and_hints() {
        let findings = [
            Finding::new("Kubernetes", Outcome::Passed, "version", "1.35").hint("never shown"),
            Finding::new("Kubernetes", Outcome::Warned, "metrics-server", "absent").hint("apply tooling.yaml"),
            Finding::new("Operator", Outcome::Failed, "pods", "0 of 2 ready"),
        ];
        assert_eq!(
            report(&findings, false),
            "Kubernetes\n  ok   version: 1.35\n  look metrics-server: absent\n       apply tooling.yaml\n\nOperator\n  FAIL pods: 0 of 2 ready\n\n1 passed, 1 to look at, 1 failed\n"
        );
        assert!(report(&findings, true).contains("\x1b[31mFAIL\x1b[0m"));
        assert!(failed(&findings) && !failed(&findings[..2]));
    }
}
