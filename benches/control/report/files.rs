//! Tables and plots as files.

use std::fmt::Write as _;
use std::path::Path;

use super::plot;
use super::summary::{Results, Series, Summary};
use super::verdict::Verdict;
use crate::scenario::Scenario;

/// Writes `runs.csv`, `must-reach.csv` and, for each scenario, its course as CSV and as a plot.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(out: &Path, results: &Results, suite: &[Scenario], verdicts: &[Verdict]) -> std::io::Result<()> {
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("runs.csv"), runs(results, suite))?;
    std::fs::write(out.join("must-reach.csv"), must_reach(verdicts))?;
    for (index, scenario) in suite.iter().enumerate() {
        let courses: Vec<(String, &Series)> = results
            .of(index)
            .filter_map(|cell| Some((cell.contestant.name(), cell.series.as_ref()?)))
            .collect();
        std::fs::write(out.join(format!("{}.csv", scenario.name)), course(&courses))?;
        std::fs::write(
            out.join(format!("{}.svg", scenario.name)),
            plot::svg(scenario, &courses),
        )?;
    }
    Ok(())
}

type Column = (&'static str, fn(&Summary) -> String);

const COLUMNS: [Column; 17] = [
    ("kept", |run| u8::from(run.kept).to_string()),
    ("violation_share", |run| format!("{:.6}", run.violation_share)),
    ("violation_minutes", |run| run.violation_minutes.to_string()),
    ("core_hours", |run| format!("{:.4}", run.core_hours)),
    ("requested_core_hours", |run| format!("{:.4}", run.requested_core_hours)),
    ("limit_core_hours", |run| format!("{:.4}", run.limit_core_hours)),
    ("used_core_hours", |run| format!("{:.4}", run.used_core_hours)),
    ("gibibyte_hours", |run| format!("{:.4}", run.gibibyte_hours)),
    ("pod_starts", |run| run.pod_starts.to_string()),
    ("memory_kills", |run| run.memory_kills.to_string()),
    ("vertical_restarts", |run| run.vertical_restarts.to_string()),
    ("size_changes", |run| run.size_changes.to_string()),
    ("recovery_seconds", |run| {
        run.recovery_seconds
            .map_or(String::new(), |seconds| seconds.to_string())
    }),
    ("blind_scale_ins", |run| run.blind_scale_ins.to_string()),
    ("bound_windows", |run| {
        run.coverage
            .map_or(String::new(), |coverage| coverage.windows.to_string())
    }),
    ("bound_within", |run| {
        run.coverage
            .map_or(String::new(), |coverage| coverage.within.to_string())
    }),
    ("bound_left_out", |run| {
        run.coverage
            .map_or(String::new(), |coverage| coverage.left_out.to_string())
    }),
];

fn runs(results: &Results, suite: &[Scenario]) -> String {
    let mut text = "scenario,controller,seed".to_owned();
    COLUMNS.iter().for_each(|(name, _)| text.extend([",", name]));
    text.push('\n');
    for cell in &results.cells {
        for (seed, run) in cell.runs.iter().enumerate() {
            let _ = write!(
                text,
                "{},{},{}",
                suite[cell.scenario].name,
                cell.contestant.name(),
                seed + 1
            );
            COLUMNS.iter().for_each(|(_, value)| text.extend([",", &value(run)]));
            text.push('\n');
        }
    }
    text
}

fn must_reach(verdicts: &[Verdict]) -> String {
    let mut text = "item,value,least,most,reached\n".to_owned();
    for verdict in verdicts {
        let value = verdict.value.map_or(String::new(), |value| value.to_string());
        let (least, most) = verdict.allowed;
        let _ = writeln!(
            text,
            "\"{}\",{value},{least},{most},{}",
            verdict.name,
            verdict.reached()
        );
    }
    text
}

/// Every ten seconds: load, then ready pods, cores requested and p99 of the minute for each controller.
fn course(courses: &[(String, &Series)]) -> String {
    let mut text = "second,requests_per_second".to_owned();
    for (name, _) in courses {
        let _ = write!(text, ",{name} ready,{name} requested cores,{name} p99 seconds");
    }
    text.push('\n');
    let Some((_, first)) = courses.first() else { return text };
    for (step, load) in first.load.iter().enumerate() {
        let _ = write!(text, "{},{load:.1}", step * 10);
        for (_, series) in courses {
            let p99 = series.p99_seconds.get(step / 6).copied().unwrap_or(0.0);
            let _ = write!(
                text,
                ",{},{:.3},{p99:.4}",
                series.ready[step], series.requested_cores[step]
            );
        }
        text.push('\n');
    }
    text
}
