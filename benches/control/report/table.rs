//! The tables on the terminal.

use super::bootstrap;
use super::summary::{Cell, Results};
use crate::contestants::Contestant;
use crate::scenario::Scenario;

/// Prints a table for each scenario and one over all.
pub fn print(results: &Results, suite: &[Scenario]) {
    for (index, scenario) in suite.iter().enumerate() {
        print_scenario(results, index, scenario);
    }
    print_overall(results, suite);
}

fn print_scenario(results: &Results, index: usize, scenario: &Scenario) {
    let percent = 100.0 * scenario.percentile;
    let tuned_on = if scenario.tuned_on { "tuned on" } else { "judged only" };
    say(&format!(
        "\n{} ({tuned_on}): p{percent:.0} <= {:.0} ms, {:.0} requests/s on average",
        scenario.name,
        1000.0 * scenario.response_time_seconds,
        scenario.load(1).mean(),
    ));
    say(&format!(
        "  {:<17}{:>6}{:>9}{:>17}{:>7}{:>9}{:>16}{:>8}{:>7}{:>7}{:>8}{:>7}{:>6}{:>7}{:>9}{:>8}",
        "",
        "kept",
        "slow %",
        "[95%]",
        "min.",
        "core-h",
        "[95%]",
        "limit",
        "used",
        "GiB-h",
        "starts",
        "resiz.",
        "OOM",
        "recov.",
        "/peer",
        "/oracle",
    ));
    let peer = results.best_peer(index, true).map(Cell::core_hours);
    let oracle = results.cell(index, Contestant::Oracle).map(Cell::core_hours);
    for cell in results.of(index) {
        print_row(cell, peer, oracle);
    }
}

fn print_row(cell: &Cell, peer: Option<f64>, oracle: Option<f64>) {
    let shares: Vec<f64> = cell.runs.iter().map(|run| 100.0 * run.violation_share).collect();
    let hours: Vec<f64> = cell.runs.iter().map(|run| run.core_hours).collect();
    let ratio = |to: Option<f64>| match to {
        Some(to) if cell.feasible() => format!("{:.2}", cell.core_hours() / to),
        _ => "-".to_owned(),
    };
    let recovery = cell
        .recovery_seconds()
        .map_or("-".to_owned(), |seconds| format!("{seconds:.0}s"));
    say(&format!(
        "  {:<17}{:>5.0}%{:>9.3}{:>17}{:>7.1}{:>9.2}{:>16}{:>8.2}{:>7.2}{:>7.2}{:>8.1}{:>7.1}{:>6.1}{:>7}{:>9}{:>8}{}",
        cell.contestant.name(),
        100.0 * cell.kept_share(),
        100.0 * cell.mean(|run| run.violation_share),
        bounds(bootstrap::of_mean(&shares), 3),
        cell.mean(|run| run.violation_minutes),
        cell.core_hours(),
        bounds(bootstrap::of_mean(&hours), 2),
        cell.mean(|run| run.limit_core_hours),
        cell.mean(|run| run.used_core_hours),
        cell.mean(|run| run.gibibyte_hours),
        cell.mean(|run| run.pod_starts),
        cell.mean(|run| run.vertical_restarts),
        cell.mean(|run| run.memory_kills),
        recovery,
        ratio(peer),
        ratio(oracle),
        setting(cell),
    ));
}

fn bounds((low, high): (f64, f64), digits: usize) -> String {
    format!("[{low:.digits$}, {high:.digits$}]")
}

/// What was searched for beforehand.
fn setting(cell: &Cell) -> String {
    match (cell.contestant, cell.setting) {
        (Contestant::HpaTuned, (Some(target), _)) => format!("  at {:.0}%", 100.0 * target),
        (Contestant::Reactive | Contestant::Oracle, (Some(target), Some(cores))) => {
            format!("  {cores} cores at {:.0}%", 100.0 * target)
        }
        _ => String::new(),
    }
}

fn print_overall(results: &Results, suite: &[Scenario]) {
    say(
        "\nover all scenarios (core-hours over those of the best feasible peer that is not tuned, where both keep the objective)",
    );
    let contestants: Vec<Contestant> = results.of(0).map(|cell| cell.contestant).collect();
    say(&format!(
        "  {:<17}{:>12}{:>9}{:>10}{:>10}{:>10}",
        "", "runs kept", "slow %", "minutes", "/peer", "/oracle"
    ));
    for contestant in contestants {
        let cells: Vec<&Cell> = (0..suite.len())
            .filter_map(|index| results.cell(index, contestant))
            .collect();
        let mean =
            |number: &dyn Fn(&Cell) -> f64| cells.iter().map(|cell| number(cell)).sum::<f64>() / cells.len() as f64;
        let over = |of: &dyn Fn(usize) -> Option<f64>| {
            let ratios = cells.iter().filter(|cell| cell.feasible());
            let ratios: Vec<f64> = ratios
                .filter_map(|cell| Some(cell.core_hours() / of(cell.scenario)?))
                .collect();
            geometric_mean(&ratios).map_or("-".to_owned(), |ratio| format!("{ratio:.2} ({})", ratios.len()))
        };
        say(&format!(
            "  {:<17}{:>11.1}%{:>9.3}{:>10.1}{:>10}{:>10}",
            contestant.name(),
            100.0 * mean(&Cell::kept_share),
            100.0 * mean(&|cell| cell.mean(|run| run.violation_share)),
            mean(&|cell| cell.mean(|run| run.violation_minutes)),
            over(&|index| results.best_peer(index, true).map(Cell::core_hours)),
            over(&|index| results.cell(index, Contestant::Oracle).map(Cell::core_hours)),
        ));
    }
}

/// The geometric mean, in which a ratio and its inverse cancel; `None` of nothing.
pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logarithms: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (logarithms / values.len() as f64).exp())
}

/// One line to the terminal.
#[expect(clippy::print_stdout, reason = "the output of the benchmark")]
pub fn say(line: &str) {
    println!("{line}");
}
